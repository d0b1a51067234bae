"""How far the times of words are off, where a manifest tells the true ones.

    avsr transcribe @clips.txt --word-timestamps align -f json -o out
    python tools/word_times.py MANIFEST out [--seed 0]

Data: manifest with "words" [[word, start, end], ...], transcripts as JSON -> median error of starts
and ends (the bias), half of all errors, and the share within 0.1 s, with intervals by clip.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import jiwer
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DRAWS = 1000
NEAR = 0.1  # s


def errors(truth: Sequence[Sequence[float | str]], told: Sequence[dict[str, float]]) -> Floats:
    """[W, 2] seconds by which start and end of each word heard right are late."""
    reference = " ".join(str(word[0]) for word in truth)
    heard = " ".join(str(word["text"]) for word in told)
    if not reference or not heard:
        return np.zeros((0, 2))
    late = []
    for chunk in jiwer.process_words(reference, heard).alignments[0]:
        if chunk.type != "equal":
            continue
        pairs = zip(
            truth[chunk.ref_start_idx : chunk.ref_end_idx],
            told[chunk.hyp_start_idx : chunk.hyp_end_idx],
            strict=True,
        )
        late += [
            (word["start"] - float(start), word["end"] - float(end))
            for (_, start, end), word in pairs
            if word["start"] is not None
        ]
    return np.array(late).reshape(-1, 2)


def collect(manifest: Path, folder: Path) -> list[Floats]:
    """Errors of each clip that has true times and a transcript."""
    clips = []
    for line in manifest.read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        path = folder / f"{Path(item.get('video_filepath') or item['audio_filepath']).stem}.json"
        if item.get("words") and path.is_file():
            told = json.loads(path.read_text(encoding="utf-8"))
            words = [word for segment in told["segments"] for word in segment["words"]]
            clips.append(errors(item["words"], words))
    return clips


def table(clips: Sequence[Floats], seed: int) -> str:
    """The figures as Markdown."""
    rng = np.random.default_rng(seed)
    whole = np.concatenate(clips)
    lines = [
        "| of words | late by, median | half of them within | 95 % within | within 0.1 s |",
        "|---|---|---|---|---|",
    ]
    for column, name in enumerate(("starts", "ends")):
        off = np.abs(whole[:, column])
        shares = []
        for _ in range(DRAWS):
            drawn = [clips[k] for k in rng.integers(len(clips), size=len(clips))]
            shares.append(float(np.mean(np.abs(np.concatenate(drawn)[:, column]) <= NEAR + 1e-6)))
        low, high = np.percentile(shares, [2.5, 97.5])
        lines.append(
            f"| {name} | {np.median(whole[:, column]):.2f} s | {np.median(off):.2f} s "
            f"| {np.quantile(off, 0.95):.2f} s | {np.mean(off <= NEAR + 1e-6):.0%} "
            f"({low:.0%} to {high:.0%}) |"
        )
    return "\n".join([*lines, "", f"{len(whole)} words of {len(clips)} clips, seed {seed}."])


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and return an exit status."""
    parser = argparse.ArgumentParser(description="How far the times of words are off.")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("folder", type=Path, help="with the transcripts as JSON")
    parser.add_argument("--seed", type=int, default=0, help="of the intervals")
    args = parser.parse_args(argv)
    clips = collect(args.manifest, args.folder)
    if not any(len(clip) for clip in clips):
        print("word_times: error: no transcript with the times of known words", file=sys.stderr)
        return 1
    print(table(clips, args.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
