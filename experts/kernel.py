"""The arithmetic of a MoME layer: all experts in two GEMMs, with a backward pass that saves little.

tokens [M, H] -> mixture [M, H], M = B*N. Equations 1-3 of arXiv 2510.04136.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

Activation: TypeAlias = Literal["gelu", "relu", "silu"]
Renorm: TypeAlias = Literal["none", "topk"]

# Each activation with its derivative: (forward(x), backward(upstream, x)).
ACTIVATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "gelu": (F.gelu, torch.ops.aten.gelu_backward),
    "relu": (F.relu, lambda grad, x: torch.ops.aten.threshold_backward(grad, x, 0.0)),
    "silu": (F.silu, torch.ops.aten.silu_backward),
}


class Shape(NamedTuple):
    """The numbers of a mixture that are not tensors."""

    routed: int
    shared: int
    top_k: int
    rank: int
    renorm: Renorm
    alpha: float
    activation: Activation


class Packed(NamedTuple):
    """Weights of all E experts laid out for two GEMMs, in the dtype of the computation.

    down [E*r, H], down_bias [E*r], up [E*r + E, H] (every expert's up-projection, then every
    expert's output bias), router [S*routed, H] in float32, template [1, E] (the gate of a token
    that chose no routed expert: 0 for routed, alpha for shared). S is 1 unless every rate pair has
    a router of its own; choice [S, routed] is added to the probabilities to choose by, or None.
    """

    down: Tensor
    down_bias: Tensor
    up: Tensor
    router: Tensor
    template: Tensor
    choice: Tensor | None = None


class Choice(NamedTuple):
    """What the router decided, before alpha: probs [M, routed], experts [M, K], weight [M, K]."""

    probs: Tensor
    experts: Tensor
    weight: Tensor


def router_dtype(dtype: torch.dtype) -> torch.dtype:
    """Float32, or wider when the hidden state is wider."""
    return torch.promote_types(dtype, torch.float32)


def pack(
    down: Tensor,
    down_bias: Tensor,
    up: Tensor,
    up_bias: Tensor,
    router: Tensor,
    shape: Shape,
    dtype: torch.dtype,
    choice: Tensor | None = None,
) -> Packed:
    """Lay the stacked parameters out for `mix`.

    Args:
        down: [E, r, H].
        down_bias: [E, r].
        up: [E, H, r].
        up_bias: [E, H].
        router: [S*routed, H].
        shape: sizes of the mixture.
        dtype: dtype of the expert GEMMs.
        choice: [S, routed] added to the probabilities to choose by.
    """
    template = torch.zeros(1, shape.routed + shape.shared, dtype=dtype, device=down.device)
    template[:, shape.routed :] = shape.alpha
    return Packed(
        down=down.flatten(0, 1).to(dtype),
        down_bias=down_bias.flatten().to(dtype),
        up=torch.cat([up.to(dtype).mT.flatten(0, 1), up_bias.to(dtype)]),
        router=router.to(router_dtype(dtype)),
        template=template,
        choice=choice,
    )


def choose(
    x: Tensor,
    router: Tensor,
    shape: Shape,
    steer: Tensor | None = None,
    owner: Tensor | None = None,
) -> Choice:
    """Softmax over the routed experts, then top-k (equations 1 and 2).

    Args:
        x: [M, H].
        router: [S*routed, H].
        shape: sizes of the mixture.
        steer: [S, routed] added to the probabilities for the choice, not to the gates.
        owner: [M] which of the S routers each token asks; None where there is one.
    """
    logits = F.linear(x.to(router.dtype), router)
    if owner is not None:
        logits = _own(logits, owner, shape.routed)
    probs = logits.softmax(-1)
    if steer is None:
        weight, index = probs.topk(shape.top_k, dim=-1)
    else:
        index = (probs + (steer if owner is None else steer[owner])).topk(shape.top_k).indices
        weight = probs.gather(1, index)
    if shape.renorm == "topk":
        weight = weight / weight.sum(-1, keepdim=True)
    return Choice(probs, index, weight)


def _own(logits: Tensor, owner: Tensor, routed: int) -> Tensor:
    """[M, S*routed] -> [M, routed]: what each token's own router says."""
    tokens = torch.arange(logits.shape[0], device=logits.device)
    return logits.view(logits.shape[0], -1, routed)[tokens, owner]


