"""How sure each word is: the decoder's log-probabilities -> a probability in 0..1, calibrated.

Data: token ids and log-probabilities [N] -> `Word`s with confidence. A word's raw confidence is the
probability of its tokens given what stands before them; a model's `calibration.json` turns it into
the share of such words that were right (isotonic regression: Zadrozny and Elkan, KDD 2002).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from avsr.errors import ModelError
from avsr.transcript import Word

__all__ = ["SCHEMA", "Calibration", "calibration_error", "mean", "scored_words"]

SCHEMA = "avsr.calibration/1"
FILE = "calibration.json"
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """A map from raw confidence to the share of words that are right.

    Args:
        raw: raw confidences, rising, [K].
        right: the share at each of them, never falling, [K]; straight lines between.
        words: how many words it was fitted on.
        about: of which clips, by which model.
    """

    raw: tuple[float, ...]
    right: tuple[float, ...]
    words: int = 0
    about: str = ""

    def __post_init__(self) -> None:
        """Check that it is a map of [0, 1] into itself that keeps the order."""
        raw, right = np.asarray(self.raw, float), np.asarray(self.right, float)
        sound = raw.ndim == 1 and raw.shape == right.shape and len(raw) >= 1
        sound = sound and bool(np.all(np.diff(raw) > 0)) and bool(np.all(np.diff(right) >= 0))
        if not sound or not np.all((np.r_[raw, right] >= 0) & (np.r_[raw, right] <= 1)):
            raise ValueError("not a rising map of confidences in 0..1")

    def __call__(self, raw: float) -> float:
        """Return the calibrated confidence of a raw one."""
        return float(np.interp(raw, self.raw, self.right))

    @classmethod
    def of(cls, folder: Path) -> Calibration | None:
        """Read a model's calibration; None where it has none.

        Raises:
            ModelError: it is there and cannot be read.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            if told["schema"] != SCHEMA:
                raise ValueError(f"schema {told['schema']!r}")
            curve = tuple(map(float, told["raw"])), tuple(map(float, told["right"]))
            return cls(*curve, int(told["words"]), str(told["about"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            todo = "Make it again with tools/calibrate.py, or remove it."
            raise ModelError(f"not a calibration: {error}", where=str(path), todo=todo) from error

    def to_json(self) -> str:
        """Return what `of` reads."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2) + "\n"


def scored_words(
    decode: Callable[[Sequence[int]], str],
    token_ids: Sequence[int],
    logprobs: Sequence[float],
    calibration: Calibration | None = None,
) -> tuple[Word, ...]:
    """Give each word of a decoded text its confidence.

    Args:
        decode: token ids to text.
        token_ids: of the text, without the end.
        logprobs: natural log-probability of each of them; more, such as the end's, are left out.
        calibration: the model's, if it has one.

    Returns:
        The words of the text, as it is split at blanks, without times.
    """
    text = decode(token_ids)
    sums = np.zeros(len(text) + 1)  # log-probability of each token, at its first letter
    place = 0
    for count, logprob in enumerate(logprobs[: len(token_ids)], start=1):
        reached = _common(decode(token_ids[:count]), text)
        letters = [k for k in range(place, reached) if not text[k].isspace()]
        sums[letters[0] if letters else place] += logprob
        place = max(place, reached)
    words = []
    for start, end in _spans(text):
        raw = math.exp(min(0.0, float(sums[start:end].sum())))
        sure = raw if calibration is None else calibration(raw)
        words.append(Word(text[start:end], confidence=sure))
    return tuple(words)


def _common(part: str, text: str) -> int:
    """Letters that two texts begin with; a token may end within a letter, which then shows as �."""
    same = (k for k, (a, b) in enumerate(zip(part, text, strict=False)) if a != b)
    return next(same, min(len(part), len(text)))


def _spans(text: str) -> list[tuple[int, int]]:
    """Start and end of each word."""
    spans: list[tuple[int, int]] = []
    place = 0
    for word in text.split():
        start = text.index(word, place)
        place = start + len(word)
        spans.append((start, place))
    return spans


def mean(words: Sequence[Word]) -> float | None:
    """Mean confidence of words; None where none has one."""
    known = [word.confidence for word in words if word.confidence is not None]
    return sum(known) / len(known) if known else None


def calibration_error(
    confidence: npt.ArrayLike, right: npt.ArrayLike, bins: int = 10
) -> tuple[float, list[tuple[float, float, int]]]:
    """Expected calibration error (Guo et al., ICML 2017, equation 5).

    Args:
        confidence: of each word, [N] in 0..1.
        right: whether each word was right, [N].
        bins: of equal width.

    Returns:
        The error, and the mean confidence, share of right words and number of each filled bin.

    Raises:
        ValueError: no words, or arrays of different lengths.
    """
    sure, hit = np.asarray(confidence, float), np.asarray(right, float)
    if sure.shape != hit.shape or sure.ndim != 1 or len(sure) == 0:
        raise ValueError(f"{sure.shape} confidences for {hit.shape} words")
    index = np.minimum((sure * bins).astype(int), bins - 1)
    filled = [index == k for k in range(bins) if np.any(index == k)]
    table = [(float(sure[b].mean()), float(hit[b].mean()), int(b.sum())) for b in filled]
    return sum(n * abs(s - h) for s, h, n in table) / len(sure), table
