"""How sure an error rate is: the bootstrap over utterances of Bisani and Ney (ICASSP 2004).

edits and reference lengths of each utterance -> interval of the corpus rate, or of the difference
of two systems.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Comparison", "Interval", "compare", "interval"]

Counts = npt.NDArray[np.int64]
Sums = npt.NDArray[np.float64]
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
    clusters: Sequence[str] | None = None,
) -> Interval:
    """Bootstrap the corpus error rate.

    Args:
        edits: errors of each utterance, shape [utterances]; means over runs or differences of
            systems need not be whole.
        lengths: reference units of each utterance, shape [utterances].
        samples: number of draws, at least 1.
        seed: of the draws; the same seed gives the same interval.
        level: share of the draws inside the interval.
        clusters: a name for each utterance, such as its speaker; those of one name are drawn
            together, for they err together. None draws utterances.

    Returns:
        The interval between order statistics of the drawn rates (no interpolation).

    Raises:
        ValueError: nothing to draw from, or arrays of different shapes.
    """
    edits, lengths = _sums(edits, clusters), _sums(lengths, clusters)
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
    clusters: Sequence[str] | None = None,
) -> Comparison:
    """Bootstrap the relative difference of two systems, drawing the same utterances for both.

    Args:
        first: errors of the first system in each utterance, shape [utterances].
        second: errors of the second system in the same utterances.
        lengths: reference units of each utterance.
        samples: number of draws, at least 1.
        seed: of the draws.
        level: share of the draws inside the interval.
        clusters: as for `interval`.

    Returns:
        The difference over all utterances, its interval, and how often the second system won.

    Raises:
        ValueError: nothing to draw from, or arrays of different shapes.
    """
    first, second, lengths = (_sums(each, clusters) for each in (first, second, lengths))
    _check(samples, first, second, lengths)
    relative, wins = [], 0
    for drawn in _draws(len(lengths), samples, seed):
        before, after = first[drawn].sum(axis=1), second[drawn].sum(axis=1)
        relative.append(_relative(before, after))
        wins += int((after < before).sum())
    whole = _relative(first.sum(keepdims=True), second.sum(keepdims=True))
    found = _percentiles(np.concatenate(relative), level, samples, seed)
    return Comparison(float(whole[0]), found, wins / samples)


def _sums(values: npt.ArrayLike, clusters: Sequence[str] | None) -> Sums:
    """What is drawn: a number for each utterance, or the sum of each cluster."""
    numbers = np.asarray(values, dtype=np.float64)
    if clusters is None:
        return numbers
    if numbers.shape != (len(clusters),):
        raise ValueError(f"{len(clusters)} clusters for numbers of shape {numbers.shape}")
    names, where = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    return np.bincount(where, weights=numbers, minlength=len(names)).astype(np.float64)


def _check(samples: int, *arrays: Sums) -> None:
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


def _rate(edits: Sums, lengths: Sums) -> Sums:
    rates: Sums = edits.sum(axis=1) / np.maximum(lengths.sum(axis=1), 1)
    return rates


def _relative(before: Sums, after: Sums) -> Sums:
    """(after - before) / before; 0 where neither has errors, infinite where only the second has."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios: Sums = np.where(after == before, 0.0, (after - before) / before)
    return ratios


def _percentiles(values: Sums, level: float, samples: int, seed: int) -> Interval:
    # (1 - 0.95) / 2 lies a hair above 0.025: unrounded, the lower end would be one draw too high.
    ends = [round((1 - level) / 2, 12), round((1 + level) / 2, 12)]
    low, high = np.quantile(values, ends, method="inverted_cdf")
    return Interval(float(low), float(high), level, samples, seed)
