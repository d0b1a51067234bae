"""Write a manifest of the GRID corpus as its own site gives it.

    python recipes/grid/prepare.py GRID --out manifest.jsonl --test s1:97 s31 s33 --validation s1:51

GRID holds one folder a speaker with `<name>.mpg` (or .mp4) and `<name>.align`, at any depth. An
.align line is `start end word` in units of 1/25000 s; `sil` and `sp` are pauses. A speaker named
alone goes whole into a split, `s1:97` gives it 97 of the speaker's clips, drawn by a seed; what is
in no other split is for training.
"""

import argparse
import json
import random
from pathlib import Path

UNITS = 25_000  # of an .align file, a second
PAUSES = ("sil", "sp")
SECONDS = 3.0  # every GRID clip


def words_of(align: Path) -> list[tuple[str, float, float]]:
    """Words of an .align file with start and end in seconds."""
    rows = [line.split() for line in align.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [(w, int(a) / UNITS, int(b) / UNITS) for a, b, w in rows if w not in PAUSES]


def choose(clips: dict[str, list[Path]], wanted: list[str], seed: int) -> set[Path]:
    """Take speakers, or some of a speaker's clips, out of `clips`."""
    taken: set[Path] = set()
    for want in wanted:
        speaker, _, count = want.partition(":")
        if speaker not in clips:
            raise SystemExit(f"no speaker {speaker!r}; there are {', '.join(sorted(clips))}")
        pool = clips[speaker]
        some = random.Random(f"{seed} {want}").sample(pool, min(int(count or len(pool)), len(pool)))
        clips[speaker] = [clip for clip in pool if clip not in some]
        taken |= set(some)
    return taken


def main() -> None:
    """Write the manifest."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--test", nargs="*", default=["s1:97", "s31", "s33"])
    parser.add_argument("--validation", nargs="*", default=["s1:51"])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    aligns = {path.stem: path for path in sorted(args.corpus.rglob("*.align"))}
    clips: dict[str, list[Path]] = {}
    for path in sorted(args.corpus.rglob("*")):
        if path.suffix in (".mpg", ".mp4"):
            clips.setdefault(path.parent.name, []).append(path)
    if not clips:
        raise SystemExit(f"no .mpg or .mp4 under {args.corpus}")
    every = [path for paths in clips.values() for path in paths]
    test = choose(clips, args.test, args.seed)
    validation = choose(clips, args.validation, args.seed)
    with open(args.out, "w", encoding="utf-8") as out:
        for path in every:
            align = path.with_suffix(".align")
            align = align if align.is_file() else aligns.get(path.stem, align)
            if not align.is_file():
                raise SystemExit(f"no alignment for {path}")
            words = words_of(align)
            media = str(path.resolve())
            held = "validation" if path in validation else "train"
            row = {
                "id": f"grid/{path.parent.name}/{path.stem}",
                "corpus": "grid",
                "split": "test" if path in test else held,
                "speaker": f"grid-{path.parent.name}",
                "audio_filepath": media,
                "video_filepath": media,
                "duration": SECONDS,
                "text": " ".join(word for word, _, _ in words),
                "words": words,
            }
            out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
