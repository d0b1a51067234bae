"""Novelty: of each short chunk the frames that are least like what came before.

Data: TokenStream [B, T, D], rate r -> [B, N, D]; after STC-Pruner, arXiv 2512.00891.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from avsr.compress.apply import apply, unchanged
from avsr.compress.base import Card, Guide, Meets, Streamer, compressors
from avsr.compress.cosine import cosine, unit
from avsr.compress.plans import Grouping, plain, ranked, streamed, whole
from avsr.compress.windows import concat, cut, forget
from avsr.streams import Budget, TokenStream

SECONDS = 0.64  # of a chunk, unless told


@dataclass
class _Past:
    """What is remembered of the chunks that were.

    Args:
        means: the last W of each row, the latest first [B, W, D]; or the one mean of all.
        seen: chunks so far [B].
        gap: frames dropped since the last one kept [B].
    """

    means: Tensor
    seen: Tensor
    gap: Tensor


@compressors.register("novelty")
class Novelty(Grouping):
    """Keeps the most novel frames of every chunk.

    Novelty is S = a (1 - cos(z, past)) + (1 - a)(1 - cos(z, now)), of unit frames z:
    `past` is the mean of the last chunks' means, strictly past, and `now` the mean of the chunk;
    in a stream's first chunk there is no past and a is 0. Its released code chooses other channels
    in each chunk and averages over them; this is the paper's formula. Latency is one chunk.

    Args:
        mode: "merge" lets a frame that is not kept join the nearest kept one of its chunk, so that
            nothing is lost; "drop" loses it, as the paper does.
        chunk: frames of a chunk at least; the next multiple of the rate is taken. None for 0.64 s
            and two tokens at least: merged, a chunk of one token is a window of `pool`.
        memory: chunks of the past, None for the mean of all of them.
        past: weight a of the past.
        max_gap: most frames dropped in a row; further ones are kept beyond the budget. None for no
            limit; of no use in mode "merge".

    Raises:
        ValueError: another mode, or settings out of range.
    """

    card: ClassVar[Card] = Card(
        name="novelty",
        paper="arXiv 2512.00891",
        place="pre-llm",
        mechanism="attention",
        signal="cosine",
        op="merge",
        contiguous=True,
        trainable=False,
        budgets=frozenset({"rate"}),
        streams=frozenset({"rate"}),
        about="frames unlike the last chunks",
    )

    def __init__(
        self,
        *,
        mode: Literal["merge", "drop"] = "merge",
        chunk: int | None = None,
        memory: int | None = 8,
        past: float = 0.5,
        max_gap: int | None = None,
    ) -> None:
        if mode not in ("merge", "drop"):
            raise ValueError(f"mode must be 'merge' or 'drop', got {mode!r}")
        if (
            (chunk is not None and chunk < 1)
            or (memory is not None and memory < 1)
            or not 0 <= past <= 1
        ):
            raise ValueError(f"chunk={chunk}, memory={memory}, past={past} are out of range")
        if max_gap is not None and max_gap < 1:
            raise ValueError(f"max_gap must be at least 1, got {max_gap}")
        super().__init__(mode=mode, chunk=chunk, memory=memory, past=past, max_gap=max_gap)
        self.mode, self.chunk, self.memory = mode, chunk, memory
        self.past, self.max_gap = past, max_gap

    @property
    def meets(self) -> Meets:
        """Exactly, unless frames are kept so that no gap is too long."""
        bound = self.max_gap is not None and self.mode == "drop"
        return "loosely" if bound else "exactly"

    def plan(self, s: TokenStream, b: Budget, g: Guide | None) -> Tensor:
        """Chunk by chunk from the beginning."""
        return self.continued(s, b, None)[0]

    def stream(self, b: Budget) -> Streamer:
        """A streaming form at a whole rate; a token waits for its chunk to end.

        Raises:
            NotCausalError: a rate that is not a whole number.
        """
        self.check_stream(b)
        streamed(self, b)
        return NoveltyStreamer(self, b)

    def chunk_at(self, b: Budget, hz: float) -> int:
        """Frames of a chunk at a whole rate: a multiple of it, so that no token is lost or won."""
        rate = whole(self, b)
        least = max(round(SECONDS * hz), 2 * rate) if self.chunk is None else self.chunk
        return -(-least // rate) * rate

    def continued(self, s: TokenStream, b: Budget, past: _Past | None) -> tuple[Tensor, _Past]:
        """Plan of the next chunks of a stream, and what is remembered after them."""
        x, mask, size, rate = plain(s), s.mask, self.chunk_at(b, s.hz), whole(self, b)
        if past is None:
            slots = 1 if self.memory is None else self.memory
            empty = x.new_zeros(len(x), slots, x.shape[-1])
            past = _Past(empty, torch.zeros_like(s.lengths), torch.zeros_like(s.lengths))
        plans, tokens = [], torch.zeros_like(s.lengths)
        for start in range(0, x.shape[1], size):
            z, real = unit(x[:, start : start + size]), mask[:, start : start + size]
            score, past = self._scores(z, real, size, past)
            kept, gap = self._kept(score, real, rate, past.gap)
            past = replace(past, gap=gap)
            plan = self._joined(kept, real)
            plans.append((plan + tokens[:, None]).masked_fill(plan < 0, -1))
            tokens = tokens + kept.sum(1)
        made = torch.cat(plans, 1) if plans else mask.new_zeros(mask.shape, dtype=torch.long)
        return made, past

    def _scores(self, z: Tensor, real: Tensor, size: int, past: _Past) -> tuple[Tensor, _Past]:
        """Novelty of a chunk's unit frames [B, c]; full chunks, of `size`, enter the past."""
        count = real.sum(1)
        total = (z * real[..., None]).cumsum(1)[:, -1]  # one by one, whatever padding is there
        now = total / count.clamp(min=1)[:, None]
        before = past.means.sum(1)  # its direction alone is looked at, and is that of the mean
        share = (self.past * (past.seen > 0)).to(z.dtype)[:, None]
        old, new = (1 - cosine(z, unit(m)[:, None].expand_as(z)) for m in (before, now))
        full = (count == size)[:, None, None]
        if self.memory is None:
            step = (now - past.means[:, 0]) / (past.seen + 1)[:, None]
            means = past.means + step[:, None]
        else:
            means = torch.cat([now[:, None], past.means[:, :-1]], 1)
        means, seen = torch.where(full, means, past.means), past.seen + full[:, 0, 0].long()
        return share * old + (1 - share) * new, replace(past, means=means, seen=seen)

    def _kept(self, score: Tensor, real: Tensor, rate: int, gap: Tensor) -> tuple[Tensor, Tensor]:
        """The most novel frames of a chunk [B, c], and the frames dropped after the last [B]."""
        wanted = -(-real.sum(1) // rate)
        kept = (ranked(-score, real) < wanted[:, None]) & real
        if self.max_gap is None or self.mode == "merge":
            return kept, gap
        for frame in range(kept.shape[1]):
            kept[:, frame] |= real[:, frame] & (gap >= self.max_gap)
            gap = torch.where(kept[:, frame], 0, gap + real[:, frame].long())
        return kept, gap

    def _joined(self, kept: Tensor, real: Tensor) -> Tensor:
        """Token of each frame of a chunk [B, c], -1 for none."""
        number = kept.cumsum(1) - 1
        if self.mode == "drop":
            return number.masked_fill(~kept, -1)
        place = torch.arange(kept.shape[1], device=kept.device)
        far = 1 << 30
        last = torch.where(kept, place, -far).cummax(1).values
        following = torch.where(kept, place, far).flip(1).cummin(1).values.flip(1)
        joins_next = (following - place < place - last) & ~kept  # of two as near the earlier
        return (number + joins_next.long()).clamp(min=0).masked_fill(~real, -1)


class NoveltyStreamer(Streamer):
    """`Novelty` at work on live streams: frames wait until their chunk is full.

    Args:
        compressor: what scores and keeps.
        budget: a whole rate.
    """

    def __init__(self, compressor: Novelty, budget: Budget) -> None:
        self._compressor, self._budget = compressor, budget
        self._held: TokenStream | None = None
        self._past: _Past | None = None

    def step(self, s: TokenStream, g: Guide | None = None) -> TokenStream:
        """Take the next frames of every row, give out the tokens of the chunks they complete.

        Args:
            s: next frames [B, T, D].
            g: not looked at.

        Raises:
            ValueError: another number of rows than before.
        """
        held = s if self._held is None else concat([self._held, s])
        length = held.lengths
        chunk = self._compressor.chunk_at(self._budget, s.hz)
        full = length // chunk * chunk
        self._held = cut(held, full, length)
        return self._run(cut(held, torch.zeros_like(full), full))

    def flush(self) -> TokenStream:
        """Give out what is left at the end of the streams, and start anew.

        Raises:
            ValueError: nothing was ever put in.
        """
        if self._held is None:
            raise ValueError("flush() before any step()")
        rest, self._held = self._run(self._held), None
        self._past = None
        return rest

    def reset(self, rows: Tensor | None = None) -> None:
        """Forget frames and past of some rows [N] long, or of all."""
        self._held = forget(self._held, rows)
        if rows is None or self._past is None:
            self._past = None
            return
        chosen = rows.to(self._past.seen.device)
        self._past = _Past(
            means=self._past.means.index_fill(0, chosen, 0.0),
            seen=self._past.seen.index_fill(0, chosen, 0),
            gap=self._past.gap.index_fill(0, chosen, 0),
        )

    def _run(self, s: TokenStream) -> TokenStream:
        with torch.no_grad():
            plan, self._past = self._compressor.continued(s, self._budget, self._past)
        return apply(s, plan) if s.mask.shape[1] else unchanged(s)