def _spread(grad: Tensor, owner: Tensor, routers: int) -> Tensor:
    """[M, routed] -> [M, S*routed]: `_own` backwards."""
    wide = grad.new_zeros(grad.shape[0], routers, grad.shape[1])
    wide[torch.arange(grad.shape[0], device=grad.device), owner] = grad
    return wide.flatten(1)


def _gates(choice: Choice, weights: Packed, shape: Shape) -> Tensor:
    """[M, E] gates in the dtype of the GEMMs; experts outside the top-k get zero."""
    chosen = choice.weight if shape.alpha == 1.0 else choice.weight * shape.alpha
    template = weights.template.expand(chosen.shape[0], -1)
    return template.scatter(1, choice.experts, chosen.to(template.dtype))


def _gated(active: Tensor, gates: Tensor, rank: int) -> Tensor:
    """[M, E*r], [M, E] -> [M, E*r + E]: gated bottlenecks, then the gates (they carry the bias)."""
    scaled = active.view(*gates.shape, rank) * gates.unsqueeze(-1)
    return torch.cat([scaled.flatten(1), gates], 1)


def mix(
    x: Tensor, base: Tensor | None, weights: Packed, shape: Shape, owner: Tensor | None = None
) -> tuple[Tensor, Tensor, Choice]:
    """Run every expert on every token, gated.

    Args:
        x: [M, H] tokens in the dtype of `weights`.
        base: [M, H] to which the mixture is added, or None.
        weights: packed weights.
        shape: sizes of the mixture.
        owner: [M] router of each token, None where there is one.

    Returns:
        base plus mixture [M, H], pre-activations [M, E*r], and the router's choice.
    """
    choice = choose(x, weights.router, shape, weights.choice, owner)
    inner = F.linear(x, weights.down, weights.down_bias)
    gated = _gated(
        ACTIVATIONS[shape.activation][0](inner),
        _gates(choice, weights, shape),
        shape.rank,
    )
    out = gated @ weights.up if base is None else torch.addmm(base, gated, weights.up)
    return out, inner, choice


