"""Fixed windows: the mean of every r frames (pool), or their concatenation (stack).

Data: TokenStream [B, T, D], rate r -> [B, ceil(T/r), D] or [B, ceil(T/r), r * D].
Pooling: arXiv 2510.04136. Stacking: the reshape projector of arXiv 2412.11475.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from avsr.compress.apply import apply, mean, sums_of, unchanged, wide
from avsr.compress.base import Card, Compressor, Guide, Meets, Streamer, compressors
from avsr.compress.plans import evenly, streamed, whole, whole_rate
from avsr.compress.windows import WindowStreamer
from avsr.errors import ConfigError
from avsr.streams import Budget, TokenStream

WIDEST = 1 << 22  # numbers of a stacked token, 16 MB


@compressors.register("pool")
class Pool(Compressor):
    """Mean over fixed windows.

    Frames are added in the order of the rate's prime factors and divided last, so pooling by 4 and
    again by 4 gives pooling by 16 to the last bit, tails included. (a after b gives a*b to the last
    bit if no prime factor of b is above one of a; otherwise they agree to rounding.)

    A budget that is not a whole rate is met by windows whose lengths differ by at most one.

    Args:
        tail: "keep" makes a last token of the frames that do not fill a window, their mean; "drop"
            loses them without a word, as `AvgPool1d` does, and is only for others' checkpoints.

    Raises:
        ValueError: another tail.
    """

    card: ClassVar[Card] = Card(
        name="pool",
        paper="arXiv 2510.04136",
        place="pre-llm",
        mechanism="transformation",
        signal="uniform",
        op="merge",
        contiguous=True,
        trainable=False,
        budgets=frozenset({"rate", "keep", "tokens", "per_second"}),
        streams=frozenset({"rate"}),
        nested=True,
        about="mean of every r frames",
    )

    def __init__(self, *, tail: Literal["keep", "drop"] = "keep") -> None:
        if tail not in ("keep", "drop"):
            raise ValueError(f"tail must be 'keep' or 'drop', got {tail!r}")
        super().__init__(tail=tail)
        self.tail = tail

    @property
    def meets(self) -> Meets:
        """Exactly, unless the tail is dropped."""
        return "exactly" if self.tail == "keep" else "at most"

    def forward(self, s: TokenStream, b: Budget, g: Guide | None = None) -> TokenStream:
        """[B, T, D] -> [B, N, D]."""
        return self.multi(s, [b], g)[0]

    def multi(
        self, s: TokenStream, budgets: Sequence[Budget], g: Guide | None = None
    ) -> list[TokenStream]:
        """The stream at several budgets; a rate starts from the sums of one that it contains."""
        folded: dict[tuple[int, ...], Tensor] = {}
        return [self._pool(s, b, folded) for b in budgets]

    def stream(self, b: Budget) -> Streamer:
        """A streaming form at a whole rate; a token waits for its last frame, rate / hz seconds."""
        self.check_stream(b)
        return WindowStreamer(self, b, streamed(self, b))

    def _pool(
        self, s: TokenStream, b: Budget, folded: dict[tuple[int, ...], Tensor]
    ) -> TokenStream:
        self.check(b)
        lengths, counts = s.lengths, s.resolve(b)
        rate = whole_rate(b)
        if rate is not None and self.tail == "drop":
            counts = lengths // rate
        if torch.equal(counts, lengths):
            return unchanged(s)
        if rate is None:
            return apply(s, evenly(s, counts))
        factors = _primes(rate, s.x.shape[1])
        if () not in folded:
            folded[()] = sums_of(s)
        known = max((f for f in folded if factors[: len(f)] == f), key=len)
        lengths = _ceil_div(lengths, math.prod(known))
        if known != factors:
            folded[factors] = _fold(folded[known], lengths, factors[len(known) :])
        return _stream(s, rate, counts, sums=folded[factors])


@compressors.register("stack")
class Stack(Compressor):
    """Concatenation over fixed windows, earliest frame first.

    Args:
        tail: what fills the last window: its last frame again ("repeat") or zeros ("zero").

    Raises:
        ValueError: another tail.
    """

    card: ClassVar[Card] = Card(
        name="stack",
        paper="arXiv 2412.11475",
        place="pre-llm",
        mechanism="transformation",
        signal="uniform",
        op="concat",
        contiguous=True,
        trainable=False,
        budgets=frozenset({"rate"}),
        streams=frozenset({"rate"}),
        nested=True,
        about="r frames side by side",
    )

    def __init__(self, *, tail: Literal["repeat", "zero"] = "repeat") -> None:
        if tail not in ("repeat", "zero"):
            raise ValueError(f"tail must be 'repeat' or 'zero', got {tail!r}")
        super().__init__(tail=tail)
        self.tail = tail

    def width(self, width: int, b: Budget) -> int:
        """Width of a stacked token, r * D.

        Raises:
            ConfigError: wider than any projector would be.
        """
        wide = width * whole(self, b)
        if wide > WIDEST:
            raise ConfigError(
                f"compressor {self.card.name!r} makes a token of {b.value:g} frames side by side, "
                f"{wide} numbers at a width of {width}",
                todo=f"Ask for a rate at which it is {WIDEST} at most",
            )
        return wide

    def forward(self, s: TokenStream, b: Budget, g: Guide | None = None) -> TokenStream:
        """[B, T, D] -> [B, N, r * D].

        Raises:
            ConfigError: as for `width`.
        """
        self.width(s.x.shape[-1], b)
        rate, counts = whole(self, b), s.resolve(b)
        if rate == 1:
            return unchanged(s)
        return _stream(s, rate, counts, x=self._stack(s, rate, counts))

    def stream(self, b: Budget) -> Streamer:
        """A streaming form; a token waits for its last frame, rate / hz seconds."""
        self.check_stream(b)
        return WindowStreamer(self, b, streamed(self, b))

    def _stack(self, s: TokenStream, rate: int, counts: Tensor) -> Tensor:
        slots, lengths, rows = _most(counts), s.lengths, torch.arange(len(counts), device=s.device)
        if slots == 0:
            return s.x.new_zeros(len(rows), 0, rate * s.x.shape[-1])
        short = max(0, slots * rate - s.x.shape[1])
        x = F.pad(s.x, (0, 0, 0, short))[:, : slots * rate].reshape(len(rows), slots, rate, -1)
        beyond = torch.arange(slots, device=s.device) >= (lengths // rate)[:, None]
        if not bool(beyond.any()):
            return x.flatten(2)
        x = x.masked_fill(beyond[..., None, None], 0.0)  # [B, N, r, D], a copy
        last, tail = (lengths // rate).clamp(max=slots - 1), lengths % rate
        inside = torch.arange(rate, device=s.device)
        frame = (last[:, None] * rate + inside).minimum((lengths - 1).clamp(min=0)[:, None])
        real = inside < (tail[:, None] if self.tail == "zero" else (tail > 0)[:, None] * rate)
        filled = torch.where(real[..., None], s.x[rows[:, None], frame], 0.0)
        x[rows, last] = torch.where((tail > 0)[:, None, None], filled, x[rows, last])
        return x.flatten(2)


def _most(counts: Tensor) -> int:
    return int(counts.max()) if len(counts) else 0


def _primes(rate: int, frames: int) -> tuple[int, ...]:
    """Prime factors of a rate in ascending order, as far as they add anything to anything.

    Once one token is left there is nothing to add, so memory does not grow with the rate. The last
    factor is cut to the tokens that it finds.
    """
    factors, divisor, left = [], 2, frames
    while rate > 1 and left > 1:
        while rate % divisor and divisor < left:
            divisor += 1
        factors.append(divisor)  # which divides the rate, or is all there is
        rate, left = rate // divisor, -(-left // divisor)
    return tuple(factors)


def _fold(x: Tensor, lengths: Tensor, factors: tuple[int, ...]) -> Tensor:
    """Sums of r = prod(factors) neighbours, [B, T, D] -> [B, ceil(T/r), D], garbage beyond the end.

    A pooling kernel that does not divide is several times faster than adding slices; only the one
    window of each row that its end cuts is put together from single frames, in the same order.
    """
    frames, rows, rate = x.shape[1], torch.arange(len(x), device=x.device), math.prod(factors)
    if frames == 0 or len(x) == 0:
        return wide(x)
    out = wide(x).transpose(1, 2).unsqueeze(2)  # [B, D, 1, T]
    for factor in factors:
        out = F.avg_pool2d(out, (1, factor), ceil_mode=True, divisor_override=1)
    out = out.squeeze(2).transpose(1, 2)
    last, tail = (lengths // rate).clamp(max=out.shape[1] - 1), lengths % rate
    inside = torch.arange(rate, device=x.device)
    frame = (last[:, None] * rate + inside).clamp(max=frames - 1)
    parts = torch.where((inside < tail[:, None])[..., None], wide(x[rows[:, None], frame]), 0.0)
    for factor in factors:
        parts = _add(parts.reshape(len(x), -1, factor, x.shape[2]).unbind(2))
    out[rows, last] = torch.where((tail > 0)[:, None], parts[:, 0], out[rows, last])
    return out


def _add(parts: Sequence[Tensor]) -> Tensor:
    """Sum in this very order."""
    total = parts[0] + parts[1]
    for part in parts[2:]:
        total = total + part
    return total


def _ceil_div(number: Tensor, by: int) -> Tensor:
    return (number + by - 1) // by


def _stream(
    s: TokenStream,
    rate: int,
    counts: Tensor,
    *,
    x: Tensor | None = None,
    sums: Tensor | None = None,
) -> TokenStream:
    """The stream of whole windows of `s`: sizes, times and owners, and means if sums are given."""
    slots, rows = _most(counts), len(counts)
    rate = min(rate, max(1, s.mask.shape[1]))  # beyond the rows there is nothing to count
    token = torch.arange(slots, device=s.device)
    mask = token < counts[:, None]
    real = s.size[:, : slots * rate]
    size = F.pad(real, (0, slots * rate - real.shape[1])).reshape(rows, slots, rate).sum(2)
    size = size.masked_fill(~mask, 0)
    final = ((token + 1) * rate).minimum(s.lengths[:, None]).clamp(min=1) - 1
    owner = s.owner.div(rate, rounding_mode="floor")  # -1 stays -1
    if sums is not None:
        sums = sums[:, :slots]
        if not bool(mask.all()):
            sums = sums.masked_fill(~mask[..., None], 0.0)
        x = mean(sums, size, s.x.dtype)
    assert x is not None
    return TokenStream(
        x=x,
        mask=mask,
        hz=s.hz,
        size=size,
        t0=s.t0[:, : slots * rate : rate].masked_fill(~mask, 0.0),
        t1=s.t1.gather(1, final).masked_fill(~mask, 0.0),
        owner=owner.masked_fill(owner >= counts[:, None], -1),
        sums=sums,
        source=s.source,
    )
