"""Low-rank layers (LoRA, arXiv 2106.09685) on the attention of a frozen tower.

tower -> LowRank, whose parameters are all that is trained.  The tower itself stays as it is, file
and fingerprint included: the layers add to what its projections give, and add nothing at first.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from frontends.errors import AvsrError

__all__ = ["LowRank", "TowerLora", "attach", "gradients_if_adapted"]

Given = ParamSpec("Given")
Result = TypeVar("Result")


@dataclass(frozen=True)
class TowerLora:
    """Sizes of a tower's low-rank layers.

    Args:
        rank: width of each bottleneck.
        alpha: the update is scaled by alpha / rank.
        targets: names of the projections that are adapted, in every layer that has them.

    Raises:
        ValueError: sizes that make no layer.
    """

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = ("q_proj", "v_proj")

    def __post_init__(self) -> None:
        """Check what a file may hold."""
        given: Sequence[str] = self.targets  # a list, read from JSON
        if isinstance(given, str):
            raise ValueError(f"targets={given!r} must be a list of names")
        object.__setattr__(self, "targets", tuple(given))
        if not self.targets:
            raise ValueError("targets names no projection")
        number = type(self.alpha) in (int, float) and 0 < self.alpha < math.inf
        if type(self.rank) is not int or self.rank < 1 or not number:
            raise ValueError(f"rank={self.rank!r} must be 1 or more, alpha={self.alpha!r} above 0")


class _Bottleneck(nn.Module):
    """x [..., in] -> [..., out] through a few numbers; zero at first."""

    def __init__(self, inputs: int, outputs: int, rank: int, random: torch.Generator) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        down = torch.empty(rank, inputs, device="cpu").uniform_(-bound, bound, generator=random)
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        self.down = nn.Parameter(down.to(self.up.device))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(nn.functional.linear(x, self.down), self.up)


class LowRank(nn.Module):
    """The low-rank layers of one tower, in the order of its projections. Made by `attach`."""

    def __init__(self, targets: list[nn.Linear], sizes: TowerLora, seed: int) -> None:
        super().__init__()
        self.sizes = sizes
        random = torch.Generator().manual_seed(seed)
        self.layers = nn.ModuleList(
            _Bottleneck(target.in_features, target.out_features, sizes.rank, random)
            for target in targets
        )
        scale = sizes.alpha / sizes.rank
        for target, layer in zip(targets, self.layers, strict=True):
            target.register_forward_hook(
                lambda _module, given, out, layer=layer: out + scale * layer(given[0])
            )


def attach(tower: Any, sizes: TowerLora, *, seed: int = 0) -> LowRank:
    """Add low-rank layers to a tower.

    Args:
        tower: Whisper, AV-HuBERT, HuBERT or wav2vec 2.0; with them it lets gradients through.
        sizes: of the layers.
        seed: of their initial weights.

    Returns:
        The layers. The tower computes what it did until their up-projections are changed.

    Raises:
        AvsrError: the tower has no such projections, or has low-rank layers already.
    """
    todo = "Name projections of the tower in tower_lora's targets, or leave tower_lora out."
    if tower.low_rank:
        raise AvsrError("the tower has low-rank layers already")
    kind = getattr(getattr(getattr(tower, "net", None), "config", None), "model_type", "")
    if kind == "wavlm":  # its attention reads the weights past the layers that hold them
        raise AvsrError("WavLM takes no low-rank layers", todo="Use HuBERT or Whisper.")
    named = {
        name: module
        for name, module in tower.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in sizes.targets
    }
    lost = set(sizes.targets) - {name.rpartition(".")[2] for name in named}
    if lost:
        what = f"{type(tower).__name__} has no projection {', '.join(sorted(lost))}"
        raise AvsrError(what, todo=todo)
    layers = LowRank(list(named.values()), sizes, seed)
    tower.low_rank = (layers,)  # in a tuple, so that they are no part of the frozen tower
    return layers


def gradients_if_adapted(
    forward: Callable[Concatenate[Any, Given], Result],
) -> Callable[Concatenate[Any, Given], Result]:
    """Make a tower's method record gradients only where it has low-rank layers to train."""

    @functools.wraps(forward)
    def run(tower: Any, /, *args: Given.args, **kwargs: Given.kwargs) -> Result:
        if tower.low_rank:
            return forward(tower, *args, **kwargs)
        with torch.no_grad():
            return forward(tower, *args, **kwargs)

    return run
