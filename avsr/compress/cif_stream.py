"""Integrate-and-fire on live streams: a token is given out with the frame that fills it.

Data: chunks of TokenStream -> the tokens that each chunk fills.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from avsr.compress.apply import apply, unchanged, wide
from avsr.compress.base import Guide, Streamer
from avsr.compress.windows import concat, cut, forget
from avsr.streams import TokenStream

FULL = 1e-6  # what a token may lack: sums in pieces round otherwise than sums of the whole
EMPTY = 1e-4  # weight left at the end that is rounding, not a token


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
        self._held = None
        return rest

    def reset(self, rows: Tensor | None = None) -> None:
        """Forget the frames held of some rows [N] long, or of all."""
        self._held = forget(self._held, rows)
        if rows is None or self._held is None:
            return
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
        if held.mask.shape[1] == 0:
            self._held = held
            return unchanged(held)
        alpha = self._compressor.alphas(held) / self._fire
        ends = alpha.double().cumsum(1) - self._used[:, None]
        starts = (ends - alpha).clamp(min=0)
        full = (ends[:, -1] + FULL).floor().long()
        slots = int(full.max()) + 1  # the last one is open
        token = torch.arange(slots, device=alpha.device)[:, None]
        share = ends[:, None].minimum((token + 1).double()) - starts[:, None].maximum(token)
        share = share.clamp(min=0)
        most = (share >= share.amax(1, keepdim=True) - FULL).int().argmax(1)
        most = most.masked_fill(~held.mask, -1)
        place = torch.arange(alpha.shape[1], device=alpha.device)
        most = most.masked_fill((place == 0) & self._owned[:, None], -1)
        if end:
            rest = (most == full[:, None]).any(1) & (ends[:, -1] - full > EMPTY)
            full = full + rest.long()
        plan = most.masked_fill(most >= full[:, None], -1)
        out = self._tokens(held, share, plan, full)
        if not end:
            filled = (ends < full[:, None] - FULL).sum(1)  # the frame that filled the last token
            kept = torch.where(full > 0, filled, 0).minimum(held.lengths)
            at = kept.clamp(max=alpha.shape[1] - 1)[:, None]
            spent = (full - starts.gather(1, at).squeeze(1)).clamp(min=0)
            spent = spent + self._used * (kept == 0)
            taken = plan.gather(1, at).squeeze(1) >= 0
            self._used = torch.where(full > 0, spent, self._used)
            self._owned = torch.where(full > 0, taken, self._owned)
            self._held = cut(held, kept, held.lengths)
        return out

    @staticmethod
    def _tokens(held: TokenStream, share: Tensor, plan: Tensor, full: Tensor) -> TokenStream:
        """The full tokens: weighted means, and sizes and times of the frames they own."""
        short = apply(held, plan)
        count = short.mask.shape[1]
        part = share[:, :count] / share[:, :count].sum(2, keepdim=True).clamp(min=1e-9)
        clean = wide(held.x).masked_fill(~held.mask[..., None], 0.0)
        x = part.to(clean.dtype) @ clean
        return short.replace(x=x.masked_fill(~short.mask[..., None], 0.0).to(held.x.dtype))
