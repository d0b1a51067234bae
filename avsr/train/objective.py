"""What a training minimises, and how fast: plain data of a recipe.

Data: YAML -> Objective, Schedule.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from experts import Task

Matryoshka = Literal["all", "sample"]


@dataclass(frozen=True)
class Objective:
    """What is minimised.

    Args:
        matryoshka: "all" reads each clip at every rate pair of every task, "sample" at one of them.
        tasks: chance of each task in mode "sample"; a task with chance 0 is left out in both modes.
        rate_weights: chance of each audio rate in mode "sample", in the order of the model's rates.
        sound_rate_weights: the same for batches without lips; empty to take `rate_weights`.
        misled: chance that an audio-visual clip is shown another clip's lips, in mode "sample":
            strangers' lips read worse than those trained on, and sound must win where they differ.
        slips: chance that the LLM reads another token of the batch in place of one that was said,
            as it will after its own mistakes: it then learns to listen rather than to go on.
        balance: weight of the load-balance loss.
        distil: weight of the loss between each view and the finest one of the same clip and task,
            in mode "all".
        ctc: weight of the alignment loss of the projectors at the rates of `ctc_rates`.
        ctc_rates: projectors that are also aligned by CTC, as "audio_4".
    """

    matryoshka: Matryoshka = "sample"
    tasks: Mapping[Task, float] = field(default_factory=lambda: {"a": 0.3, "v": 0.3, "av": 0.4})
    rate_weights: tuple[float, ...] = ()
    sound_rate_weights: tuple[float, ...] = ()
    misled: float = 0.0
    slips: float = 0.0
    balance: float = 0.01
    distil: float = 0.0
    ctc: float = 0.0
    ctc_rates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what would do nothing."""
        if self.distil != 0 and self.matryoshka == "sample":
            raise ValueError('distil needs the finest view of a clip beside the others: mode "all"')


@dataclass(frozen=True)
class Schedule:
    """AdamW under a cosine schedule with warm-up.

    Args:
        lr: peak learning rate of experts and markers.
        projector_lr: peak learning rate of the projectors and the alignment.
        weight_decay: of matrices; vectors have none.
        warmup: steps of linear warm-up.
        steps: length of the cosine, steps.
        floor: share of the peak at the end.
    """

    lr: float = 1e-3
    projector_lr: float = 1e-3
    weight_decay: float = 0.1
    warmup: int = 50
    steps: int = 1000
    floor: float = 0.02

    def at(self, step: int) -> float:
        """Share of the peak at a step."""
        done = min(1.0, step / max(1, self.steps))
        cosine = self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * done))
        return cosine * min(1.0, (step + 1) / max(1, self.warmup))
