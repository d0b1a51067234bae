"""Write a manifest of any folder of videos or sound files, with or without transcripts.

    python recipes/folder/prepare.py recordings --out recordings/manifest.jsonl

A file's transcript is the .txt beside it. Files without one are left out and reported, unless
--no-text yes keeps them with the text "?": such a manifest can be transcribed, not scored. The
split is the first folder's name where that is train, validation (val, valid, dev) or test, else
--split; the speaker is the name of the folder that the file lies in.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from avsr.cli.corpus import add_arguments, run
from avsr.corpus import Entry
from avsr.errors import AvsrError

MEDIA = (
    *(".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m4v", ".ts"),
    *(".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a"),
)
SPLITS = {
    **{"train": "train", "test": "test", "validation": "validation"},
    **dict.fromkeys(("val", "valid", "dev"), "validation"),
}


def entries(root: Path, split: str, no_text: str, clips: Path | None) -> Iterator[Entry]:
    """List the folder; a file without a transcript is listed with its fault."""
    made = None if clips is None else clips.resolve()
    found = [
        path
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in MEDIA and made not in path.resolve().parents
    ]
    if not found:
        raise AvsrError("no media files", where=str(root), todo=f"Known: {', '.join(MEDIA)}")
    stems = Counter(path.with_suffix("") for path in found)
    for path in found:
        place = path.relative_to(root)
        alone = stems[path.with_suffix("")] == 1  # a.mp4 and a.wav are two clips
        name = (place.with_suffix("") if alone else place).as_posix()
        beside = path.with_suffix(".txt")
        text, fault = "?", None
        if beside.is_file():
            text = " ".join(beside.read_text(encoding="utf-8", errors="replace").split())
            fault = None if text else "the transcript is empty"
        elif no_text == "no":
            fault = f"no {beside.name} beside it"
        own = SPLITS.get(place.parts[0], split) if len(place.parts) > 1 else split
        yield Entry(name, path, text, own, path.parent.name, fault=fault)


def main() -> int:
    """Write the manifest."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_arguments(parser)
    parser.add_argument("--name", default="folder", help="of the corpus (default: folder)")
    parser.add_argument("--split", default="test", choices=["train", "validation", "test"])
    parser.add_argument("--no-text", default="no", choices=["yes", "no"], help="keep such files")
    args = parser.parse_args()
    listed = lambda: entries(args.corpus, args.split, args.no_text, args.clips)  # noqa: E731
    return run(args, args.name, listed)


if __name__ == "__main__":
    sys.exit(main())
