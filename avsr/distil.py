"""Coarse rates learn from the finest: self-distillation between the views of one clip.

Data: logits of all views' transcript positions + which view teaches which -> scalar. Views of one
clip and task say the same text, so their positions correspond. (Hinton et al., arXiv 1503.02531,
at temperature 1; the teacher gets no gradient.)
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from avsr.rates import Rates


class Seen(Protocol):
    """What is asked of a view: a clip of the batch and its rates."""

    @property
    def row(self) -> int:
        """Clip."""

    @property
    def rates(self) -> Rates:
        """Rates, None for a modality that is left out."""


def teachers(views: Sequence[Seen]) -> list[int]:
    """Index of the finest view of the same clip and task for each view; its own if there is none.

    Finest is the lowest audio rate, then the lowest video rate.
    """
    finest: dict[tuple[int, bool, bool], int] = {}
    keys = [(v.row, v.rates.audio is None, v.rates.video is None) for v in views]
    for i in sorted(range(len(views)), key=lambda i: _rates(views[i])):
        finest.setdefault(keys[i], i)
    return [finest[key] for key in keys]


def _rates(view: Seen) -> tuple[int, int]:
    return view.rates.audio or 0, view.rates.video or 0


def distil_loss(logits: Tensor, counts: Sequence[int], taught_by: Sequence[int]) -> Tensor:
    """Kullback-Leibler divergence of pupils from their teachers.

    Args:
        logits: of all views' supervised positions, one view after the other [P, V].
        counts: positions of each view.
        taught_by: index of each view's teacher; its own index for a teacher.

    Returns:
        Mean over pupils of the mean over their positions; 0 without pupils.
    """
    ends = torch.tensor(counts).cumsum(0).tolist()
    logp = logits.log_softmax(-1)
    losses = []
    for pupil, teacher in enumerate(taught_by):
        if teacher == pupil:
            continue
        own, other = (slice(ends[i] - counts[i], ends[i]) for i in (pupil, teacher))
        target = logp[other].detach()
        losses.append((target.exp() * (target - logp[own])).sum(-1).mean())
    return torch.stack(losses).mean() if losses else logits.sum() * 0.0
