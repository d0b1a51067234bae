"""Selection: some frames are kept, the others dropped, by a score over the whole row.

Data: TokenStream [B, T, D], Budget, perhaps Guide.received -> [B, N, D], frames as they are.

Baselines from vision, where a question needs few tokens. A transcript needs all stretches of it,
and these may leave any of it out: they are here to be compared with, not to be taken.
"""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from avsr.compress.base import Card, Guide, compressors
from avsr.compress.cosine import cosines, unit
from avsr.compress.plans import Grouping, plain, ranked
from avsr.errors import ConfigError
from avsr.streams import Budget, TokenStream

Score = Literal["diversity", "pivot", "received"]


@compressors.register("select")
class Select(Grouping):
    """Keeps the frames with the highest scores, in their order.

    Args:
        by: "diversity" takes the frame farthest from those taken, by cosine, the first one being
            that whose nearest neighbour is farthest (DivPrune, arXiv 2503.02175); "pivot" keeps
            the loudest frames as pivots and of the others those least like any pivot (DART,
            arXiv 2502.11494); "received" keeps those that receive the most attention in the tower
            (`Guide.received`; VisionZip, arXiv 2412.04467, without its merged rest).
        pivots: share of the tokens that are pivots.

    Raises:
        ValueError: another score, or a share outside (0, 1].
    """

    card: ClassVar[Card] = Card(
        name="select",
        paper="arXiv 2503.02175, 2502.11494 and 2412.04467",
        place="pre-llm",
        mechanism="attention",
        signal="cosine",
        op="drop",
        contiguous=True,
        trainable=False,
        budgets=frozenset({"rate", "keep", "tokens", "per_second"}),
        about="frames unlike the others, or those most attended to",
    )

    def __init__(self, *, by: Score = "diversity", pivots: float = 0.125) -> None:
        if by not in get_args(Score) or not 0 < pivots <= 1:
            raise ValueError(f"by={by!r}, pivots={pivots} select nothing")
        super().__init__(by=by, pivots=pivots)
        self.by, self.pivots = by, pivots

    @property
    def reads(self) -> frozenset[str]:
        """The attention that frames receive, if they are kept by it."""
        return frozenset({"received"} if self.by == "received" else ())

    def plan(self, s: TokenStream, b: Budget, g: Guide | None) -> Tensor:
        """The frames with the best ranks are kept."""
        counts = s.resolve(b)
        if self.by == "diversity":
            kept = _diverse(unit(plain(s)), s.mask, counts)
        elif self.by == "pivot":
            kept = self._around_pivots(plain(s), s.mask, counts)
        else:
            if g is None or g.received is None:
                raise ConfigError(
                    "selection by received attention needs that of each frame",
                    todo='Give Guide.received [B, T], or select by "diversity"',
                )
            kept = ranked(-g.received.to(s.device), s.mask) < counts[:, None]
        kept = kept & s.mask
        return (kept.cumsum(1) - 1).masked_fill(~kept, -1)

    def _around_pivots(self, x: Tensor, mask: Tensor, counts: Tensor) -> Tensor:
        """Loud frames, and those least like them [B, T]."""
        first = (counts * self.pivots).ceil().long().minimum(counts)
        loud = ranked(-x.abs().sum(-1), mask) < first[:, None]
        u = unit(x)
        like = x.new_full(mask.shape, -1.0)
        for row, length in enumerate(mask.sum(1).tolist()):
            own = u[row, :length]
            if length:
                like[row, :length] = cosines(own, own[loud[row, :length]]).amax(1)
        like = like.masked_fill(loud, float("-inf"))  # pivots come first
        return ranked(like, mask) < counts[:, None]


def _diverse(u: Tensor, mask: Tensor, counts: Tensor) -> Tensor:
    """Greedy max-min: of each row the frames [B, T] that lie farthest apart.

    A frame once taken is out, so that identical frames give as many tokens as were asked for.
    """
    rows, frames = mask.shape
    kept = torch.zeros_like(mask)
    if frames == 0 or rows == 0:
        return kept
    apart = u.new_full((rows, frames, frames), float("inf"))
    for row, length in enumerate(mask.sum(1).tolist()):
        own = u[row, :length]  # without padding: a row alone must give the very same numbers
        apart[row, :length, :length] = 1 - cosines(own, own)
    alone = torch.eye(frames, dtype=torch.bool, device=u.device)
    far = apart.masked_fill(alone, float("inf")).amin(2).clamp(max=3.0)  # 3: no neighbour at all
    index = torch.arange(rows, device=u.device)
    for step in range(int(counts.max())):
        able = mask & ~kept
        best = far.masked_fill(~able, -1.0).argmax(1)  # of equal ones the earliest
        wanted = (step < counts) & able.any(1)
        kept[index[wanted], best[wanted]] = True
        nearest = apart[index, :, best].masked_fill(~mask, float("inf"))
        far = nearest if step == 0 else torch.minimum(far, nearest)
    return kept
