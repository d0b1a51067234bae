"""Write a manifest of LRS2-BBC (Afouras and others 2018).

    python recipes/lrs2/prepare.py mvlrs_v1 --out lrs2/manifest.jsonl --clips lrs2/mouths

Folders: main/ and pretrain/, each <programme>/<clip>.mp4 beside <clip>.txt; lists: pretrain.txt,
train.txt, val.txt and test.txt, a clip a line. Long clips of pretrain are cut between words, which
needs --clips. Speakers are not known: a programme stands for one.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from avsr.cli.corpus import add_arguments, run
from avsr.corpus import Entry, read_transcript
from avsr.errors import AvsrError

LISTS = {  # name: folder and split
    "pretrain": ("pretrain", "train"),
    "train": ("main", "train"),
    "val": ("main", "validation"),
    "test": ("main", "test"),
}


def entries(root: Path) -> Iterator[Entry]:
    """List the corpus; a clip that is missing or has no transcript is listed with its fault."""
    places = {name: place for place in (root, root.parent) for name in _lists(place)}
    if not places:
        raise AvsrError("no train.txt, val.txt, test.txt or pretrain.txt", where=str(root))
    for name, (folder, split) in LISTS.items():
        if name not in places:
            continue
        for line in (places[name] / f"{name}.txt").read_text(encoding="utf-8").splitlines():
            if not line.strip():
                continue
            clip = line.split()[0]  # of some lists a column follows
            path = root / folder / f"{clip}.mp4"
            text, words, fault = "", (), None
            try:
                text, words = read_transcript(path.with_suffix(".txt"))
            except AvsrError as error:
                fault = str(error)
            fault = fault if path.is_file() else "the clip is missing"
            speaker = f"lrs2-{clip.split('/')[0]}"
            yield Entry(f"{folder}/{clip}", path, text, split, speaker, words, fault=fault)


def _lists(place: Path) -> list[str]:
    return [name for name in LISTS if (place / f"{name}.txt").is_file()]


def main() -> int:
    """Write the manifest."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_arguments(parser)
    args = parser.parse_args()
    return run(args, "lrs2", lambda: entries(args.corpus))


if __name__ == "__main__":
    sys.exit(main())
