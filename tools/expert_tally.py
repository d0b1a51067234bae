"""Sums over clips of what the routers chose: use of each expert, and agreement of token sets.

Data: Readings of clip after clip -> plain dictionaries for JSON.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import torch
from agreement import Agreement, Choices, compare, effective, jensen_shannon, overlap, top_share
from expert_choices import Reading, Router
from torch import Tensor

from avsr.expert_use import Kind
from avsr.rates import Rates
from avsr.views import task_of

HEARD: tuple[Kind, ...] = ("audio", "video", "text")
DRAWS = 1000


class Spot(NamedTuple):
    """The positions of one kind at one rate pair."""

    rates: Rates
    kind: Kind | str  # a Kind, or "all"


class Use:
    """How often, and with how much gate, each expert was chosen.

    Args:
        layers: number of layers L.
        routed: number of routed experts E.
    """

    def __init__(self, layers: int, routed: int) -> None:
        self.tokens = 0
        self.count = torch.zeros(layers, routed, dtype=torch.float64)
        self.mass = torch.zeros(layers, routed, dtype=torch.float64)

    def add(self, choices: Choices) -> None:
        """Count some more tokens."""
        self.tokens += choices.tokens
        self.count += choices.hits(self.count.shape[1]).double().sum(1)
        self.mass += choices.gates(self.mass.shape[1]).double().sum(1)

    def to_dict(self, top_k: int) -> dict[str, Any]:
        """Figures for JSON; counts and masses are per token, so a layer's counts sum to K."""
        return {
            "tokens": self.tokens,
            "count": rounded(self.count / self.tokens),
            "mass": rounded(self.mass / self.tokens),
            "effective_count": rounded(effective(self.count)),
            "effective_mass": rounded(effective(self.mass)),
            "top_share": rounded(top_share(self.count, top_k)),
        }


class Tally:
    """All sums of one model.

    Args:
        layers: number of layers L.
        routed: number of routed experts E.
        top_k: routed experts a token K.
    """

    def __init__(self, layers: int, routed: int, top_k: int) -> None:
        self.layers, self.routed, self.top_k = layers, routed, top_k
        self._use: dict[tuple[Spot, Router], Use] = defaultdict(lambda: Use(layers, routed))
        self._pairs: dict[tuple[Spot, Spot, Router], list[Agreement]] = defaultdict(list)

    def add(self, readings: Sequence[Reading]) -> None:
        """Count one clip, read at several rate pairs."""
        for reading in readings:
            for router, choices in reading.choices.items():
                for kind, chosen in choices.items():
                    if chosen.tokens > 0:
                        self._use[Spot(reading.rates, kind), router].add(chosen)
                        self._use[Spot(reading.rates, "all"), router].add(chosen)
            for one, other in combinations(HEARD, 2):
                self._compare(reading, one, reading, other)
        for first, second in combinations(readings, 2):
            if task_of(first.rates) == task_of(second.rates):
                for kind in HEARD:
                    self._compare(first, kind, second, kind)

    def _compare(self, first: Reading, one: Kind, second: Reading, other: Kind) -> None:
        for router in first.choices:
            a, b = first.choices[router][one], second.choices[router][other]
            if a.tokens == 0 or b.tokens == 0:
                continue
            key = Spot(first.rates, one), Spot(second.rates, other), router
            self._pairs[key].append(
                compare(a, b, self.routed, _together(first, one, second, other))
            )

    def use(self, spot: Spot, router: Router) -> Use | None:
        """Use of the experts at one spot, None where no token was there."""
        return self._use.get((spot, router))

    def usage(self) -> list[dict[str, Any]]:
        """One row for each rate pair, kind of position and router."""
        return [
            {
                "task": task_of(spot.rates),
                "rates": str(spot.rates),
                "kind": spot.kind,
                "router": router,
                **use.to_dict(self.top_k),
            }
            for (spot, router), use in self._use.items()
        ]

    def agreement(self, seed: int) -> list[dict[str, Any]]:
        """One row for each two spots that were compared, and router.

        Args:
            seed: of the bootstrap over clips.
        """
        return [self._row(*key, found, seed) for key, found in self._pairs.items()]

    def _row(
        self, first: Spot, second: Spot, router: Router, found: list[Agreement], seed: int
    ) -> dict[str, Any]:
        loads = [self._use[spot, router].count[:, None] for spot in (first, second)]
        row: dict[str, Any] = {
            "between": "kinds" if first.rates == second.rates else "rates",
            "task": task_of(first.rates),
            "first": {"rates": str(first.rates), "kind": first.kind},
            "second": {"rates": str(second.rates), "kind": second.kind},
            "router": router,
            "clips": len(found),
            "shannon_of_loads": rounded(jensen_shannon(*loads)[:, 0, 0]),
        }
        for name in ("jaccard", "shannon", "any_jaccard", "any_shannon"):
            clips = [v for v in (getattr(one, name) for one in found) if v is not None]
            row[name] = rounded(torch.stack(clips).mean(0)) if clips else None
            row[f"{name}_mean"] = mean_interval([float(v.mean()) for v in clips], seed)
        return row


def _together(first: Reading, one: Kind, second: Reading, other: Kind) -> Tensor | None:
    """Which tokens belong together: those that share time, or the same word piece."""
    if one in first.spans and other in second.spans:
        return overlap(first.spans[one], second.spans[other])
    if one == other:  # the transcript is the same in both
        return torch.eye(first.choices["trained"][one].tokens)
    return None


def mean_interval(values: Sequence[float], seed: int) -> dict[str, float | None] | None:
    """Mean over clips and its 95 % bootstrap interval; no interval from a single clip."""
    if not values:
        return None
    mean = float(np.mean(values))
    if len(values) == 1:
        return {"mean": mean, "low": None, "high": None}
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(values), size=(DRAWS, len(values)))
    low, high = np.quantile(np.asarray(values)[draws].mean(1), (0.025, 0.975))
    return {"mean": mean, "low": float(low), "high": float(high)}


def rounded(values: Tensor | Iterable[Any]) -> Any:
    """Nested lists of numbers, short enough to read."""
    table = values.tolist() if isinstance(values, Tensor) else values
    if isinstance(table, float):
        return round(table, 5)
    return [rounded(row) for row in table] if isinstance(table, list) else table
