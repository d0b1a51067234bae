"""What the rows of an evaluation are about.

tasks, rate pairs, noise levels, damages -> `Condition`s in the order of the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from avsr.errors import ConfigError
from avsr.rates import Rates
from avsr.transcript import Modality

__all__ = ["Condition", "System", "conditions"]

System = Literal["avsr", "whisper"]


@dataclass(frozen=True)
class Condition:
    """What a row of the table is about.

    Args:
        task: the streams read: "a", "v" or "av".
        rates: rate pair; None for the baseline, which has none.
        snr: signal-to-noise ratio in dB; None is clean.
        system: ours, or the baseline.
        damage: name of what sound and lips meet before that noise; None for nothing.
    """

    task: Modality
    rates: Rates | None
    snr: float | None = None
    system: System = "avsr"
    damage: str | None = None


def conditions(
    trained: Mapping[Modality, Sequence[Rates]],
    tasks: Iterable[Modality],
    *,
    rates: Sequence[Rates] | None = None,
    snrs: Sequence[float | None] = (None,),
    damages: Sequence[str | None] = (None,),
    baseline: bool = False,
) -> list[Condition]:
    """List what to evaluate: every task at every rate pair, noise level and damage.

    Args:
        trained: rate pairs of each task, finest first.
        tasks: the tasks wanted.
        rates: rate pairs wanted; a task of one stream takes its part. None for all trained ones.
        snrs: noise levels in dB, None for clean. Lips hear no noise: task "v" is done once.
        damages: names of damage, None for nothing.
        baseline: whether to add a row of Whisper's own decoder at each level and damage.

    Returns:
        Conditions in the order of the table.

    Raises:
        ConfigError: a rate pair that was not trained.
    """
    found: list[Condition] = []
    for task in tasks:
        known = list(trained[task])
        wanted = known if rates is None else [pair for r in rates if (pair := _part(r, task))]
        for pair in dict.fromkeys(wanted):
            if pair not in known:
                listed = ", ".join(f"({each})" for each in known) or "none"
                raise ConfigError(
                    f"rates ({pair}) were not trained for task {task}",
                    todo=f"Choose from {listed}.",
                )
            levels = snrs if "a" in task else (None,)
            found += [
                Condition(task, pair, snr, damage=damage) for damage in damages for snr in levels
            ]
    if baseline:
        found += [
            Condition("a", None, snr, "whisper", damage) for damage in damages for snr in snrs
        ]
    return found


def _part(rates: Rates, task: Modality) -> Rates | None:
    """The part of a rate pair that a task reads; None where it lacks one."""
    audio, video = rates.audio, rates.video
    if ("a" in task and audio is None) or ("v" in task and video is None):
        return None
    return Rates(audio if "a" in task else None, video if "v" in task else None)
