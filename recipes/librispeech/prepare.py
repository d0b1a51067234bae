"""Write a manifest of LibriSpeech as openslr.org gives it.

    python recipes/librispeech/prepare.py LibriSpeech --out manifest.jsonl --max-seconds 36

Subsets become splits by their names: train-* is train, dev-* validation, test-* test. Transcripts
are lower-cased. Utterances of more than --max-seconds are reported and left out.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from avsr.cli.corpus import add_arguments, run
from avsr.corpus import Entry
from avsr.errors import AvsrError

SPLITS = {"train": "train", "dev": "validation", "test": "test"}


def entries(root: Path) -> Iterator[Entry]:
    """List the corpus; an utterance that is missing is listed with its fault."""
    texts = sorted(root.rglob("*.trans.txt"))
    if not texts:
        raise AvsrError("no *.trans.txt", where=str(root))
    for file in texts:
        subset = file.relative_to(root).parts[0]
        split = SPLITS.get(subset.split("-")[0])
        if split is None:
            raise AvsrError(f"{subset!r} is no subset of LibriSpeech", where=str(file))
        for line in filter(None, file.read_text(encoding="utf-8").splitlines()):
            name, _, text = line.partition(" ")
            sound = file.with_name(f"{name}.flac")
            fault = None if sound.is_file() else "the sound is missing"
            yield Entry(name, sound, text.lower(), split, name.split("-")[0], fault=fault)


def main() -> int:
    """Write the manifest."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_arguments(parser)
    args = parser.parse_args()
    return run(args, "librispeech", lambda: entries(args.corpus))


if __name__ == "__main__":
    sys.exit(main())
