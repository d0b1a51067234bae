"""Plans: which output token each token of a stream goes to, and the base of all that only plan.

Data: TokenStream, Budget -> plan [B, T] long (-1 drops a token) -> `apply` does the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from avsr.budget import LONGEST
from avsr.compress.apply import apply, unchanged, wide
from avsr.compress.base import Compressor, Guide, NotCausalError
from avsr.errors import ConfigError
from avsr.streams import Budget, TokenStream


class Grouping(Compressor):
    """Base of compressors that only decide which tokens go together.

    A method is one `plan` and a card; budgets that take nothing away never reach it.
    """

    def plan(self, s: TokenStream, b: Budget, g: Guide | None) -> Tensor:
        """Output token of each token [B, T] long; -1 drops it. Rows name 0, 1, ... in time."""
        raise NotImplementedError

    def plans(self, s: TokenStream, budgets: Sequence[Budget], g: Guide | None) -> list[Tensor]:
        """A plan for each budget; override it where they can share work."""
        return [self.plan(s, b, g) for b in budgets]

    def weights(self, s: TokenStream, plan: Tensor, g: Guide | None) -> Tensor | None:
        """Weights of the tokens in their groups [B, T]; None for plain means."""
        return None

    def forward(self, s: TokenStream, b: Budget, g: Guide | None = None) -> TokenStream:
        """[B, T, D] -> [B, N, D]."""
        return self.multi(s, [b], g)[0]

    def multi(
        self, s: TokenStream, budgets: Sequence[Budget], g: Guide | None = None
    ) -> list[TokenStream]:
        """The stream at several budgets; plans are made without gradients."""
        if g is not None:
            g.check(s)
        for b in budgets:
            self.check(b)
        cuts = [b for b in budgets if self._cuts(s, b)]
        with torch.no_grad():
            made = iter(self.plans(s, cuts, g) if cuts else ())
        return [self._merged(s, next(made), g) if b in cuts else unchanged(s) for b in budgets]

    def _merged(self, s: TokenStream, plan: Tensor, g: Guide | None) -> TokenStream:
        return apply(s, plan, self.weights(s, plan, g))

    def _cuts(self, s: TokenStream, b: Budget) -> bool:
        """Whether a budget may take anything away."""
        if s.mask.shape[1] == 0 or b.kind == "threshold":
            return s.mask.shape[1] > 0
        return not torch.equal(s.resolve(b), s.lengths)


def plain(s: TokenStream) -> Tensor:
    """Tokens to decide by: float32 or wider, without gradients, zero at padding [B, T, D]."""
    x = wide(s.x.detach())
    return x if bool(s.mask.all()) else x.masked_fill(~s.mask[..., None], 0.0)


def whole_rate(b: Budget) -> int | None:
    """The rate of a budget in whole frames, None for any other budget.

    Beyond the length of all rows there is it is cut, so that it can be reckoned with.
    """
    fits = b.kind == "rate" and float(b.value).is_integer()
    return min(int(b.value), LONGEST) if fits else None


def whole(compressor: Compressor, b: Budget) -> int:
    """The whole rate of a budget.

    Raises:
        ConfigError: the compressor does not take it, or it is another budget.
    """
    return _whole(compressor, b, ConfigError)


def streamed(compressor: Compressor, b: Budget) -> int:
    """The whole rate of a budget, for a live stream.

    Raises:
        ConfigError: the compressor does not take it.
        NotCausalError: it is another budget, whose windows depend on the length of the row.
    """
    return _whole(compressor, b, NotCausalError)


def _whole(compressor: Compressor, b: Budget, error: type[ConfigError]) -> int:
    compressor.check(b)
    rate = whole_rate(b)
    if rate is None:
        raise error(
            f"compressor {compressor.card.name!r} has no whole windows at {b.kind} {b.value:g}",
            todo="Give a rate that is a whole number",
        )
    return rate


def evenly(s: TokenStream, counts: Tensor) -> Tensor:
    """Plan of `counts` [B] windows whose lengths differ by at most one [B, T]."""
    frames = torch.arange(s.mask.shape[1], device=s.device)
    return frames * counts[:, None] // s.lengths.clamp(min=1)[:, None]


def windows(s: TokenStream, b: Budget) -> Tensor:
    """Plan of windows of a whole rate, the last one shorter, or of the even ones of a budget."""
    rate = whole_rate(b)
    if rate is None:
        return evenly(s, s.resolve(b))
    return (torch.arange(s.mask.shape[1], device=s.device) // rate).expand(s.mask.shape)


def from_starts(starts: Tensor) -> Tensor:
    """Plan of contiguous groups from where they start [B, T] bool; the first token always does."""
    starts = starts.clone()
    starts[:, :1] = True
    return starts.cumsum(1) - 1


def surjective(owner: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
    """The nearest plan in which every token gets a frame.

    Args:
        owner: non-decreasing output token of each frame [B, T].
        lengths: frames of each row [B].
        counts: output tokens of each row [B], at most its frames.

    Returns:
        Non-decreasing plan [B, T] from 0 to counts - 1 in steps of at most one.
    """
    frame = torch.arange(owner.shape[1], device=owner.device)
    least = (counts - lengths)[:, None] + frame  # what must be reached so that the end is
    owner = owner.maximum(least).minimum((counts - 1).clamp(min=0)[:, None]).clone()
    owner[:, :1] = 0
    return (owner - frame).cummin(1).values + frame if owner.shape[1] else owner


def ranked(values: Tensor, mask: Tensor) -> Tensor:
    """Rank of each place of a row, smallest value first [B, T] long; masked places come last.

    Equal values are ranked so that the first n of them lie spread over the row, not at its
    beginning: places that are multiples of a high power of two first.
    """
    frames = values.shape[1]
    place = torch.arange(frames, device=values.device)
    low = (place & -place).masked_fill(place == 0, 1 << 40)  # the highest power of two in it
    spread = torch.argsort(-low, stable=True)
    held = values.masked_fill(~mask, float("inf"))[:, spread]
    order = spread[torch.argsort(held, dim=1, stable=True)]
    return torch.empty_like(order).scatter_(1, order, place.expand_as(order))
