"""Paired timing: several ways of doing the same work, turn about, and the ratio of their times.

Data: functions by name -> seconds of each in each round -> medians, ratios with intervals.
A machine that slows down for a moment slows the whole round, and the round's ratio stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Clock = Callable[[], float]
Work = Callable[[], object]
DRAWS = 2000


@dataclass(frozen=True)
class Ratio:
    """A median of paired ratios and its 95 % bootstrap interval over rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """As a cell of a table."""
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def rounds(
    works: Mapping[str, Work],
    *,
    repeats: int,
    calls: int = 1,
    clock: Clock = time.perf_counter,
) -> dict[str, list[float]]:
    """Time each work once a round.

    Args:
        works: what to time; each has been run before, so that nothing is done for the first time.
        repeats: number of rounds; each begins one further along the list, so no work is always
            the one that runs after another's heat.
        calls: times that a work is done within one measurement.
        clock: seconds.

    Returns:
        Seconds a call, a list of `repeats` for each work.
    """
    names = list(works)
    spent: dict[str, list[float]] = {name: [] for name in names}
    for number in range(repeats):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            work = works[name]
            began = clock()
            for _ in range(calls):
                work()
            spent[name].append((clock() - began) / calls)
    return spent


def ratio(ours: Sequence[float], theirs: Sequence[float], *, seed: int) -> Ratio:
    """Median over rounds of our time by theirs in the same round.

    Args:
        ours: seconds of each round.
        theirs: seconds of the same rounds.
        seed: of the bootstrap.

    Raises:
        ValueError: rounds that do not pair.
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"{len(ours)} and {len(theirs)} rounds do not pair")
    each = np.asarray(ours) / np.asarray(theirs)
    picks = np.random.default_rng(seed).integers(len(each), size=(DRAWS, len(each)))
    low, high = np.quantile(np.median(each[picks], axis=1), (0.025, 0.975))
    return Ratio(float(np.median(each)), float(low), float(high))


def calls_for(seconds: float, works: Mapping[str, Work], clock: Clock = time.perf_counter) -> int:
    """How many calls of the quickest work fill a measurement of so many seconds, at most 1000.

    Every work is run twice by it, of which the first is not counted.
    """
    quickest = float("inf")
    for work in works.values():
        work()
        began = clock()
        work()
        quickest = min(quickest, clock() - began)
    return max(1, min(1000, round(seconds / max(quickest, 1e-9))))