class Mixture(torch.autograd.Function):
    """`mix` with a backward that keeps only x, the pre-activations and the router's choice.

    The number of saved tensors does not depend on the statistics asked for, so a layer that is
    recomputed under gradient checkpointing after the statistics were switched off still matches.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        base: Tensor | None,
        down: Tensor,
        down_bias: Tensor,
        up: Tensor,
        up_bias: Tensor,
        router: Tensor,
        shape: Shape,
        share: Tensor | None,
        steer: Tensor | None,
        owner: Tensor | None,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """Returns base + mixture [M, H], balance loss or None, index [M, K], weight [M, K]."""
        weights = pack(down, down_bias, up, up_bias, router, shape, x.dtype, steer)
        out, inner, choice = mix(x, base, weights, shape, owner)
        ctx.save_for_backward(
            x, inner, choice.probs, choice.experts, down, down_bias, up, up_bias, router
        )
        ctx.shape, ctx.share, ctx.load = shape, share, None
        ctx.has_base, ctx.owner = base is not None, owner
        balance = None
        if share is not None:
            ctx.load = expert_load(choice.experts, share, shape.routed)
            balance = balance_loss(choice.probs, ctx.load, share)
        ctx.mark_non_differentiable(choice.experts, choice.weight)
        ctx.set_materialize_grads(False)
        return out, balance, choice.experts, choice.weight

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor | None, grad_balance: Tensor | None, *_: Any) -> Any:
        """Gradients of x, base and the five parameters."""
        x, inner, probs, index, down, down_bias, up, up_bias, router = ctx.saved_tensors
        shape: Shape = ctx.shape
        weights = pack(down, down_bias, up, up_bias, router, shape, x.dtype)
        grad_probs = torch.zeros_like(probs)
        grads: list[Tensor | None] = [None] * 11
        if grad is not None:
            chosen = probs.gather(1, index)
            mass = chosen.sum(-1, keepdim=True)
            weight = chosen / mass if shape.renorm == "topk" else chosen
            gates = _gates(Choice(probs, index, weight), weights, shape)
            activate, derive = ACTIVATIONS[shape.activation]
            active = activate(inner)
            grad_up = _gated(active, gates, shape.rank).mT @ grad
            grad_gated = grad @ weights.up.mT
            width = inner.shape[1]
            grad_active = grad_gated[:, :width].view(*gates.shape, shape.rank)
            grad_gates = (grad_active * active.view_as(grad_active)).sum(-1)
            grad_gates += grad_gated[:, width:]
            grad_inner = derive((grad_active * gates.unsqueeze(-1)).flatten(1), inner)

            grad_weight = grad_gates.gather(1, index).to(probs.dtype) * shape.alpha
            if shape.renorm == "topk":
                grad_weight = (grad_weight - (grad_weight * weight).sum(-1, keepdim=True)) / mass
            grad_probs.scatter_(1, index, grad_weight)
            grads[0] = grad_inner @ weights.down
            grads[1] = grad if ctx.has_base else None
            grads[2] = (grad_inner.mT @ x).view(down.shape).to(down.dtype)
            grads[3] = grad_inner.sum(0).view(down_bias.shape).to(down_bias.dtype)
            grads[4] = grad_up[:width].view(-1, shape.rank, x.shape[1]).mT.to(up.dtype)
            grads[5] = grad_up[width:].to(up_bias.dtype)
        if grad_balance is not None:
            grad_probs += grad_balance * balance_gradient(ctx.load, ctx.share)
        grad_logits = probs * (grad_probs - (grad_probs * probs).sum(-1, keepdim=True))
        if ctx.owner is not None:
            grad_logits = _spread(grad_logits, ctx.owner, router.shape[0] // shape.routed)
        through_router = (grad_logits @ weights.router).to(x.dtype)
        grads[0] = through_router if grads[0] is None else grads[0].add_(through_router)
        grads[6] = (grad_logits.mT @ x.to(grad_logits.dtype)).to(router.dtype)
        return tuple(grads)


def expert_load(index: Tensor, share: Tensor, routed: int) -> Tensor:
    """f [G, routed]: the fraction of each group's tokens that chose each expert.

    Counted per token over its K slots, so a row sums to K.

    Args:
        index: [M, K] chosen experts.
        share: [G, M] weight of each token in its group (`experts.balance.token_share`).
        routed: number of routed experts.
    """
    slots = torch.zeros(index.shape[0], routed, dtype=share.dtype, device=share.device)
    return share @ slots.scatter_(1, index, 1.0)


def router_load(index: Tensor, share: Tensor, steer: Tensor, owner: Tensor | None) -> Tensor:
    """[S, routed]: how much of the tokens, mean over groups, chose each expert of each router.

    Args:
        index: [M, K] chosen experts.
        share: [G, M] weight of each token in its group.
        steer: [S, routed], for its shape.
        owner: [M] router of each token, None where there is one.
    """
    flat = index if owner is None else index + (owner * steer.shape[1])[:, None]
    weight = share.mean(0) if share.shape[0] > 0 else share.new_zeros(index.shape[0])
    load = torch.zeros(steer.numel(), dtype=share.dtype, device=share.device)
    load.index_add_(0, flat.flatten(), weight.repeat_interleave(index.shape[1]))
    return load.view_as(steer)


def balance_loss(probs: Tensor, load: Tensor, share: Tensor) -> Tensor:
    """L_B = routed * sum_n f_n P_n, mean over groups; probs [M, routed], load [G, routed]."""
    mean_probs = share.to(probs.dtype) @ probs  # P [G, routed]
    return (load * mean_probs).sum() * (probs.shape[1] / max(1, share.shape[0]))


def balance_gradient(load: Tensor, share: Tensor) -> Tensor:
    """Derivative of `balance_loss` with respect to probs, [M, routed]; f carries no gradient."""
    return share.mT @ load * (load.shape[1] / max(1, share.shape[0]))
