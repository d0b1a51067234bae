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
        lengths: tokens of each row [B].
        max_span: frames of the longest token, None for no limit.
    """

    def __init__(
        self, x: Tensor, weight: Tensor, span: Tensor, lengths: Tensor, max_span: int | None
    ) -> None:
        self.frames, self.max_span = x.shape[1], max_span
        self.weight, self.span = weight.reshape(-1).clone(), span.reshape(-1).clone()
        store = torch.mul(x, x)  # the sums come where the squares were: new memory is dear
        self.small = _SMALL * (store.sum((1, 2)) / lengths.clamp(min=1))  # price of size in a row
        self.sums = torch.mul(x, weight[..., None], out=store).reshape(len(self.weight), -1)
        self._even = bool((weight == 1).all())
        self._piece = max(1, _PIECE // max(1, self.sums.shape[1]))
        self._work = tuple(self.sums.new_empty(self._piece + 1, x.shape[2]) for _ in "abc")

    def first(self) -> Tensor:
        """Cost of joining each token with the one before it [B * T], where none is joined yet.

        The same as `costs` of all, but read in order; it means nothing where a row begins.
        """
        a, b = self.weight[:-1], self.weight[1:]
        apart = a.new_empty(len(a))
        for start in range(0, len(a), self._piece):
            stop = min(start + self._piece, len(a))
            means = self.sums[start : stop + 1]
            if not self._even:
                weight = self.weight[start : stop + 1, None]
                means = torch.div(means, weight, out=self._work[0][: len(means)])
            self._apart(means[:-1], means[1:], apart[start:stop])
        row = torch.arange(len(a), device=a.device) // self.frames
        cost = self._cost(a, b, apart, row, self.span[:-1] + self.span[1:])
        return torch.cat([cost.new_full((1,), float("inf")), cost])

    def costs(self, left: Tensor, right: Tensor) -> Tensor:
        """Cost of joining the tokens at these flat places [M]."""
        a, b = self.weight.index_select(0, left), self.weight.index_select(0, right)
        apart = a.new_empty(len(a))
        for start in range(0, len(a), self._piece):
            part = slice(start, start + self._piece)
            one = self._means(left[part], a[part], self._work[0])
            other = self._means(right[part], b[part], self._work[1])
            self._apart(one, other, apart[part])
        spans = self.span[left] + self.span[right] if self.max_span is not None else self.span
        return self._cost(a, b, apart, left // self.frames, spans)

    def _apart(self, one: Tensor, other: Tensor, out: Tensor) -> None:
        """Squared distances of means [M, D], written into `out` [M]."""
        square = torch.sub(one, other, out=self._work[2][: len(one)])
        torch.sum(square.mul_(square), -1, out=out)

    def _cost(self, a: Tensor, b: Tensor, apart: Tensor, row: Tensor, spans: Tensor) -> Tensor:
        """Cost of joining tokens of these weights, distances, rows and joint spans [M]."""
        sizes = a + b
        cost = a * b / sizes * apart + self.small[row] * sizes
        if self.max_span is not None:
            cost = cost.masked_fill(spans > self.max_span, float("inf"))
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
            both = held.index_select(0, left) + held.index_select(0, right)
            held.index_copy_(0, left, both)

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
    tiny = torch.finfo(x.dtype).tiny ** 0.5
    weight = weight.to(x.dtype).clamp(min=tiny)
    spans = torch.ones_like(order) if span is None else span
    forest = _Forest(x, weight, spans, lengths, max_span)
    cost = forest.first()  # of the boundary before each token
    grown = torch.zeros_like(cost, dtype=torch.bool)
    places = torch.arange(rows * frames, device=x.device).reshape(rows, frames)
    count = lengths
    while True:
        slot = torch.arange(places.shape[1], device=x.device)
        real, changed = slot < count[:, None], grown.take(places)
        left, right, inside = places[:, :-1], places[:, 1:], real[:, 1:]
        new = inside & (changed[:, :-1] | changed[:, 1:])
        at = right.masked_select(new)
        cost.index_copy_(0, at, forest.costs(left.masked_select(new), at))
        now = cost.take(right).masked_fill(~inside, float("inf"))
        rank, chosen = cheapest(now, count - least, share)
        kept, gone = left.masked_select(chosen), right.masked_select(chosen)
        if not len(gone):
            return order
        number = (rank + (lengths - count)[:, None]).masked_select(chosen)
        order.view(-1).index_copy_(0, gone, number)
        forest.join(kept, gone)
        grown.zero_().index_fill_(0, kept, True)
        real[:, 1:] &= ~chosen
        places, count = _closed(places, real)


def _closed(places: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """The places to keep [B, T] moved together in each row [B, T'], and their number [B]."""
    count = keep.sum(1)
    most = max(2, int(count.max()))
    slot = (keep.cumsum(1) - 1).masked_fill(~keep, most)  # one beyond, which is cut off
    closed = places.new_zeros(len(places), most + 1).scatter_(1, slot, places)
    return closed[:, :most], count


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
