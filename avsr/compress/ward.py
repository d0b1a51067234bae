"""Ward linkage between neighbours in time, all rows at once: one dendrogram for every budget.

Data: tokens [B, T, D], weights [B, T] -> the order in which boundaries vanish [B, T].

Merging two neighbours costs what it adds to the squared error, w_a w_b / (w_a + w_b) *
|mean_a - mean_b|^2 (Ward 1963). Instead of one cheapest pair at a time, each round merges the
cheaper share of all pairs that are cheapest among their own neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NEVER = 1 << 40
_SMALL = 1e-6  # of a row's mean |x|^2: among equal costs small neighbours go first


@dataclass
class _Forest:
    """Tokens so far, at the place [B * T] of their first frame."""

    sums: Tensor
    weight: Tensor
    span: Tensor
    small: Tensor  # [B * T], price of size in each row

    def costs(self, left: Tensor, right: Tensor, max_span: int | None) -> Tensor:
        """Cost of joining the tokens at these flat places [M]."""
        a, b = self.weight[left], self.weight[right]
        apart = self.sums[left] / a[:, None] - self.sums[right] / b[:, None]
        cost = a * b / (a + b) * apart.square().sum(-1) + self.small[left] * (a + b)
        if max_span is not None:
            far = self.span[left] + self.span[right] > max_span
            cost = cost.masked_fill(far, float("inf"))
        return cost

    def join(self, left: Tensor, right: Tensor) -> None:
        """Add the tokens on the right to those on the left; no place occurs twice."""
        for held in (self.sums, self.weight, self.span):
            held[left] += held[right]


def vanishing(
    x: Tensor,
    weight: Tensor,
    lengths: Tensor,
    least: Tensor,
    *,
    span: Tensor | None = None,
    share: float = 0.5,
    max_span: int | None = None,
) -> Tensor:
    """The order in which the boundaries of each row vanish.

    A row cut to K tokens keeps the boundaries whose number is at least length - K, so the tokens
    of a coarse cut are unions of those of a fine one.

    Args:
        x: tokens [B, T, D], zero at padding.
        weight: of each token [B, T]; one without weight is taken in by a neighbour at once.
        lengths: tokens of each row [B].
        least: tokens at which a row may stop [B]; numbers up to there do not depend on it.
        span: frames in each token [B, T], None for one; only for `max_span`.
        share: of a round's candidates that are merged; 1 is faster and worse.
        max_span: frames of the longest token.

    Returns:
        Number of each boundary [B, T] long, that before the row's token t at t; NEVER for those
        that stay.
    """
    rows, frames, _ = x.shape
    order = torch.full((rows, frames), NEVER, device=x.device)
    if frames < 2:
        return order
    alive = torch.arange(frames, device=x.device) < lengths[:, None]
    scale = x.square().sum((1, 2)) / lengths.clamp(min=1)
    tiny = torch.finfo(x.dtype).tiny ** 0.5
    weight = weight.to(x.dtype).clamp(min=tiny)
    forest = _Forest(
        sums=(x * weight[..., None]).reshape(rows * frames, -1),
        weight=weight.reshape(-1).clone(),
        span=(torch.ones_like(order) if span is None else span).reshape(-1).clone(),
        small=(_SMALL * scale)[:, None].expand(rows, frames).reshape(-1),
    )
    base = torch.arange(rows, device=x.device)[:, None] * frames
    cost = x.new_full((rows * frames,), float("inf"))  # of the boundary before each token
    places, count = _places(alive)
    fresh = torch.ones_like(alive).reshape(-1)
    while True:
        left, right = (places + base)[:, :-1], (places + base)[:, 1:]  # [B, T' - 1]
        inside = torch.arange(1, places.shape[1], device=x.device) < count[:, None]
        new = inside & (fresh[left] | fresh[right])
        cost[right[new]] = forest.costs(left[new], right[new], max_span)
        fresh.zero_()
        now = cost[right].masked_fill(~inside, float("inf"))
        rank, chosen = cheapest(now, count - least, share)
        if not bool(chosen.any()):
            return order
        order.view(-1)[right[chosen]] = (rank + (lengths - count)[:, None])[chosen]
        forest.join(left[chosen], right[chosen])
        alive.view(-1)[right[chosen]] = False
        fresh[left[chosen]] = True
        places, count = _places(alive)


def _places(alive: Tensor) -> tuple[Tensor, Tensor]:
    """Places of the living tokens of each row, in order [B, T'], and their number [B]."""
    count = alive.sum(1)
    places = torch.argsort(~alive, dim=1, stable=True)
    return places[:, : max(2, int(count.max()))], count


def cheapest(cost: Tensor, need: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Rank of each edge [B, E] and which are merged in this round.

    An edge is a candidate if it is cheaper than both its neighbours; of equal ones the even one
    is, so that constant stretches halve.
    """
    edges = cost.shape[1]
    wide = torch.nn.functional.pad(cost, (1, 1), value=float("inf"))
    even = torch.arange(edges, device=cost.device) % 2 == 0
    before, after = wide[:, :-2], wide[:, 2:]
    candidate = (cost < before) | ((cost == before) & even)
    candidate &= (cost < after) | ((cost == after) & even)
    candidate &= cost.isfinite()
    order = torch.argsort(cost.masked_fill(~candidate, float("inf")), dim=1, stable=True)
    places = torch.arange(edges, device=cost.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(1, order, places)
    cap = (candidate.sum(1) * share).ceil().long().clamp(min=1)
    return rank, candidate & (rank < torch.minimum(cap, need.clamp(min=0))[:, None])
