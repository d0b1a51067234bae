"""Integrate-and-fire on live streams: a token is given out with the frame that fills it.

Data: chunks of TokenStream -> the tokens that each chunk fills.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from avsr.compress.apply import apply, unchanged, wide
from avsr.compress.base import Guide, Streamer
from avsr.compress.windows import concat, cut, forget, joined, moved
from avsr.streams import TokenStream

EQUAL = 1e-6  # by which two shares of a frame may differ and count as equal
_GRID = 2.0**36  # parts of a firing weight: a hundred thousand of them add up without rounding


class Weigher(Protocol):
    """What says how much each frame weighs."""

    def alphas(self, s: TokenStream) -> Tensor:
        """Weight of each frame [B, T], zero at padding."""
        ...


class CifStreamer(Streamer):
    """`Cif` at work on live streams; the frames since the last token wait.

    The frame that fills a token usually begins the next one: it is held with what it has left, and
    is owned by the token that took the most of it.

    Args:
        compressor: what weighs the frames, at most one each.
        fire: weight of a full token, at least one.
    """

    def __init__(self, compressor: Weigher, fire: float) -> None:
        self._compressor, self._fire = compressor, fire
        self._held: TokenStream | None = None
        self._alpha: Tensor | None = None  # weights of the frames held [B, T]
        self._used = torch.zeros(0)  # weight of the first held frame that is spent [B]
        self._owned = torch.zeros(0, dtype=torch.bool)  # whether a token has it already [B]

    def step(self, s: TokenStream, g: Guide | None = None) -> TokenStream:
        """Take the next frames of every row, give out the tokens they fill.

        Args:
            s: next frames [B, T, D].
            g: not looked at.

        Raises:
            ValueError: another number of rows than before.
        """
        return self._run(s, end=False)

    def flush(self) -> TokenStream:
        """Give out what is left at the end of the streams, and start anew.

        Raises:
            ValueError: nothing was ever put in.
        """
        if self._held is None:
            raise ValueError("flush() before any step()")
        rest = self._run(None, end=True)
        self._held = self._alpha = None
        return rest

    def reset(self, rows: Tensor | None = None) -> None:
        """Forget the frames held of some rows [N] long, or of all."""
        self._held = forget(self._held, rows)
        if rows is None or self._held is None or self._alpha is None:
            self._alpha = None
            return
        self._alpha = moved(self._alpha, torch.zeros_like(self._held.lengths), self._held)
        chosen = rows.to(self._held.device)
        self._used = self._used.index_fill(0, chosen, 0.0)
        self._owned = self._owned.index_fill(0, chosen, False)

    def _run(self, s: TokenStream | None, *, end: bool) -> TokenStream:
        if self._held is None:
            assert s is not None
            held = s
            self._used = torch.zeros(len(s.mask), dtype=torch.float64, device=s.device)
            self._owned = torch.zeros(len(s.mask), dtype=torch.bool, device=s.device)
        else:
            held = self._held if s is None else concat([self._held, s])
        if s is not None:
            fresh = self._compressor.alphas(s) / self._fire
            self._alpha = joined(self._held, self._alpha, s, fresh)
        alpha = self._alpha
        assert alpha is not None
        if held.mask.shape[1] == 0:
            self._held = held
            return unchanged(held)
        ends = exact(alpha).cumsum(1) - self._used[:, None]
        full = ends[:, -1].floor().long()
        share, most = taken(ends, full + 1)  # the last one is open
        most = most.masked_fill(~held.mask, -1)
        place = torch.arange(alpha.shape[1], device=alpha.device)
        most = most.masked_fill((place == 0) & self._owned[:, None], -1)
        if end:
            full = full + (most == full[:, None]).any(1).long()  # as little as it may weigh
        plan = most.masked_fill(most >= full[:, None], -1)
        out = self._tokens(held, share, plan, full)
        if not end:
            filled = (ends < full[:, None]).sum(1)  # the frame that filled the last token
            kept = torch.where(full > 0, filled, 0).minimum(held.lengths)
            at = kept.clamp(max=alpha.shape[1] - 1)[:, None]
            spent = full - begun(ends).gather(1, at).squeeze(1)
            spent = spent + self._used * (kept == 0)
            given = plan.gather(1, at).squeeze(1) >= 0
            self._used = torch.where(full > 0, spent, self._used)
            self._owned = torch.where(full > 0, given, self._owned)
            self._held = cut(held, kept, held.lengths)
            self._alpha = moved(alpha, kept, self._held)
        return out

    @staticmethod
    def _tokens(held: TokenStream, share: Tensor, plan: Tensor, full: Tensor) -> TokenStream:
        """The full tokens: weighted means, and sizes and times of the frames they own."""
        short = apply(held, plan)
        count = short.mask.shape[1]
        part = normal(share[:, :count], plan)
        clean = wide(held.x).masked_fill(~held.mask[..., None], 0.0)
        x = part.to(clean.dtype) @ clean
        return short.replace(x=x.masked_fill(~short.mask[..., None], 0.0).to(held.x.dtype))


def exact(alpha: Tensor) -> Tensor:
    """Weights in float64, rounded so that sums of them, whole or in pieces, are not [B, T].

    The gradient is that of the weights.
    """
    wide = alpha.double()
    return wide + ((wide * _GRID).round() / _GRID - wide).detach()


def begun(ends: Tensor) -> Tensor:
    """Weight up to the beginning of each frame [B, T] from that up to its end."""
    return F.pad(ends[:, :-1], (1, 0))


def places(ends: Tensor) -> tuple[Tensor, Tensor]:
    """First and last token in which each frame lies, at a firing weight of one [B, T] long.

    Args:
        ends: weight up to the end of each frame [B, T].
    """
    first = begun(ends).floor().long()
    return first, (ends.ceil().long() - 1).maximum(first)


def taken(ends: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """What each token takes of each frame, and which takes the most.

    Args:
        ends: weight up to the end of each frame [B, T], in firing weights.
        counts: tokens of each row [B]; the last takes what is left.

    Returns:
        Weights [B, N, T], N the most tokens of a row, and the token that takes the most of each
        frame [B, T], of equal ones the earlier; it never falls, however little the frames weigh.
    """
    token = torch.arange(int(counts.max()) if len(counts) else 0, device=ends.device)[:, None]
    last = (counts - 1).clamp(min=0)[:, None]
    top = torch.where(token == last[..., None], torch.inf, (token + 1).double())
    share = (ends[:, None].minimum(top) - begun(ends)[:, None].maximum(token)).clamp(min=0)
    share = share.masked_fill(token > last[..., None], 0.0)
    if not len(token):
        return share, torch.zeros_like(ends, dtype=torch.long)
    low, high = (place.minimum(last)[:, None] for place in places(ends))
    inside = share.detach().masked_fill((token < low) | (token > high), -1.0)
    most = (inside >= (inside.amax(1, keepdim=True) - EQUAL).clamp(min=0)).int().argmax(1)
    return share, most


def normal(share: Tensor, owner: Tensor) -> Tensor:
    """Weights of each token [B, N, T] that add up to one; those of its own frames if they are none.

    Args:
        share: what each token takes of each frame [B, N, T].
        owner: token of each frame [B, T], -1 for none.
    """
    own = owner[:, None] == torch.arange(share.shape[1], device=share.device)[:, None]
    share = torch.where(share.sum(2, keepdim=True) > 0, share, own.to(share.dtype))
    total = share.sum(2, keepdim=True)
    return share / total.where(total > 0, 1.0)
