"""Write a manifest of LibriSpeech as openslr.org gives it.

    python recipes/librispeech/prepare.py LibriSpeech --out manifest.jsonl

Subsets become splits by their names: train-* is train, dev-* validation, test-* test. Transcripts
are lower-cased.
"""

import argparse
import json
from pathlib import Path

import librosa

SPLITS = {"train": "train", "dev": "validation", "test": "test"}


def main() -> None:
    """Write the manifest."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    texts = sorted(args.corpus.rglob("*.trans.txt"))
    if not texts:
        raise SystemExit(f"no *.trans.txt under {args.corpus}")
    with open(args.out, "w", encoding="utf-8") as out:
        for file in texts:
            subset = file.relative_to(args.corpus).parts[0]
            split = SPLITS.get(subset.split("-")[0])
            if split is None:
                raise SystemExit(f"{subset!r} is no subset of LibriSpeech")
            for line in file.read_text(encoding="utf-8").splitlines():
                name, text = line.split(" ", 1)
                sound = file.with_name(f"{name}.flac")
                row = {
                    "id": name,
                    "corpus": "librispeech",
                    "split": split,
                    "speaker": name.split("-")[0],
                    "audio_filepath": str(sound.resolve()),
                    "duration": round(librosa.get_duration(path=sound), 3),
                    "text": text.lower(),
                }
                out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
