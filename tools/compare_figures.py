"""What reports of runs say about a method: word error with its interval, and paired differences.

JSON reports -> Method -> `Figure`. A method of several seeds is the mean over them; one of fixed
rates is, at each rate pair, the model that was trained for it. Intervals are 95 % bootstrap
intervals over utterances (Bisani and Ney, ICASSP 2004), both systems on the same draws.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from avsr import bootstrap
from avsr.errors import ConfigError

DRAWS, SEED = 5000, 0
SPEEDS = "avsr.compare_speed/1"
Count = Literal["all", "capped"]
Seeds = frozenset[int]
Speeds = Mapping[str, Mapping[str, Any]]
Floats = NDArray[np.float64]


@dataclass(frozen=True, order=True)
class Condition:
    """Task, rates (0 where a stream is left out) and noise (None is clean)."""

    task: str
    audio: int
    video: int
    snr: float | None = None

    def __str__(self) -> str:
        """As in "av 4,2" and "a 16,- at -5 dB"."""
        pair = ",".join(str(rate) if rate else "-" for rate in (self.audio, self.video))
        return f"{self.task} {pair}" + ("" if self.snr is None else f" at {self.snr:g} dB")

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Condition:
        """Of a report's row."""
        rates = row["rates"]
        return cls(row["task"], rates["audio"] or 0, rates["video"] or 0, row["snr_db"])


@dataclass(frozen=True)
class Figure:
    """A figure and its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """In per cent."""
        return f"{100 * self.value:.1f} ({100 * self.low:.1f} to {100 * self.high:.1f})"


class Method:
    """The reports of one method.

    Args:
        reports: of its runs, at least one.

    Raises:
        ConfigError: its runs were evaluated on different clips.
    """

    def __init__(self, reports: Sequence[Mapping[str, Any]]) -> None:
        self.reports = sorted(reports, key=lambda r: (r["seed"], _pair(r["pair"])))
        self.name, self.title = self.reports[0]["method"], self.reports[0]["title"]
        self.rows: dict[Condition, dict[int, Mapping[str, Any]]] = {}
        for report in self.reports:
            for row in report["rows"]:  # of fixed rates: the finest other rate's
                self.rows.setdefault(Condition.of(row), {}).setdefault(report["seed"], row)
        self.ids = self.reports[0]["ids"]
        for report in self.reports:
            _same_clips(self.reports[0], report)

    @property
    def seeds(self) -> Seeds:
        """Seeds that it was trained with."""
        return frozenset(report["seed"] for report in self.reports)

    @property
    def active(self) -> int:
        """Parameters that act on a token, projectors left out."""
        return int(self.reports[0]["parameters"]["active"])

    @property
    def pairs(self) -> int:
        """Models of one seed: 1, or one a rate pair that was run."""
        return sum(report["seed"] == self.reports[0]["seed"] for report in self.reports)

    def stored(self, what: Literal["stored", "projectors"]) -> int:
        """Parameters kept for all rate pairs, those that widen the LLM or the projectors'."""
        first = self.reports[0]["seed"]
        return sum(r["parameters"][what] for r in self.reports if r["seed"] == first)

    def errors(self, key: Condition, count: Count = "all", seeds: Seeds | None = None) -> Floats:
        """Word errors of each utterance [U], mean over seeds; "capped" has at most its words."""
        chosen = self.seeds if seeds is None else seeds
        rows = [row["utterances"] for seed, row in self.rows[key].items() if seed in chosen]
        sums = [np.add(np.add(u["S"], u["D"]), u["I"]) for u in rows]
        each = np.asarray(sums, dtype=np.float64)
        out: Floats = np.mean(np.minimum(each, self.words(key)) if count == "capped" else each, 0)
        return out

    def words(self, key: Condition) -> Floats:
        """Reference words of each utterance [U]."""
        first = next(iter(self.rows[key].values()))
        return np.asarray(first["utterances"]["words"], dtype=np.float64)

    def cut(self, key: Condition) -> int:
        """Transcripts that were cut because they did not end, over all seeds."""
        return sum(row["truncated"] for row in self.rows[key].values())

    def by_seed(self, key: Condition) -> list[float]:
        """Word error rate of each seed."""
        return [float(row["wer"]) for row in self.rows[key].values()]

    def mean(self, what: str, keys: Iterable[Condition]) -> float:
        """Mean of a row's number over conditions and seeds."""
        rows = [row for key in keys for row in self.rows.get(key, {}).values()]
        found = [row[what] for row in rows if row[what]]
        return float(np.mean(found)) if found else float("nan")


def methods(reports: Iterable[Mapping[str, Any]]) -> dict[str, Method]:
    """Methods by name, in the order of the first report of each."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for report in reports:
        groups.setdefault(report["method"], []).append(report)
    return {name: Method(found) for name, found in groups.items()}


def speeds_path(out: Path, suite: str) -> Path:
    """Where `compare_speed` keeps the times of a suite's methods."""
    return out / "speed" / f"{suite}.json"


def read_speeds(path: Path) -> dict[str, Any]:
    """Times by method, none where they were not taken."""
    if not path.is_file():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return dict(found["methods"]) if found.get("schema") == SPEEDS else {}


def ratio(terms: Sequence[tuple[float, Floats]], words: Floats) -> Figure:
    """Weighted sum of errors by words, and the interval of it over utterances.

    Args:
        terms: weight and errors [U] of each system, on the same utterances.
        words: reference words [U].
    """
    total: Floats = np.sum([weight * errors for weight, errors in terms], axis=0)
    span = bootstrap.interval(total, words, samples=DRAWS, seed=SEED)
    return Figure(float(total.sum() / max(words.sum(), 1)), span.low, span.high)


def error(method: Method, key: Condition, count: Count = "all") -> Figure:
    """Word error rate of a method under a condition."""
    return ratio([(1.0, method.errors(key, count))], method.words(key))


def difference(
    ours: Method,
    theirs: Method,
    key: Condition,
    count: Count = "all",
    seeds: Seeds | None = None,
) -> Figure:
    """Our word error rate less theirs; below 0 where ours is better.

    Args:
        ours: one method.
        theirs: the other.
        key: condition.
        count: as in `Method.errors`.
        seeds: of both to take, all of each without it.

    Raises:
        ConfigError: they were evaluated on different clips.
    """
    _same_clips(ours.reports[0], theirs.reports[0])
    terms = [(1.0, ours.errors(key, count, seeds)), (-1.0, theirs.errors(key, count, seeds))]
    return ratio(terms, ours.words(key))


def growth(
    ours: Method,
    theirs: Method,
    fine: Condition,
    coarse: Condition,
    count: Count = "all",
    seeds: Seeds | None = None,
) -> Figure:
    """By how much more our error rate grows from the fine to the coarse condition than theirs."""
    _same_clips(ours.reports[0], theirs.reports[0])
    terms = [
        (sign * way, method.errors(key, count, seeds))
        for sign, method in ((1.0, ours), (-1.0, theirs))
        for way, key in ((1.0, coarse), (-1.0, fine))
    ]
    return ratio(terms, ours.words(fine))


def _same_clips(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Refuse two reports whose utterances do not pair."""
    if one["ids"] != other["ids"]:
        raise ConfigError(
            "two runs were evaluated on different clips, or in another order",
            where=f"{one['run']}.json, {other['run']}.json",
            todo="Remove the report of the older clips and run tools/compare.py again.",
        )


def _pair(text: str | None) -> tuple[int, ...]:
    return () if text is None else tuple(int(part) for part in text.split(",") if part.isdecimal())
