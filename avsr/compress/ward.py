"""Ward linkage between neighbours in time, all rows at once: one dendrogram for every budget.

Data: tokens [B, T, D], weights [B, T] -> the order in which boundaries vanish [B, T].

Merging two neighbours costs what it adds to the squared error, w_a w_b / (w_a + w_b) *
|mean_a - mean_b|^2 (Ward 1963). Instead of one cheapest pair at a time, each round merges the
cheaper share of all pairs that are cheapest among their own neighbours.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEVER = 1 << 40
_SMALL = 1e-6  # of a row's mean |x|^2: among equal costs small neighbours go first
_PIECE = 1 << 17  # numbers worked on at once: what one step leaves, the next finds in the cache


class _Forest:
    """Tokens so far, at the place [B * T] of their first frame.

    Args:
        x: tokens [B, T, D].
        weight: of each [B, T], above zero.
        span: frames in each [B, T] long.
        small: price of size in each row [B].
        max_span: frames of the longest token, None for no limit.
    """

    def __init__(
        self, x: Tensor, weight: Tensor, span: Tensor, small: Tensor, max_span: int | None
    ) -> None:
        self.frames, self.max_span, self.small = x.shape[1], max_span, small
        self.weight, self.span = weight.reshape(-1).clone(), span.reshape(-1).clone()
        self.sums = (x * weight[..., None]).reshape(len(self.weight), -1)
        self._piece = max(1, _PIECE // max(1, self.sums.shape[1]))
        self._work = tuple(self.sums.new_empty(self._piece, self.sums.shape[1]) for _ in "abc")

    def costs(self, left: Tensor, right: Tensor) -> Tensor:
        """Cost of joining the tokens at these flat places [M]."""
        a, b = self.weight[left], self.weight[right]
        sizes = a + b
        apart = a.new_empty(len(a))
        for start in range(0, len(a), self._piece):
            part = slice(start, start + self._piece)
            one = self._means(left[part], a[part], self._work[0])
            other = self._means(right[part], b[part], self._work[1])
            square = torch.sub(one, other, out=self._work[2][: len(one)])
            torch.sum(square.mul_(square), -1, out=apart[part])
        cost = a * b / sizes * apart + self.small[left // self.frames] * sizes
        if self.max_span is not None:
            far = self.span[left] + self.span[right] > self.max_span
            cost = cost.masked_fill(far, float("inf"))
        return cost

    def join(self, left: Tensor, right: Tensor) -> None:
        """Add the tokens on the right to those on the left; no place occurs twice."""
        for start in range(0, len(left), self._piece):
            part = slice(start, start + self._piece)
            one, other = (
                torch.index_select(self.sums, 0, at[part], out=work[: len(at[part])])
                for at, work in zip((left, right), self._work, strict=False)
            )
            self.sums.index_copy_(0, left[part], one.add_(other))
        for held in (self.weight, self.span):
            held[left] += held[right]

    def _means(self, places: Tensor, weight: Tensor, work: Tensor) -> Tensor:
        """Means of the tokens at some places [M, D], written into `work`."""
        sums = torch.index_select(self.sums, 0, places, out=work[: len(places)])
        return sums.div_(weight[:, None])


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
        x, weight, torch.ones_like(order) if span is None else span, _SMALL * scale, max_span
    )
    base = torch.arange(rows, device=x.device)[:, None] * frames
    cost = x.new_full((rows * frames,), float("inf"))  # of the boundary before each token
    places, count = _places(alive)
    fresh = torch.ones_like(alive).reshape(-1)
    while True:
        left, right = (places + base)[:, :-1], (places + base)[:, 1:]  # [B, T' - 1]
        inside = torch.arange(1, places.shape[1], device=x.device) < count[:, None]
        new = inside & (fresh[left] | fresh[right])
        cost[right[new]] = forest.costs(left[new], right[new])
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
