"""Write a manifest of the GRID corpus as its own site gives it.

    python recipes/grid/prepare.py GRID --out manifest.jsonl --test s1:97 s31 s33 --validation s1:51

GRID holds one folder a speaker with `<name>.mpg` (or .mp4) and `<name>.align`, at any depth. An
.align line is `start end word` in units of 1/25000 s; `sil` and `sp` are pauses. A speaker named
alone goes whole into a split, `s1:97` gives it 97 of the speaker's clips, drawn by a seed; what is
in no other split is for training.
"""

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from avsr.cli.corpus import add_arguments, run
from avsr.corpus import Entry, Word
from avsr.errors import AvsrError

UNITS = 25_000  # of an .align file, a second
PAUSES = ("sil", "sp")


def words_of(align: Path) -> tuple[Word, ...]:
    """Words of an .align file with start and end in seconds.

    Raises:
        ValueError: it is none.
    """
    rows = [line.split() for line in align.read_text(encoding="utf-8").splitlines() if line.strip()]
    return tuple((w, int(a) / UNITS, int(b) / UNITS) for a, b, w in rows if w not in PAUSES)


def choose(clips: dict[str, list[Path]], wanted: list[str], seed: int) -> set[Path]:
    """Take speakers, or some of a speaker's clips, out of `clips`."""
    taken: set[Path] = set()
    for want in wanted:
        speaker, _, count = want.partition(":")
        if speaker not in clips:
            there = ", ".join(sorted(clips))
            raise AvsrError(f"no speaker {speaker!r}; there are {there}")
        pool = clips[speaker]
        some = random.Random(f"{seed} {want}").sample(pool, min(int(count or len(pool)), len(pool)))
        clips[speaker] = [clip for clip in pool if clip not in some]
        taken |= set(some)
    return taken


def entries(root: Path, test: list[str], held: list[str], seed: int) -> Iterator[Entry]:
    """List the corpus; a clip without an alignment is listed with its fault."""
    aligns = {path.stem: path for path in sorted(root.rglob("*.align"))}
    clips: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix in (".mpg", ".mp4"):
            clips.setdefault(path.parent.name, []).append(path)
    if not clips:
        raise AvsrError("no .mpg or .mp4", where=str(root))
    every = [path for paths in clips.values() for path in paths]
    of_test, of_validation = choose(clips, test, seed), choose(clips, held, seed)
    for path in every:
        align = path.with_suffix(".align")
        align = align if align.is_file() else aligns.get(path.stem, align)
        words: tuple[Word, ...] = ()
        fault = None
        try:
            words = words_of(align)
        except FileNotFoundError:
            fault = "no alignment"
        except (OSError, ValueError) as error:
            fault = f"not an alignment: {error}"
        split = "test" if path in of_test else "validation" if path in of_validation else "train"
        speaker = path.parent.name
        text = " ".join(word for word, _, _ in words)
        name = f"{speaker}/{path.stem}"
        yield Entry(name, path, text, split, f"grid-{speaker}", words, fault=fault)


def main() -> int:
    """Write the manifest."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_arguments(parser)
    parser.add_argument("--test", nargs="*", default=["s1:97", "s31", "s33"])
    parser.add_argument("--validation", nargs="*", default=["s1:51"])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    listed = lambda: entries(args.corpus, args.test, args.validation, args.seed)  # noqa: E731
    return run(args, "grid", listed)


if __name__ == "__main__":
    sys.exit(main())
