"""The arithmetic of a MoME layer for one token, as in cached decoding.

token [1, H] -> mixture [1, H]. Only the chosen experts' weights are read.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from experts.kernel import ACTIVATIONS, Choice, Shape, choose

# Bytes of one expert's half from which copying the chosen ones together costs more than the calls
# that it saves: 0.8 and 0.7 of the time at 64 and 144 KiB, 1.3 at 18 (one thread of a Xeon, bf16).
_LARGE = 1 << 16


class Rows(NamedTuple):
    """Float32 weights laid out for one token: the rows of one expert lie together.

    down [E, r*H], down_bias [E, r], up [E, (r+1)*H] (up-projection, then output bias),
    router [S*routed, H], shared [shared] (numbers of the shared experts), alphas [shared], choice
    as in `Packed`.
    """

    down: Tensor
    down_bias: Tensor
    up: Tensor
    router: Tensor
    shared: Tensor
    alphas: Tensor
    choice: Tensor | None = None


def lay_rows(
    down: Tensor,
    down_bias: Tensor,
    up: Tensor,
    up_bias: Tensor,
    router: Tensor,
    shape: Shape,
    choice: Tensor | None = None,
) -> Rows:
    """Lay the stacked parameters out for `mix_one`; shapes as in `pack`."""
    shared = torch.arange(shape.routed, shape.routed + shape.shared, device=down.device)
    return Rows(
        down=down.detach().flatten(1).float(),
        down_bias=down_bias.detach().float(),
        up=torch.cat([up.detach().mT, up_bias.detach().unsqueeze(1)], 1).flatten(1).float(),
        router=router.detach().float(),
        shared=shared,
        alphas=torch.full((shape.shared,), shape.alpha, device=down.device),
        choice=choice,
    )


def mix_one(
    x: Tensor, base: Tensor | None, rows: Rows, shape: Shape, owner: Tensor | None = None
) -> tuple[Tensor, Choice]:
    """`mix` for a single token, as in cached decoding: only the chosen experts' weights are read.

    Runs in float32 whatever the dtype of x: small float32 products start faster on a CPU.

    Args:
        x: [1, H].
        base: [1, H] to which the mixture is added, or None.
        rows: weights.
        shape: sizes of the mixture.
        owner: [1] router of the token, None where there is one.
    """
    x = x.float()
    choice = choose(x, rows.router, shape, rows.choice, owner)
    weight = choice.weight if shape.alpha == 1.0 else choice.weight * shape.alpha
    experts = torch.cat([choice.experts[0], rows.shared])  # [A], A = K + shared
    gates = torch.cat([weight[0], rows.alphas]).unsqueeze(1)
    bias = rows.down_bias.index_select(0, experts).view(-1)
    large = x.device.type == "cpu" and rows.down[0].nbytes >= _LARGE
    inner = (_down_in_place if large else _down_copied)(rows, experts, bias, x)
    active = ACTIVATIONS[shape.activation][0](inner).view(-1, shape.rank)
    gated = (torch.cat([active, torch.ones_like(gates)], 1) * gates).view(1, -1)  # [1, A*(r+1)]
    if large:
        table = rows.up.view(-1, x.shape[1])
        places = experts.unsqueeze(1) * (shape.rank + 1) + torch.arange(shape.rank + 1)
        out = F.embedding_bag(places.view(1, -1), table, per_sample_weights=gated, mode="sum")
    else:
        up = rows.up.index_select(0, experts).view(-1, x.shape[1])  # [A*(r+1), H]
        if base is not None and base.dtype == up.dtype:
            return torch.addmm(base, gated, up), choice
        out = gated @ up
    return (out if base is None else base + out.to(base.dtype)), choice


def _down_copied(rows: Rows, experts: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """[A*r] pre-activations: the chosen rows side by side, then one product."""
    down = rows.down.index_select(0, experts).view(-1, x.shape[1])  # [A*r, H]
    return torch.addmv(bias, down, x[0])


def _down_in_place(rows: Rows, experts: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """[A*r] pre-activations: a product an expert, nothing copied."""
    down = rows.down.view(rows.down.shape[0], -1, x.shape[1])
    return torch.cat([down[expert] @ x[0] for expert in experts.tolist()]) + bias
