"""Calibrate a model's word confidences on clips whose words are known.

    avsr transcribe @validation.txt -m MODEL -f json -o out
    python tools/calibrate.py MANIFEST out --output MODEL/calibration.json --plot reliability.svg

Data: manifest, transcripts as JSON (made without a calibration) -> isotonic regression -> the
model's calibration.json, ECE before and after, reliability plot. Take validation clips, never test
ones. The error "after" is of words that the regression had not seen: five folds, by clip.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import jiwer
import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from avsr.cli.outcome import guarded
from avsr.confidence import Calibration, calibration_error
from avsr.manifest import read_manifest
from avsr.normalize import normalizer
from avsr.svg import curves
from avsr.writers import write_atomic

FOLDS = 5
DRAWS = 1000
Floats = NDArray[np.float64]
Judged = list[tuple[float, bool]]
"""Confidence of each word of a clip, and whether it was right."""


def judged(reference: str, words: Sequence[tuple[str, float]]) -> list[tuple[float, bool]]:
    """Confidence of each word heard, and whether the alignment finds it right."""
    rules = normalizer("lrs3")
    heard = [(part, sure) for word, sure in words for part in rules(word).split()]
    if not heard or not rules(reference):
        return [(sure, False) for _, sure in heard]
    text = " ".join(part for part, _ in heard)
    right = [False] * len(heard)
    for chunk in jiwer.process_words(rules(reference), text).alignments[0]:
        if chunk.type == "equal":
            for place in range(chunk.hyp_start_idx, chunk.hyp_end_idx):
                right[place] = True
    return [(sure, hit) for (_, sure), hit in zip(heard, right, strict=True)]


def collect(manifest: Path, folder: Path) -> list[tuple[str, Judged]]:
    """Corpus and judged words of each clip that has a transcript with words.

    Raises:
        ValueError: a transcript that was made with a calibration.
    """
    clips = []
    for item in read_manifest(manifest):
        path = folder / f"{item.path.stem}.json"
        if not path.is_file():
            continue
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["model"].get("confidence") == "calibrated":
            raise ValueError(f"{path} was made with a calibration; remove it from the model first")
        words = [w for segment in told["segments"] for w in segment["words"]]
        pairs = [(w["text"], w["confidence"]) for w in words if w["confidence"] is not None]
        found = judged(item.text, pairs)
        clips += [(item.corpus or "", found)] if found else []
    return clips


def fit(raw: Floats, right: Floats, about: str = "") -> Calibration:
    """The isotonic regression as a map of few points.

    Each of its steps is (right + 1) / (words + 2), Laplace's rule of succession, where those words
    by themselves would say right / words: a dozen wrong ones do not make a word impossible.
    """
    model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(raw, right)
    levels, step = np.unique(np.round(model.predict(raw), 9), return_inverse=True)
    share = (np.bincount(step, right) + 1) / (np.bincount(step) + 2)
    share = np.maximum.accumulate(share)  # a short step could fall below the one before
    x = np.unique(model.X_thresholds_)
    y = share[np.searchsorted(levels, np.round(model.predict(x), 9)).clip(max=len(levels) - 1)]
    return Calibration(tuple(map(float, x)), tuple(map(float, y)), len(raw), about)


def unseen(clips: Sequence[Judged], seed: int = 0) -> list[Judged]:
    """The same clips, with confidences by a regression that had not seen them."""
    order = np.random.default_rng(seed).permutation(len(clips))
    found: list[Judged] = [[] for _ in clips]
    for fold in range(FOLDS):
        inside = set(order[fold::FOLDS].tolist())
        known = [pair for k, clip in enumerate(clips) if k not in inside for pair in clip]
        model = fit(*_columns(known))
        for k in inside:
            found[k] = [(model(raw), hit) for raw, hit in clips[k]]
    return found


def _columns(pairs: Iterable[tuple[float, bool]]) -> tuple[Floats, Floats]:
    """Confidences, and whether they were right."""
    sure, right = (np.asarray(side, float) for side in zip(*pairs, strict=True))
    return sure, right


def _sides(before: Sequence[Judged], after: Sequence[Judged]) -> str:
    """ECE on both sides, with intervals."""
    return f"before {_told(before)}, after {_told(after)}"


def _told(clips: Sequence[Judged]) -> str:
    def error(chosen: Iterable[int]) -> float:
        return calibration_error(*_columns(chain(*(clips[k] for k in chosen))))[0]

    rng = np.random.default_rng(0)
    draws = [error(rng.integers(len(clips), size=len(clips))) for _ in range(DRAWS)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{error(range(len(clips))):.4f} ({low:.4f} to {high:.4f})"


def _bins(clips: Sequence[Judged]) -> list[tuple[float, float]]:
    """Mean confidence and share of right words of each filled bin."""
    return [(sure, hit) for sure, hit, _ in calibration_error(*_columns(chain(*clips)))[1]]


def main(words: Sequence[str] | None = None) -> int:
    """Fit, write and tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("manifest", type=Path, help="with the references")
    parser.add_argument("folder", type=Path, help="of transcripts, <stem>.json")
    parser.add_argument("--output", type=Path, required=True, help="calibration.json of the model")
    parser.add_argument("--plot", type=Path, help="reliability, as SVG")
    parser.add_argument("--check", type=Path, help="transcripts of other clips, to look at it with")
    parser.add_argument("--about", default="", help="which clips, which model")
    args = parser.parse_args(words)
    try:
        found = collect(args.manifest, args.folder)
        checked = [] if args.check is None else collect(args.manifest, args.check)
    except ValueError as error:
        print(f"calibrate: error: {error}", file=sys.stderr)
        return 1
    others = [clip for _, clip in checked]
    if len(found) < FOLDS:
        print(f"calibrate: error: {len(found)} clips with words; give {FOLDS}", file=sys.stderr)
        return 1
    clips = [clip for _, clip in found]
    after = unseen(clips)
    raw, right = _columns(chain(*clips))
    made = fit(raw, right, args.about)
    write_atomic(args.output, made.to_json())
    print(f"{len(raw)} words of {len(found)} clips, {100 * right.mean():.1f} % right")
    print(
        f"ECE {_sides(clips, after)} ({FOLDS} folds by clip, seed 0; 95 %: {DRAWS} draws of clips)"
    )
    corpora = sorted({name for name, _ in found})
    for name in corpora if len(corpora) > 1 else []:
        mine = [k for k, (corpus, _) in enumerate(found) if corpus == name]
        print(f"  {name}: {_sides([clips[k] for k in mine], [after[k] for k in mine])}")
    if others:
        calibrated = [[(made(sure), hit) for sure, hit in clip] for clip in others]
        count = sum(map(len, others))
        print(f"{len(others)} clips of --check, {count} words: {_sides(others, calibrated)}")
    if args.plot is not None:
        series = {
            "raw": _bins(clips),
            "calibrated, unseen clips": _bins(after),
            "perfect": [(0.0, 0.0), (1.0, 1.0)],
        }
        title = "Reliability of word confidences"
        told = curves(series, title=title, across="confidence", up="share of words right")
        write_atomic(args.plot, told)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
