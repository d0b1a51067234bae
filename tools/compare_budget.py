"""How long the runs of a suite take here, so that none is begun that would not end in time.

Runs that have ended, and reports of those evaluated -> `Guess`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from compare_train import Place


@dataclass(frozen=True)
class Guess:
    """How long things take here, in seconds.

    Args:
        start: until the first step.
        step: of a run of cost 1.
        evaluate: of a whole model of all rate pairs.
    """

    start: float
    step: float
    evaluate: float

    def training(self, place: Place) -> float:
        """Seconds until a run has ended; 0 if it has."""
        left = place.steps - place.steps_done
        return (
            0.0 if place.facts is not None else self.start + left * self.step * place.run.line.cost
        )

    def evaluation(self, place: Place) -> float:
        """Seconds to evaluate a run; a model of one rate pair has a third of the conditions."""
        return self.evaluate * (1.0 if place.run.pair is None else 0.35)


def guess(places: Iterable[Place], reports: Iterable[Mapping[str, Any]] = ()) -> Guess:
    """From the runs that have ended, else what the suite says.

    Args:
        places: of all runs of the suite.
        reports: those that were evaluated.
    """
    places = list(places)
    said = places[0].suite.data["guess"]
    ended = [(p, p.facts) for p in places]
    steps = [f["seconds_per_step"] / p.run.line.cost for p, f in ended if f is not None]
    starts = [f["seconds_to_start"] for _, f in ended if f is not None]
    whole = [r["evaluation"]["seconds"] for r in reports if r["pair"] is None]
    return Guess(
        median(starts) if starts else said["start"],
        median(steps) if steps else said["step"],
        median(whole) if whole else said["evaluate"],
    )
