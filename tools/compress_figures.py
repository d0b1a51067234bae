"""Figures of a comparison of compressors: matched budgets, intervals, areas, cheapest equals.

Data: runs (JSON) -> comparisons with pooling at the same tokens -> Markdown tables and curves.
A method is compared at equal tokens or not at all, and never ranked inside an interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from avsr import bootstrap
from avsr.errors import ConfigError
from avsr.svg import curves

FLOORS = ("none", "random", "stride", "pool")
NONE_YET = "No figure yet."
TUNED = " (tuned)"
STREAMS = {"a": "sound", "v": "lips", "av": "sound and lips"}
MATCHED = 0.05  # budgets that differ by more are not compared
SAMPLES = 2000

Point = Mapping[str, Any]
Run = Mapping[str, Any]


def slug(name: str) -> str:
    """A run's name as that of a file."""
    for old, new in ((TUNED, "-tuned"), (",", "_"), ("=", "-"), (" ", "-")):
        name = name.replace(old, new)
    return name


@dataclass(frozen=True)
class Curve:
    """A method's points under one condition, in order of tokens.

    Args:
        run: name of the run.
        points: as in its JSON.
    """

    run: str
    points: tuple[Point, ...]

    @property
    def xy(self) -> list[tuple[float, float]]:
        """Tokens a second and WER in per cent."""
        return [(point["tokens_per_second"], 100 * wer(point)) for point in self.points]


def wer(point: Point) -> float:
    """Errors by reference words; errors themselves where nothing was said."""
    return sum(point["edits"]) / max(1, sum(point["words"]))


def curve(run: Run, task: str, condition: str) -> Curve:
    """The points of a run under one condition."""
    chosen = [p for p in run["points"] if (p["task"], p["condition"]) == (task, condition)]
    return Curve(run["name"], tuple(sorted(chosen, key=lambda p: p["tokens_per_second"])))


def matched(one: Point, other: Point) -> bool:
    """Whether two points spent as many tokens, within five per cent."""
    a, b = one["tokens_per_second"], other["tokens_per_second"]
    return abs(a - b) <= MATCHED * max(a, b)


@dataclass(frozen=True)
class Difference:
    """How a method differs from pooling at equal tokens, on the same utterances.

    Args:
        points: of WER, in per cent of the words; negative where the method is better.
        low: lower end of its 95 % interval.
        high: upper end.
    """

    points: float
    low: float
    high: float


def against(point: Point, reference: Point, *, seed: int = 0) -> Difference | None:
    """Difference in WER from a reference at equal tokens; None at other budgets.

    In points, not in per cent of the reference's errors, of which there may be none.
    """
    if not matched(point, reference) or sum(point["words"]) == 0:
        return None
    more = [b - a for a, b in zip(reference["edits"], point["edits"], strict=True)]
    span = bootstrap.interval(more, point["words"], samples=SAMPLES, seed=seed)
    return Difference(100 * sum(more) / sum(point["words"]), 100 * span.low, 100 * span.high)


def check_pairs(runs: Iterable[Run]) -> None:
    """Refuse runs whose utterances are not those of the others, in the same order.

    Figures are paired by place; under each condition all runs must have read the same clips.

    Raises:
        ConfigError: says which do not go together.
    """
    first: dict[str, tuple[str, list[str]]] = {}
    for run in runs:
        for condition, told in run.get("done", {}).items():
            clips = list(told["clips"])
            if not clips:  # refused, or the speed of one
                continue
            name, known = first.setdefault(condition, (run["name"], clips))
            if clips != known:
                raise ConfigError(
                    f"{name} and {run['name']} have read other clips under {condition!r}, "
                    f"{len(known)} and {len(clips)}: they cannot be compared pair by pair"
                )
            for point in run["points"]:
                if point["condition"] == condition and len(point["edits"]) != len(clips):
                    raise ConfigError(
                        f"{run['name']} has errors of {len(point['edits'])} utterances under "
                        f"{condition!r}, and {len(clips)} clips"
                    )


def place(point: Point) -> tuple[Any, ...]:
    """Streams, condition and step of a point: what a rival's point must share with it."""
    return point["task"], point["condition"], point["step"]


