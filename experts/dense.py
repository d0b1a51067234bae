"""One bottleneck beside every decoder layer: the control that has a MoME's size and no router.

LLM -> Dense. Linear, GELU, Linear with biases, at the places and with the hooks of the MoME.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experts.adapter import Adapter
from experts.hooks import (
    Placement,
    find_decoder_layers,
    home,
    install,
    read_weights,
    refuse_second,
)
from experts.mome import MomeConfig
from experts.rows import Row, RowContext

Equal: TypeAlias = Literal["active", "stored"]


@dataclass(frozen=True)
class DenseConfig:
    """Size and place of the bottlenecks.

    Args:
        rank: width r of each, None for the one that comes nearest to a MoME's size.
        equal: which size of the MoME: what acts on one token, or all that is stored.
        like: that MoME, whose placement is taken too.
        placement: as `MomeConfig.placement`, None for that of `like`.

    Raises:
        ValueError: sizes that make no bottleneck.
    """

    rank: int | None = None
    equal: Equal = "active"
    like: MomeConfig = field(default_factory=MomeConfig)
    placement: Placement | None = None

    def __post_init__(self) -> None:
        if self.rank is not None and (type(self.rank) is not int or self.rank < 1):
            raise ValueError(f"rank={self.rank!r} must be at least 1, or none to have it chosen")
        if not isinstance(self.like, MomeConfig):
            raise ValueError(f"like={self.like!r} must be the sizes of a MoME")
        for name, kind in (("equal", Equal), ("placement", Placement)):
            value = getattr(self, name)
            if value not in get_args(kind) and not (name == "placement" and value is None):
                raise ValueError(f"{name}={value!r} is none of {get_args(kind)}")

    @property
    def place(self) -> Placement:
        """Where the bottlenecks stand."""
        return self.like.placement if self.placement is None else self.placement

    def width(self, hidden: int) -> int:
        """The rank r at LLM width H: a layer of it has r (2H + 1) + H parameters.

        The first linear has r H weights and r biases, the second H r weights and H biases.
        """
        if self.rank is not None:
            return self.rank
        return max(1, round((self._wanted(hidden) - hidden) / (2 * hidden + 1)))

    def stored(self, hidden: int) -> int:
        """Parameters of one layer at LLM width `hidden`, all of which act on every token."""
        return self.width(hidden) * (2 * hidden + 1) + hidden

    def excess(self, hidden: int) -> int:
        """Parameters of one layer beyond those of the MoME; at most half a rank, or H + 1/2."""
        return self.stored(hidden) - self._wanted(hidden)

    def _wanted(self, hidden: int) -> int:
        return self.like.active(hidden) if self.equal == "active" else self.like.stored(hidden)


class DenseLayer(nn.Module):
    """One bottleneck with float32 master weights, computed in the dtype of the hidden state.

    Args:
        hidden: width H of the LLM.
        rank: width of the bottleneck.
        generator: source of the initial weights; the second linear starts at zero.
        device: where the parameters live.
    """

    def __init__(
        self,
        hidden: int,
        rank: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.hidden = hidden

        def parameter(*size: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(*size, dtype=torch.float32, device=device))

        self.down, self.down_bias = parameter(rank, hidden), parameter(rank)
        self.up, self.up_bias = parameter(hidden, rank), parameter(hidden)
        if not self.down.is_meta:
            bound = 1 / math.sqrt(hidden)  # as nn.Linear, and as the experts of a MoME
            with torch.no_grad():
                self.down.uniform_(-bound, bound, generator=generator)
                self.down_bias.uniform_(-bound, bound, generator=generator)

    def forward(self, x: Tensor, base: Tensor) -> Tensor:
        """Sum of base and the bottleneck of x; both [B, N, H].

        Returns:
            [B, N, H] in the dtype of base.
        """
        inner = F.gelu(F.linear(x, self.down.to(x.dtype), self.down_bias.to(x.dtype)))
        out = F.linear(inner, self.up.to(inner.dtype), self.up_bias.to(inner.dtype))
        return base + out.to(base.dtype)


class Dense(Adapter):
    """The bottlenecks of one LLM. Made by `attach_dense`."""

    def __init__(self, layers: list[DenseLayer], config: DenseConfig, rows: RowContext) -> None:
        super().__init__(rows)
        self.layers = nn.ModuleList(layers)
        self.config = config
        self._excess = sum(config.excess(layer.hidden) for layer in layers)

    @property
    def excess(self) -> int:
        """Parameters beyond the size that was to be met, over all layers."""
        return self._excess

    def extra_repr(self) -> str:
        """Configuration, and how far the size is from the one to be met."""
        return f"{self.config}, {self.excess:+d} parameters"


def attach_dense(
    llm: nn.Module, config: DenseConfig, *, scales: Sequence[Row] = (), seed: int = 0
) -> Dense:
    """Add a bottleneck to every decoder layer; right after this the LLM is equal bit for bit.

    Args:
        llm: causal LM of Llama or Qwen type, frozen.
        config: sizes and placement.
        scales: trained rate pairs, of no concern here: they share all.
        seed: of the initial weights.

    Raises:
        ValueError: unknown architecture, or the LLM already carries an adapter.
    """
    blocks = find_decoder_layers(llm)
    refuse_second(blocks)
    generator = torch.Generator().manual_seed(seed)
    layers: list[DenseLayer] = []
    for weight in read_weights(blocks, config.place):
        hidden = weight.shape[-1]
        layer = DenseLayer(hidden, config.width(hidden), generator=generator, device=home(weight))
        layers.append(layer.to(weight.device))
    rows = RowContext()
    dense = Dense(layers, config, rows)
    dense._handles += install(blocks, layers, config.place, rows)
    return dense
