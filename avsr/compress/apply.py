"""Merging frames into tokens by a plan.

Data: TokenStream, plan [B, T] (output token of each token, -1 = drop) -> TokenStream of means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from avsr.streams import TokenStream


def sums_of(s: TokenStream) -> Tensor:
    """Sums behind the tokens, `x * size` [B, T, D]; for single frames x itself."""
    if s.sums is not None:
        return s.sums
    if not bool((s.size > 1).any()):
        return s.x
    return wide(s.x) * s.size[..., None]


def wide(x: Tensor) -> Tensor:
    """The tensor in float32 if it is narrower: sums of half precision overflow and round."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def unchanged(s: TokenStream) -> TokenStream:
    """The stream as a compressor returns it when the budget takes nothing away."""
    if bool(s.mask.all()):
        return s
    keep, short = s.mask[..., None], s.trim()
    return replace(short, x=s.x.masked_fill(~keep, 0.0)[:, : short.mask.shape[1]])


def mean(sums: Tensor, size: Tensor, dtype: torch.dtype) -> Tensor:
    """Sums [B, N, D] over sizes [B, N] -> means [B, N, D]; the division is the last step."""
    return (sums / size.clamp(min=1)[..., None]).to(dtype)


def apply(s: TokenStream, plan: Tensor, weights: Tensor | None = None) -> TokenStream:
    """Replace every group of tokens by its mean, weighted by the frames in each.

    Args:
        s: stream [B, T, D].
        plan: output token of each token [B, T] long, -1 drops it; read only where the mask is true.
            Each row names 0, 1, ... without a gap, in the order of time.
        weights: further weights of the tokens [B, T], not negative; a group of zeros counts as
            evenly weighted. None for none.

    Returns:
        Stream [B, N, D], N the most groups of a row.

    Raises:
        ValueError: a row of the plan leaves a number out, and a token would stand for nothing.
    """
    rows, width = len(plan), s.x.shape[-1]
    held = s.mask & (plan >= 0)
    counts = counted(plan.masked_fill(~held, -1))
    slots = int(counts.max()) if rows else 0
    base = torch.arange(rows, device=s.device)[:, None] * slots
    every = bool(held.all())

    def of_held(values: Tensor) -> Tensor:
        return values.flatten(0, 1) if every else values[held]  # a copy

    target = of_held(plan + base)  # [frames held] index into [B * slots]

    def total(values: Tensor) -> Tensor:
        shape = (rows * slots, *values.shape[2:])
        flat = values.new_zeros(shape).index_add(0, target, of_held(values))
        return flat.reshape(rows, slots, *values.shape[2:])

    def extreme(values: Tensor, reduce: str) -> Tensor:
        flat = values.new_zeros(rows * slots)
        flat = flat.scatter_reduce(0, target, of_held(values), reduce, include_self=False)
        return flat.reshape(rows, slots)

    size, sums = total(s.size), None
    mask = torch.arange(slots, device=s.device) < counts[:, None]
    _check_whole(mask & (size == 0))
    if weights is None:
        sums = total(wide(sums_of(s)))
        x = mean(sums, size, s.x.dtype)
    else:
        shares = _shares(weights * s.size, s.size, total, plan.clamp(min=0)).to(wide(s.x).dtype)
        x = total(wide(s.x) * shares.masked_fill(~held, 0.0)[..., None]).to(s.x.dtype)
    return TokenStream(
        x=x.reshape(rows, slots, width),
        mask=mask,
        hz=s.hz,
        size=size,
        t0=extreme(s.t0, "amin"),
        t1=extreme(s.t1, "amax"),
        owner=through(s.owner, plan.masked_fill(~held, -1)),
        sums=sums,
        source=s.source,
    )


def _check_whole(holes: Tensor) -> None:
    """Refuse a plan that names no frame for some token [B, N].

    Raises:
        ValueError: says which, to whoever writes a compressor.
    """
    if bool(holes.any()):
        row, token = holes.nonzero()[0].tolist()
        raise ValueError(
            f"row {row} of the plan names a token after {token}, but no frame for {token}: a plan "
            "must name 0, 1, ... without a gap"
        )


def _shares(
    weights: Tensor, size: Tensor, total: Callable[[Tensor], Tensor], plan: Tensor
) -> Tensor:
    """Share of each token in its group [B, T]; a group without weight is shared by size."""
    if plan.shape[1] == 0:
        return weights

    def of_group(values: Tensor) -> Tensor:
        groups = total(values)
        return groups.gather(1, plan.clamp(max=groups.shape[1] - 1)) if groups.numel() else values

    least = torch.finfo(weights.dtype).tiny  # shares of less would not add up to one
    weights = weights.where(of_group(weights) >= least, size.to(weights.dtype))
    return weights / of_group(weights).clamp(min=least)


def counted(plan: Tensor) -> Tensor:
    """Groups of each row [B] of a plan [B, T], which is -1 where nothing is held."""
    if plan.shape[1] == 0:
        return plan.new_zeros(len(plan))
    return plan.amax(1) + 1


def through(owner: Tensor, plan: Tensor) -> Tensor:
    """Owners of source frames [B, T_src] after a further plan [B, T]."""
    if plan.shape[1] == 0:
        return owner.clamp(max=-1)
    return plan.gather(1, owner.clamp(min=0)).masked_fill(owner < 0, -1)