def kinds_of(run: Run, point: Point, splits: Mapping[str, str]) -> list[str]:
    """Split of each utterance of a point.

    Args:
        run: whose point it is.
        point: under a condition that the run has done.
        splits: of each clip by its id.
    """
    return [splits.get(clip, "test") for clip in run["done"][point["condition"]]["clips"]]


def only(point: Point, kinds: Sequence[str], split: str) -> Point:
    """A point's utterances of one split; one list for each utterance, the rest as it is.

    Args:
        point: of all clips.
        kinds: split of each.
        split: that is wanted.
    """
    lists = ("words", "edits", "tokens", "sure")
    return {
        **point,
        **{
            key: [value for value, kind in zip(point[key], kinds, strict=True) if kind == split]
            for key in lists
            if key in point
        },
    }


def area(points: Sequence[tuple[float, float]]) -> float:
    """Mean WER over the logarithm of tokens, by trapezia; nan with fewer than two points."""
    known = [(math.log(x), y) for x, y in points if x > 0]
    if len(known) < 2 or known[-1][0] == known[0][0]:
        return math.nan
    total = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(known))
    return total / (known[-1][0] - known[0][0])


def least_tokens(
    points: Sequence[tuple[float, float]], uncompressed: float, slack: float = 0.05
) -> float:
    """Fewest tokens a second whose WER is within `slack` of the uncompressed; nan if none is."""
    enough = [x for x, y in points if y <= uncompressed * (1 + slack) + 1e-9]
    return min(enough, default=math.nan)


def verdict(found: Difference | None) -> str:
    """A cell: better, worse, or undecided where the interval holds zero."""
    if found is None:
        return "other budget"
    span = f"{found.points:+.1f} ({found.low:+.1f} to {found.high:+.1f})"
    if found.low <= 0 <= found.high:
        return f"undecided, {span}"
    return f"{'better' if found.high < 0 else 'worse'}, {span}"


def peer(name: str, runs: Mapping[str, Run]) -> str:
    """The pooling that a run is compared with: tuned for as many steps if it was tuned itself."""
    return "pool" + TUNED if name.endswith(TUNED) and "pool" + TUNED in runs else "pool"


