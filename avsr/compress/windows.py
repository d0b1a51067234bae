"""Streaming for compressors of windows or open groups: frames wait until theirs has ended.

Data: chunks of TokenStream -> the tokens that each chunk completes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from avsr.compress.apply import sums_of, wide
from avsr.compress.base import Compressor, Guide, Streamer
from avsr.streams import Budget, TokenStream


class Cutter(Protocol):
    """What cuts a stream to a budget."""

    def __call__(self, s: TokenStream, b: Budget, g: Guide | None = None) -> TokenStream:
        """The stream cut to a budget."""
        ...


class Planner(Cutter, Protocol):
    """A compressor whose groups depend on the frames since they began."""

    def plan(self, s: TokenStream, b: Budget, g: Guide | None) -> Tensor:
        """Output token of each token [B, T]."""
        ...


class _Holding(Streamer):
    """A compressor at work on live streams: what has not ended waits, and goes out in the end."""

    def __init__(self, compressor: Cutter, budget: Budget) -> None:
        self._compressor, self._budget = compressor, budget
        self._held: TokenStream | None = None

    def flush(self) -> TokenStream:
        """Give out what is left at the end of the streams, and start anew.

        Raises:
            ValueError: nothing was ever put in.
        """
        if self._held is None:
            raise ValueError("flush() before any step()")
        rest, self._held = self._held, None
        return self._compressor(rest, self._budget)

    def reset(self, rows: Tensor | None = None) -> None:
        """Forget the frames held of some rows [N] long, or of all."""
        self._held = forget(self._held, rows)


class WindowStreamer(_Holding):
    """A fixed-window compressor at work on live streams.

    Args:
        compressor: what turns whole windows into tokens.
        budget: the budget it does that at.
        window: frames of a window, None for those of a whole rate.
    """

    def __init__(self, compressor: Compressor, budget: Budget, window: int | None = None) -> None:
        super().__init__(compressor, budget)  # holds fewer frames than a window of each row
        self._rate = int(budget.value) if window is None else window

    def step(self, s: TokenStream, g: Guide | None = None) -> TokenStream:
        """Take the next frames of every row, give out the tokens they complete.

        Args:
            s: next frames [B, T, D], each row of its own length, with times that go on.
            g: not looked at; what is guided streams by `GuidedStreamer`.

        Returns:
            Tokens completed; `owner` counts only the frames that went into them.

        Raises:
            ValueError: another number of rows than before.
        """
        held = s if self._held is None else concat([self._held, s])
        length = held.lengths
        whole = length // self._rate * self._rate
        self._held = cut(held, whole, length)
        return self._compressor(cut(held, torch.zeros_like(whole), whole), self._budget)


class GroupStreamer(_Holding):
    """A compressor of open groups at work on live streams; the last group waits for its end.

    Args:
        compressor: what decides, frame by frame, whether a group goes on.
        budget: the budget it does that at.
        closed: frames of each row [B] whose groups no later frame can change, told from the frames
            held; None for all but the last group.
    """

    def __init__(
        self,
        compressor: Planner,
        budget: Budget,
        closed: Callable[[TokenStream], Tensor] | None = None,
    ) -> None:
        super().__init__(compressor, budget)  # holds the open group of each row
        self._plan, self._closed = compressor.plan, closed

    def step(self, s: TokenStream, g: Guide | None = None) -> TokenStream:
        """Take the next frames of every row, give out the groups that ended.

        Args:
            s: next frames [B, T, D].
            g: not looked at.

        Raises:
            ValueError: another number of rows than before.
        """
        held = s if self._held is None else concat([self._held, s])
        length, closed = held.lengths, torch.zeros_like(held.lengths)
        if held.mask.shape[1] > 0:
            closed = self._ended(held) if self._closed is None else self._closed(held)
        self._held = cut(held, closed, length)
        return self._compressor(cut(held, torch.zeros_like(closed), closed), self._budget)

    def _ended(self, held: TokenStream) -> Tensor:
        """Frames of each row [B] before its last group."""
        plan = self._plan(held, self._budget, None).masked_fill(~held.mask, -1)
        return ((plan < plan.amax(1, keepdim=True)) & held.mask).sum(1)


def forget(held: TokenStream | None, rows: Tensor | None) -> TokenStream | None:
    """Frames held, without those of some rows [N] long, or none."""
    if rows is None or held is None:
        return None
    stop = held.lengths.index_fill(0, rows.to(held.device), 0)
    return cut(held, torch.zeros_like(stop), stop)


def cut(s: TokenStream, start: Tensor, stop: Tensor) -> TokenStream:
    """Tokens `start` to `stop` [B] of each row, with the source frames they own."""
    token = torch.arange(s.mask.shape[1], device=s.device)
    keep = s.mask & (token >= start[:, None]) & (token < stop[:, None])
    owned = (s.owner >= start[:, None]) & (s.owner < stop[:, None])
    return _prefix(s, keep, (s.owner - start[:, None]).masked_fill(~owned, -1))


def concat(streams: Sequence[TokenStream]) -> TokenStream:
    """Streams of the same rows one after the other, [B, T_i, D] -> [B, sum T_i at most, D].

    Source frames that no token owns are left out.

    Raises:
        ValueError: streams of different batches or sources.
    """
    if len({(len(s.mask), s.x.shape[-1], s.hz) for s in streams}) != 1:
        shapes = [(list(s.x.shape), s.hz) for s in streams]
        raise ValueError(f"these streams do not continue one another: {shapes}")
    lengths = torch.stack([s.lengths for s in streams])  # [parts, B]
    before = lengths.cumsum(0) - lengths
    owners = [
        torch.where(s.owner < 0, -1, s.owner + first[:, None])
        for s, first in zip(streams, before, strict=True)
    ]
    summed = any(s.sums is not None for s in streams)
    joined = replace(
        streams[0],
        x=torch.cat([s.x for s in streams], 1),
        mask=torch.cat([s.mask for s in streams], 1),
        size=torch.cat([s.size for s in streams], 1),
        t0=torch.cat([s.t0 for s in streams], 1),
        t1=torch.cat([s.t1 for s in streams], 1),
        sums=torch.cat([wide(sums_of(s)) for s in streams], 1) if summed else None,
    )
    return _prefix(joined, joined.mask, torch.cat(owners, 1))


def joined(
    held: TokenStream | None, known: Tensor | None, s: TokenStream, values: Tensor
) -> Tensor:
    """Numbers of the frames held and of those that come, packed as `concat` packs the frames.

    Args:
        held: frames held [B, T, D], None for none.
        known: their numbers [B, T], None for none.
        s: frames that come [B, U, D].
        values: their numbers [B, U].
    """
    if held is None or known is None:
        return values
    parts = [
        torch.cat([a[:n], b[:m]])
        for a, b, n, m in zip(known, values, held.lengths.tolist(), s.lengths.tolist(), strict=True)
    ]
    out = values.new_zeros(len(parts), max(map(len, parts), default=0))
    for row, part in enumerate(parts):
        out[row, : len(part)] = part
    return out


def moved(values: Tensor, start: Tensor, s: TokenStream) -> Tensor:
    """Numbers [B, T] from a frame of each row [B] on, for a stream cut there; zero at padding."""
    place = torch.arange(s.mask.shape[1], device=values.device) + start[:, None]
    if values.shape[1] == 0:
        return values.new_zeros(s.mask.shape)
    return values.gather(1, place.clamp(max=values.shape[1] - 1)).masked_fill(~s.mask, 0.0)


def _prefix(s: TokenStream, keep: Tensor, owner: Tensor) -> TokenStream:
    """Bring tokens to keep [B, T], and frames that have an owner, to the front of each row."""
    count, frames = keep.sum(1), owner >= 0
    longest = int(count.max()) if len(count) else 0
    order = torch.argsort(~keep, dim=1, stable=True)[:, :longest]
    source = torch.argsort(~frames, dim=1, stable=True)
    source = source[:, : int(frames.sum(1).max()) if len(count) else 0]
    mask = torch.arange(longest, device=s.device) < count[:, None]
    rows = torch.arange(len(count), device=s.device)[:, None]
    return TokenStream(
        x=s.x[rows, order],
        mask=mask,
        hz=s.hz,
        size=s.size[rows, order].masked_fill(~mask, 0),
        t0=s.t0[rows, order].masked_fill(~mask, 0.0),
        t1=s.t1[rows, order].masked_fill(~mask, 0.0),
        owner=owner.gather(1, source),
        sums=None if s.sums is None else s.sums[rows, order],
    )
