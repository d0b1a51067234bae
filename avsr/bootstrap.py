"""How sure an error rate is: the bootstrap over utterances of Bisani and Ney (ICASSP 2004).

edits and reference lengths of each utterance -> interval of the corpus rate, or of the difference
of two systems.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Comparison", "Interval", "compare", "interval"]

Counts = npt.NDArray[np.int64]
_CHUNK = 2_000_000  # indices drawn at a time: bounds the memory, not the result


@dataclass(frozen=True)
class Interval:
    """A percentile interval of bootstrap draws.

    Args:
        low: its lower end, in the unit of the figure it belongs to.
        high: its upper end.
        level: the share of the draws it holds, 0.95 for 95 %.
        samples: number of draws.
        seed: seed of the draws.
    """

    low: float
    high: float
    level: float = 0.95
    samples: int = 10_000
    seed: int = 0


@dataclass(frozen=True)
class Comparison:
    """How a second system's error rate differs from a first one's, on the same utterances.

    Args:
        relative: (second - first) / first; negative where the second is better.
        interval: of `relative`.
        improvement: share of the draws in which the second system made fewer errors.
    """

    relative: float
    interval: Interval
    improvement: float


def interval(
    edits: npt.ArrayLike,
    lengths: npt.ArrayLike,
    *,
    samples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Bootstrap the corpus error rate.

    Args:
        edits: errors of each utterance, shape [utterances].
        lengths: reference units of each utterance, shape [utterances].
        samples: number of draws, at least 1.
        seed: of the draws; the same seed gives the same interval.
        level: share of the draws inside the interval.

    Returns:
        The interval between order statistics of the drawn rates (no interpolation).

    Raises:
        ValueError: nothing to draw from, or arrays of different shapes.
    """
    edits, lengths = _counts(edits), _counts(lengths)
    _check(samples, edits, lengths)
    rates = np.concatenate(
        [_rate(edits[drawn], lengths[drawn]) for drawn in _draws(len(edits), samples, seed)]
    )
    return _percentiles(rates, level, samples, seed)


def compare(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    lengths: npt.ArrayLike,
    *,
    samples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Comparison:
    """Bootstrap the relative difference of two systems, drawing the same utterances for both.

    Args:
        first: errors of the first system in each utterance, shape [utterances].
        second: errors of the second system in the same utterances.
        lengths: reference units of each utterance.
        samples: number of draws, at least 1.
        seed: of the draws.
        level: share of the draws inside the interval.

    Returns:
        The difference over all utterances, its interval, and how often the second system won.

    Raises:
        ValueError: nothing to draw from, or arrays of different shapes.
    """
    first, second, lengths = _counts(first), _counts(second), _counts(lengths)
    _check(samples, first, second, lengths)
    relative, wins = [], 0
    for drawn in _draws(len(lengths), samples, seed):
        before, after = first[drawn].sum(axis=1), second[drawn].sum(axis=1)
        relative.append(_relative(before, after))
        wins += int((after < before).sum())
    whole = _relative(first.sum(keepdims=True), second.sum(keepdims=True))
    found = _percentiles(np.concatenate(relative), level, samples, seed)
    return Comparison(float(whole[0]), found, wins / samples)


def _counts(values: npt.ArrayLike) -> Counts:
    return np.asarray(values, dtype=np.int64)


def _check(samples: int, *arrays: Counts) -> None:
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise ValueError(f"one count for each utterance, got shapes {sorted(shapes)}")
    if arrays[0].size == 0 or samples < 1:
        raise ValueError(f"{arrays[0].size} utterances and {samples} draws give no interval")


def _draws(utterances: int, samples: int, seed: int) -> Iterator[Counts]:
    """Indices [draws, utterances], some draws at a time."""
    random = np.random.default_rng(seed)
    step = max(1, _CHUNK // utterances)
    for start in range(0, samples, step):
        yield random.integers(utterances, size=(min(step, samples - start), utterances))


def _rate(edits: Counts, lengths: Counts) -> npt.NDArray[np.float64]:
    rates: npt.NDArray[np.float64] = edits.sum(axis=1) / np.maximum(lengths.sum(axis=1), 1)
    return rates


def _relative(before: Counts, after: Counts) -> npt.NDArray[np.float64]:
    """(after - before) / before; 0 where neither has errors, infinite where only the second has."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios: npt.NDArray[np.float64] = np.where(after == before, 0.0, (after - before) / before)
    return ratios


def _percentiles(
    values: npt.NDArray[np.float64], level: float, samples: int, seed: int
) -> Interval:
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(values, ends, method="inverted_cdf")
    return Interval(float(low), float(high), level, samples, seed)
