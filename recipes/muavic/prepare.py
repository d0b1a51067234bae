"""Write a manifest of MuAViC in English (Anwar and others 2023).

    python recipes/muavic/prepare.py muavic/en --out muavic/manifest.jsonl --clips muavic/joined

As its own get_data.py leaves it: <split>_avsr.tsv (a root, then id, picture, sound, ... a line) and
<split>_avsr.en (the transcripts, line by line), for train, valid and test. Its pictures are mouth
crops without sound, so each is joined with its sound under --clips.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from avsr.cli.corpus import add_arguments, run
from avsr.corpus import Entry
from avsr.errors import AvsrError

SPLITS = {"train": "train", "valid": "validation", "test": "test"}


def entries(root: Path) -> Iterator[Entry]:
    """List the corpus; a file that is missing is listed with its fault."""
    lists = {name: _list(root, name) for name in SPLITS}
    if not any(lists.values()):
        raise AvsrError("no <split>_avsr.tsv or <split>.tsv", where=str(root))
    for name, path in lists.items():
        if path is None:
            continue
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line]
        base = Path(rows.pop(0)[0]) if len(rows[0]) == 1 else Path("/")
        texts = path.with_suffix(".en").read_text(encoding="utf-8").splitlines()
        if len(texts) != len(rows):
            raise AvsrError(f"{len(rows)} clips and {len(texts)} transcripts", where=str(path))
        for (_, video, audio, *_), text in zip(rows, texts, strict=True):
            picture, sound = (_found(root, base / told, told) for told in (video, audio))
            clip = _id(picture)
            lost = [str(p) for p in (picture, sound) if not p.is_file()]
            yield Entry(
                id=f"{name}/{clip}",
                media=picture,
                text=text.strip().lower(),
                split=SPLITS[name],
                speaker=f"muavic-{picture.parent.name}",
                sound=sound,
                fault=f"{lost[0]} is missing" if lost else None,
            )


def _list(root: Path, name: str) -> Path | None:
    found = (root / f"{name}_avsr.tsv", root / f"{name}.tsv")
    return next((path for path in found if path.is_file()), None)


def _found(root: Path, path: Path, told: str) -> Path:
    """A file where the list says, or in this folder if the corpus was moved here."""
    if path.is_file():
        return path
    parts = Path(told).parts
    kinds = [k for k, part in enumerate(parts) if part in ("audio", "video")]
    moved = root.joinpath(*parts[kinds[-1] :]) if kinds else path
    return moved if moved.is_file() else path


def _id(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def main() -> int:
    """Write the manifest."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_arguments(parser)
    args = parser.parse_args()
    return run(args, "muavic-en", lambda: entries(args.corpus), roi="given")


if __name__ == "__main__":
    sys.exit(main())
