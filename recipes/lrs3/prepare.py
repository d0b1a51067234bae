"""Write a manifest of LRS3-TED (Afouras, Chung, Zisserman 2018).

    python recipes/lrs3/prepare.py lrs3 --out lrs3/manifest.jsonl --clips lrs3/mouths --workers 8

Folders: pretrain/, trainval/ and test/, each <speaker>/<clip>.mp4 beside <clip>.txt. pretrain and
trainval are for training, but for the speakers of trainval held out for validation: the corpus has
no validation set, and its test set is for final figures. What these speakers say in pretrain gets
the split "unused". Long clips of pretrain are cut between words, which needs --clips.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from avsr.cli.corpus import add_arguments, run
from avsr.corpus import Entry, hold_out, read_transcript
from avsr.errors import AvsrError

FOLDERS = ("pretrain", "trainval", "test")


def entries(root: Path, held: int) -> Iterator[Entry]:
    """List the corpus; a clip without a readable transcript is listed with its fault."""
    found = {folder: sorted(root.glob(f"{folder}/*/*.mp4")) for folder in FOLDERS}
    if not any(found.values()):
        raise AvsrError("no pretrain, trainval or test with clips", where=str(root))
    validation = hold_out(Counter(path.parent.name for path in found["trainval"]), held)
    for folder, paths in found.items():
        for path in paths:
            speaker = path.parent.name
            split = "test" if folder == "test" else "train"
            if speaker in validation and folder != "test":
                split = "validation" if folder == "trainval" else "unused"
            name = f"{folder}/{speaker}/{path.stem}"
            try:
                text, words = read_transcript(path.with_suffix(".txt"))
                fault = None
            except AvsrError as error:
                text, words, fault = "", (), str(error)
            yield Entry(name, path, text, split, f"lrs3-{speaker}", words, fault=fault)
    listed = {path.with_suffix("") for paths in found.values() for path in paths}
    for text in sorted(p for folder in FOLDERS for p in root.glob(f"{folder}/*/*.txt")):
        if text.with_suffix("") not in listed:  # a transcript whose clip is gone
            name = text.relative_to(root).with_suffix("").as_posix()
            yield Entry(name, text.with_suffix(".mp4"), "", "train", fault="the clip is missing")


def main() -> int:
    """Write the manifest."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_arguments(parser)
    parser.add_argument(
        "--validation", type=int, default=1200, help="clips of trainval to hold out, at least"
    )
    args = parser.parse_args()
    return run(args, "lrs3", lambda: entries(args.corpus, args.validation))


if __name__ == "__main__":
    sys.exit(main())
