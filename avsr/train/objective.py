"""What a training minimises, and how fast: plain data of a recipe.

Data: YAML -> Objective, Schedule.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from avsr.config import AvsrConfig
from avsr.rates import Rates
from avsr.views import task_of
from experts import Task

Matryoshka = Literal["all", "sample"]


@dataclass(frozen=True)
class Objective:
    """What is minimised.

    Args:
        matryoshka: "all" reads each clip at every rate pair of every task, "sample" at one of them.
        tasks: chance of each task in mode "sample"; a task with chance 0 is left out in both modes.
        rate_weights: chance of each audio rate in mode "sample", in the order of the model's rates.
        pair_weights: of rate pairs by name, as {"4,2": 1, "16,5": 2}; one that is not named has 1.
            In mode "all" of its loss (c_ij of arXiv 2510.04136, section 3.2), in mode "sample" of
            its chance within the task.
        sound_rate_weights: the same for batches without lips; empty to take `rate_weights`.
        misled: chance that an audio-visual clip is shown another clip's lips, in mode "sample":
            strangers' lips read worse than those trained on, and sound must win where they differ.
        slips: chance that the LLM reads another token of the batch in place of one that was said,
            as it will after its own mistakes: it then learns to listen rather than to go on.
        phrases: words of each batch that a compressor is told to expect, for one that is guided by
            phrases; a clip says some of them and not the others.
        balance: weight of the load-balance loss.
        distil: weight of the loss between each view and the finest one of the same clip and task,
            in mode "all".
        ctc: weight of the alignment loss of the projectors at the rates of `ctc_rates`.
        ctc_rates: projectors that are also aligned by CTC, as "audio_4".
    """

    matryoshka: Matryoshka = "sample"
    tasks: Mapping[Task, float] = field(default_factory=lambda: {"a": 0.3, "v": 0.3, "av": 0.4})
    rate_weights: tuple[float, ...] = ()
    pair_weights: Mapping[str, float] = field(default_factory=dict)
    sound_rate_weights: tuple[float, ...] = ()
    misled: float = 0.0
    slips: float = 0.0
    phrases: int = 0
    balance: float = 0.01
    distil: float = 0.0
    ctc: float = 0.0
    ctc_rates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn or minimised, and what would do nothing.

        Raises:
            ValueError: such a setting.
        """
        if self.matryoshka not in get_args(Matryoshka):
            raise ValueError(f"matryoshka={self.matryoshka!r} is none of {get_args(Matryoshka)}")
        if not self.tasks or set(self.tasks) - set(get_args(Task)):
            raise ValueError(f"tasks must be of {get_args(Task)}, got {dict(self.tasks)}")
        for name, chances in (
            ("tasks", tuple(self.tasks.values())),
            ("rate_weights", self.rate_weights),
            ("sound_rate_weights", self.sound_rate_weights),
        ):
            _natural(name, *chances)
            if chances and not any(chances):
                raise ValueError(f"{name} are all 0")
        _natural("pair_weights", *self.pair_weights.values())
        _natural("balance, distil and ctc", self.balance, self.distil, self.ctc)
        _natural("phrases", self.phrases)
        for name, chance in (("misled", self.misled), ("slips", self.slips)):
            if not 0 <= chance <= 1:
                raise ValueError(f"{name}={chance} is a chance, from 0 to 1")
        if self.ctc > 0 and not self.ctc_rates:
            raise ValueError(f"ctc={self.ctc} aligns no projector: name some in ctc_rates")
        if self.distil != 0 and self.matryoshka == "sample":
            raise ValueError('distil needs the finest view of a clip beside the others: mode "all"')
        drawn = [n for n in ("rate_weights", "sound_rate_weights", "misled") if getattr(self, n)]
        if drawn and self.matryoshka == "all":
            raise ValueError(f'{", ".join(drawn)}: nothing is drawn in mode "all"; pair_weights do')

    def check(self, config: AvsrConfig) -> None:
        """Refuse what a model has no rates for.

        Raises:
            ValueError: another number of weights than audio rates, a pair or projector it has not,
                a task whose rate pairs have no weight, no task that it can do.
        """
        for name in ("rate_weights", "sound_rate_weights"):
            given = len(getattr(self, name))
            if given not in (0, len(config.audio_rates)):
                raise ValueError(f"{name} are {given}, the audio rates {len(config.audio_rates)}")
        pairs = [str(Rates(row.audio, row.video)) for row in config.scales]
        for name, chosen, known in (
            ("pair_weights", self.pair_weights, pairs),
            ("ctc_rates", self.ctc_rates, config.streams),
        ):
            unknown = sorted(set(chosen) - set(known))
            if unknown:
                raise ValueError(f"{name}: the model has no {unknown}, but {', '.join(known)}")
        wanted = [task for task, chance in self.tasks.items() if chance > 0]
        for task in wanted:
            self._check_weights(task, config)
        counts = [sum(row.task == task for row in config.scales) for task in wanted]
        if not any(counts):
            rates = f"audio_rates={config.audio_rates}, video_rates={config.video_rates}"
            raise ValueError(f"tasks {', '.join(wanted)} are wanted of a model of {rates}")
        if self.distil > 0 and max(counts) == 1:
            raise ValueError("distil needs a finer view of the same task, and each has one rate")

    def _check_weights(self, task: Task, config: AvsrConfig) -> None:
        """Refuse a task that is wanted and whose rate pairs are not."""
        pairs = [Rates(row.audio, row.video) for row in config.scales]
        own = [pair for pair in pairs if task_of(pair) == task]
        for name in ("rate_weights", "sound_rate_weights")[: 1 + (task == "a")]:
            given = getattr(self, name)
            by_rate = dict(zip(config.audio_rates, given, strict=True)) if given else {}
            chances = [
                self.pair_weights.get(str(pair), 1.0)
                * (1.0 if pair.audio is None else by_rate.get(pair.audio, 1.0))
                for pair in own
            ]
            if own and not any(chances):
                raise ValueError(
                    f"task {task} has a chance above 0, but by pair_weights and {name} none of its "
                    f"rate pairs has: {'; '.join(map(str, own))}"
                )


def _natural(name: str, *values: float) -> None:
    """Refuse weights below 0, or that are no numbers."""
    wrong = [value for value in values if not 0 <= value < math.inf]
    if wrong:
        raise ValueError(f"{name} must be 0 or more, got {wrong[0]}")


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

    Raises:
        ValueError: a number that makes no schedule.
    """

    lr: float = 1e-3
    projector_lr: float = 1e-3
    weight_decay: float = 0.1
    warmup: int = 50
    steps: int = 1000
    floor: float = 0.02

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("lr", "projector_lr"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        _natural("weight_decay", self.weight_decay)
        _natural("warmup", self.warmup)
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if not 0 <= self.floor <= 1:
            raise ValueError(f"floor={self.floor} is a share of the peak, from 0 to 1")

    def at(self, step: int) -> float:
        """Share of the peak at a step."""
        done = min(1.0, step / self.steps)
        cosine = self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * done))
        return cosine * min(1.0, (step + 1) / max(1, self.warmup))