def table(runs: Sequence[Run], task: str, condition: str) -> str:
    """Markdown: a line a run, a column a budget of pooling."""
    by_name = {run["name"]: run for run in runs}
    reference = curve(by_name["pool"], task, condition) if "pool" in by_name else None
    if reference is None or not reference.points:
        return "`pool` is not measured here yet, and nothing can be compared."
    free = curve(by_name["none"], task, condition).xy if "none" in by_name else []
    budgets = [point["tokens_per_second"] for point in reversed(reference.points)]
    head = ["method", *(f"{b:.1f} tokens/s" for b in budgets), "mean WER", "iso-WER tokens/s"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for run in runs:
        own = curve(run, task, condition)
        if not own.points:
            continue
        against_name = peer(run["name"], by_name)
        theirs = curve(by_name[against_name], task, condition)
        cells = [
            _cell(run["name"], own, theirs, point["step"], against_name)
            for point in reversed(reference.points)
        ]
        known = theirs.xy[-1:] if against_name != "pool" else [*free, reference.xy[-1]]
        least = least_tokens(own.xy, min((y for _, y in known), default=math.nan))
        lines.append(
            f"| {run['name']} | {' | '.join(cells)} | {_number(area(own.xy))} | {_number(least)} |"
        )
    return "\n".join(lines)


def _cell(name: str, own: Curve, theirs: Curve, step: int, peer_name: str) -> str:
    """Error rate at a step, and how it compares with pooling's there."""
    same = [p for p in own.points if p["step"] == step]
    if not same:
        return "-"
    text = f"{100 * wer(same[0]):.1f}"
    if name == peer_name:
        return text
    other = [p for p in theirs.points if p["step"] == step]
    if "pool" in same[0]:  # pooling at this very number of tokens
        spent = same[0]["tokens_per_second"]
        return f"{text}: {verdict(against(same[0], same[0]['pool']))} ({spent:.1f} tokens/s)"
    found = against(same[0], other[0]) if other else None
    if found is None and other:
        return f"{text}: {verdict(None)} ({same[0]['tokens_per_second']:.1f})"
    return f"{text}: {verdict(found)}"


def _number(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "-"


def detail_points(points: Iterable[Point]) -> list[Point]:
    """The same points, of the words alone that no language model can guess."""
    out = []
    for point in points:
        if "detail_edits" in point:
            own = {**point, "edits": point["detail_edits"], "words": point["detail_words"]}
            if "pool" in own:
                (own["pool"],) = detail_points([own["pool"]])
            out.append(own)
    return out


def detailed(runs: Sequence[Run]) -> list[Run]:
    """Runs of the detail-sensitive slice."""
    return [{**run, "points": detail_points(run["points"])} for run in runs]


def silence_table(runs: Iterable[Run]) -> str:
    """Markdown: words heard where nothing is said, a minute, by condition, task and step."""
    runs = list(runs)
    empty = [p for run in runs for p in run["points"] if not sum(p["words"])]
    columns = sorted({(p["condition"], p["task"], p["step"]) for p in empty})
    if not columns:
        return NONE_YET
    names = [f"{condition}, {task}, step {step}" for condition, task, step in columns]
    lines = [f"| words a minute | {' | '.join(names)} |", "|" + "---|" * (1 + len(names))]
    for run in runs:
        found = {(p["condition"], p["task"], p["step"]): p for p in run["points"]}
        if not any(column in found for column in columns):
            continue
        cells = [_heard(found.get(column)) for column in columns]
        lines.append(f"| {run['name']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _heard(point: Point | None) -> str:
    return "-" if point is None else f"{60 * sum(point['edits']) / point['seconds']:.2f}"


def speed_table(runs: Iterable[Run]) -> str:
    """Markdown: medians of the toy's two stages in milliseconds."""
    lines = ["| method | compressor, ms | model, ms |", "|---|---|---|"]
    for run in runs:
        if "timing" in run:
            spent = (1e3 * run["timing"][stage] for stage in ("compressor", "model"))
            lines.append(f"| {run['name']} | {' | '.join(f'{ms:.2f}' for ms in spent)} |")
    return "\n".join(lines)


def page(runs: Sequence[Run], title: str) -> str:
    """The whole report."""
    conditions = _conditions(runs)
    parts = [f"# {title}", "", *_notes(runs)]
    for task, condition in conditions:
        parts += [f"## Task {task}, {condition}", "", table(runs, task, condition), ""]
    parts += ["## Silence", "", silence_table(runs), "", "## Speed", "", speed_table(runs), ""]
    return "\n".join(parts)


def figures(runs: Sequence[Run]) -> dict[str, str]:
    """Name of a file -> SVG, one for each task and condition."""
    out = {}
    for task, condition in _conditions(runs):
        series = {run["name"]: curve(run, task, condition).xy for run in runs}
        out[f"{task}_{condition}.svg"] = curves(
            {name: points for name, points in series.items() if points},
            title=f"task {task}, {condition}",
            across="tokens a second",
            up="WER, %",
        )
    return out


def _conditions(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Tasks and conditions in which something was said."""
    seen = [(p["task"], p["condition"]) for run in runs for p in run["points"] if sum(p["words"])]
    return list(dict.fromkeys(seen))


def _notes(runs: Sequence[Run]) -> list[str]:
    known = {run["name"] for run in runs}
    missing = [name for name in FLOORS if name not in known]
    told = [
        f"`{' '.join(runs[0]['command'])}`, seed {runs[0]['seed']}.",
        "",
        "Error rates in per cent; beside them the difference from `pool`, in points, at the same "
        f"tokens (within {100 * MATCHED:.0f} %) with its 95 % interval, paired by utterance, "
        f"{SAMPLES} draws. What lies inside an interval is not ranked. `mean WER` is the area "
        "under WER over log tokens; `iso-WER tokens` are the fewest within 5 % of the better WER "
        "of `none` and the finest `pool`. Tuned runs are compared with tuned pooling, and their "
        "iso-WER with its finest.",
        "",
    ]
    told += [f"Floors that are missing: {', '.join(missing)}.", ""] if missing else []
    return told + [f"- not measured: {run['refused']}" for run in runs if "refused" in run] + [""]
