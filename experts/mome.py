"""One Mixture of Matryoshka Experts layer: hidden states [B, N, H] -> mixture [B, N, H].

arXiv 2510.04136, equations 1-3. One router and one set of experts serve every rate and modality.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from experts.hooks import Placement
from experts.kernel import (
    Activation,
    Mixture,
    Packed,
    Renorm,
    Shape,
    mix,
    pack,
)
from experts.single import Rows, lay_rows, mix_one
from experts.sizes import real, whole

Balance: TypeAlias = Literal["paper", "bias", "none"]
Routers: TypeAlias = Literal["shared", "scale"]


@dataclass(frozen=True)
class MomeConfig:
    """Size and place of the mixtures, named MoME-routed/top_k-PLACEMENT in the paper.

    Args:
        routed: routed experts E per layer; the router knows only these.
        shared: experts every token passes, with gate 1.
        top_k: routed experts K per token.
        rank: bottleneck width r of each expert.
        placement: parallel to the FFN, to the attention, or to the whole layer; "task" is "ffn"
            for rows of lips alone and "layer" for the others, after the paper's figure 3.
        renorm: "none" keeps the raw softmax mass (equation 2), "topk" makes the K gates sum to 1.
        alpha: output scale; the paper states none.
        activation: between the two linears of an expert.
        balance: what keeps the experts in use: the paper's loss, nothing, or a bias on the choice
            (not on the gates) that `Adapter.settle` moves against each expert's load, without a
            loss (arXiv 2408.15664).
        balance_step: by how much the bias moves at a time.
        routers: one for all rates, or one for each rate pair (the paper's ablation, appendix C.1).

    Raises:
        ValueError: numbers that make no mixture.
    """

    routed: int = 23
    shared: int = 1
    top_k: int = 4
    rank: int = 8
    placement: Placement = "layer"
    renorm: Renorm = "none"
    alpha: float = 1.0
    activation: Activation = "gelu"
    balance: Balance = "paper"
    balance_step: float = 1e-3
    routers: Routers = "shared"

    def __post_init__(self) -> None:
        whole(1, routed=self.routed, rank=self.rank)
        whole(0, shared=self.shared, top_k=self.top_k)
        if not 1 <= self.top_k <= self.routed:
            raise ValueError(f"top_k={self.top_k} must lie between 1 and routed={self.routed}")
        if self.renorm == "topk" and self.top_k == 1 < self.routed:
            raise ValueError(
                "renorm='topk' with top_k=1 makes every gate 1, so that no router would learn"
            )
        real(alpha=self.alpha, balance_step=self.balance_step)
        if self.balance_step <= 0:
            raise ValueError(f"balance_step={self.balance_step} must be positive")
        for name, kind in (
            ("placement", Placement),
            ("renorm", Renorm),
            ("activation", Activation),
            ("balance", Balance),
            ("routers", Routers),
        ):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name}={getattr(self, name)!r} is none of {get_args(kind)}")

    def stored(self, hidden: int, scales: int = 1) -> int:
        """Parameters of one layer in memory, at LLM width `hidden`, for so many rate pairs."""
        routers = 1 if self.routers == "shared" else scales
        return (self.routed + self.shared) * self._expert(hidden) + routers * hidden * self.routed

    def active(self, hidden: int) -> int:
        """Parameters of one layer that act on one token, at LLM width `hidden`."""
        return (self.top_k + self.shared) * self._expert(hidden) + hidden * self.routed

    def _expert(self, hidden: int) -> int:
        return 2 * hidden * self.rank + self.rank + hidden


class MomeLayer(nn.Module):
    """All experts of one LLM layer as stacked parameters, routed experts first, then shared.

    Parameters are float32 master weights; the GEMMs run in the dtype of the hidden state (or of
    autocast), the router in float32. In eval mode without gradients the converted weights are kept
    until a parameter changes; edits through `parameter.data` are not seen before the next
    `train()` or `eval()`.

    Args:
        hidden: width H of the LLM.
        config: sizes.
        generator: source of the initial weights.
        device: where the parameters live.
        scales: rate pairs, for routers of their own.
    """

    steer: Tensor | None

    def __init__(
        self,
        hidden: int,
        config: MomeConfig,
        *,
        scales: int = 1,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.hidden, self.config = hidden, config
        experts, rank = config.routed + config.shared, config.rank

        def parameter(*size: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(*size, dtype=torch.float32, device=device))

        self.down = parameter(experts, rank, hidden)
        self.down_bias = parameter(experts, rank)
        self.up = parameter(experts, hidden, rank)
        self.up_bias = parameter(experts, hidden)
        routers = 1 if config.routers == "shared" else scales
        self.router = parameter(routers * config.routed, hidden)
        steer = None
        if config.balance == "bias":
            steer = torch.zeros(routers, config.routed, dtype=torch.float32, device=device)
        self.register_buffer("steer", steer)
        self._shape = Shape(
            config.routed,
            config.shared,
            config.top_k,
            rank,
            config.renorm,
            config.alpha,
            config.activation,
        )
        self._laid: dict[torch.dtype | None, Packed | Rows] = {}
        self._state: list[tuple[int, int]] | None = None
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Random down-projections and router, zero up-projections: the mixture starts at zero."""
        if self.down.is_meta:
            return
        bound = 1 / math.sqrt(self.hidden)  # kaiming_uniform(a=sqrt(5)) at fan-in H, as nn.Linear
        with torch.no_grad():
            self.down.uniform_(-bound, bound, generator=generator)
            self.down_bias.uniform_(-bound, bound, generator=generator)
            self.router.normal_(0.0, 0.02, generator=generator)
            self.up.zero_()
            self.up_bias.zero_()

    def forward(self, x: Tensor, base: Tensor | None = None) -> Tensor:
        """Mixture of x, added to base when given.

        Args:
            x: [B, N, H] normalised hidden state.
            base: [B, N, H] output of the block this layer runs beside.

        Returns:
            [B, N, H] in the dtype of base, else of x.
        """
        return self.run(x, base)[0]

    def run(
        self,
        x: Tensor,
        base: Tensor | None = None,
        share: Tensor | None = None,
        owner: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """`forward` together with the router's choice.

        Args:
            x: [B, N, H].
            base: [B, N, H] or None.
            share: [G, B*N] token weights for the balance loss, None to leave it out.
            owner: [B*N] router of each token, where each rate pair has one.

        Returns:
            output [B, N, H], balance loss or None, experts [B*N, K], weight [B*N, K].
        """
        device = x.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else x.dtype
        result = x.dtype if base is None else base.dtype
        flat = x.reshape(-1, self.hidden).to(dtype)
        # The sum is part of the last GEMM when the dtypes allow it.
        fused = None if base is None or result != dtype else base.reshape(-1, self.hidden)
        # Autocast would take the router's GEMM out of float32.
        with torch.autocast(device, enabled=False) if autocast else nullcontext():
            out, balance, experts, weight = self._mix(flat, fused, share, owner)
        out = out.view(x.shape).to(result)
        out = out if base is None or fused is not None else base + out
        return out, balance, experts, weight

    def _mix(
        self, x: Tensor, base: Tensor | None, share: Tensor | None, owner: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """The kernel that fits: with gradients, for a single token, or for many."""
        if torch.is_grad_enabled() or share is not None:
            found: tuple[Tensor, Tensor | None, Tensor, Tensor] = Mixture.apply(
                x, base, *self._stack(), self._shape, share, self.steer, owner
            )
            return found
        if x.shape[0] == 1 and x.dtype != torch.float64:
            out, choice = mix_one(x, base, self._laid_out(None), self._shape, owner)
        else:
            out, _, choice = mix(x, base, self._laid_out(x.dtype), self._shape, owner)
        return out, None, choice.experts, choice.weight

    def _stack(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        return self.down, self.down_bias, self.up, self.up_bias, self.router

    def _laid_out(self, dtype: torch.dtype | None) -> Any:
        """`Packed` for `mix` in dtype, `Rows` for `mix_one` if None; kept while still true."""
        stack = self._stack()
        # Inference tensors have no version, so a change of theirs cannot be noticed.
        keep = not self.training and not self.down.is_inference()
        watched = stack if self.steer is None else (*stack, self.steer)
        state = [(p._version, p.data_ptr()) for p in watched] if keep else None
        if state is None or state != self._state:
            self._laid, self._state = {}, state
        laid = self._laid.get(dtype)
        if laid is None and dtype is None:
            laid = lay_rows(*stack, self._shape, self.steer)
        elif laid is None and dtype is not None:
            laid = pack(*stack, self._shape, dtype, self.steer)
        if keep and laid is not None:
            self._laid[dtype] = laid
        return laid

    def _apply(self, fn: Any, recurse: bool = True) -> MomeLayer:
        self._laid = {}  # .to() swaps storages, whose addresses may come back
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def train(self, mode: bool = True) -> MomeLayer:
        """Switch mode and drop the converted weights."""
        self._laid = {}
        return super().train(mode)

    def extra_repr(self) -> str:
        """Width and configuration."""
        return f"hidden={self.hidden}, {self.config}"
