"""Where a compressor is better than pooling at equal tokens, and how often that was asked.

Data: runs of `bench_compress`, split of each clip -> Markdown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from compress_figures import (
    FLOORS,
    NONE_YET,
    STREAMS,
    TUNED,
    Difference,
    Point,
    Run,
    against,
    kinds_of,
    only,
    peer,
    place,
    verdict,
)


@dataclass(frozen=True)
class Comparison:
    """A method and pooling at the same tokens.

    Args:
        name: of the run.
        point: of the method.
        all: over all clips.
        test: over test clips, None if there are none.
    """

    name: str
    point: Point
    all: Difference
    test: Difference | None


def comparisons(runs: Sequence[Run], splits: Mapping[str, str]) -> Iterator[Comparison]:
    """Every method but the floors under every condition in which something was said.

    Args:
        runs: those of a folder.
        splits: of each clip by its id.
    """
    by_name = {run["name"]: run for run in runs}
    pools = ("pool", "pool" + TUNED)
    pooled = {p: {place(x): x for x in by_name[p]["points"]} for p in pools if p in by_name}
    for run in runs:
        rival = peer(run["name"], by_name)
        if run["name"].removesuffix(TUNED) in FLOORS or rival not in pooled:
            continue
        for point in run["points"]:
            own = point.get("pool") or pooled[rival].get(place(point))
            found = against(point, own) if own and sum(point["words"]) else None
            if found is not None:
                kinds = kinds_of(run, point, splits)
                test = [only(each, kinds, "test") for each in (point, own)]
                told = against(*test) if sum(test[0]["words"]) else None
                yield Comparison(run["name"], point, found, told)


def wins(runs: Sequence[Run], splits: Mapping[str, str]) -> str:
    """How many comparisons come out which way, and those that come out better."""
    parts = []
    for tuned in (False, True):
        found = [c for c in comparisons(runs, splits) if c.name.endswith(TUNED) == tuned]
        if not found:
            continue
        better = [c for c in found if c.all.high < 0]
        worse = sum(c.all.low > 0 for c in found)
        parts += [
            f"{'Tuned to the method' if tuned else 'Trained by pooling'}: of {len(found)} "
            f"comparisons {len(better)} are better, {worse} worse, the rest undecided; where no "
            f"method differed, {len(found) / 40:.0f} would be called better by chance.",
            "",
        ]
        if better:
            parts += [
                "| method | streams | condition | tokens/s | against `pool` | test clips alone |",
                "|---|---|---|---|---|---|",
                *(_row(c) for c in sorted(better, key=lambda c: c.all.points)),
                "",
            ]
    return "\n".join(parts).strip() or NONE_YET


def _row(found: Comparison) -> str:
    point = found.point
    test = "-" if found.test is None else verdict(found.test)
    return (
        f"| {found.name} | {STREAMS[point['task']]} | {point['condition']} "
        f"| {point['tokens_per_second']:.1f} | {verdict(found.all)} | {test} |"
    )
