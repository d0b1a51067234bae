"""Token streams: the one currency between towers, compressors and projectors.

Data: features [B, T, D] and lengths [B], or rows [T, D] -> TokenStream -> TokenStream at a Budget.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from avsr.budget import Budget
from avsr.errors import ModelError

__all__ = ["Budget", "TokenStream", "check_finite"]


def check_finite(x: Tensor, mask: Tensor) -> None:
    """Refuse features that are no numbers.

    Args:
        x: features [..., D].
        mask: true at real frames [...].

    Raises:
        ModelError: names the first frame, by its place in the batch.
    """
    x = x.detach()
    if bool(x.sum(dtype=torch.promote_types(x.dtype, torch.float32)).isfinite()):
        return  # one sum and no copy; what overflows or is padding is looked at frame by frame
    wrong = ~x.isfinite().all(-1) & mask
    if bool(wrong.any()):
        place = wrong.nonzero()[0].tolist()
        raise ModelError(
            f"features of frame {place[-1]}{f' of row {place[0]}' if place[1:] else ''} are not "
            f"finite ({int(wrong.sum())} frames of {int(mask.sum())} are not)",
            todo="Look at the sound or picture behind it; in half precision, try float32.",
        )


@dataclass(frozen=True, eq=False)
class TokenStream:
    """A batch of token sequences that know which source frames and seconds they stand for.

    Args:
        x: tokens [B, T, D]; anything, even NaN, where the mask is false.
        mask: true at real tokens, always a prefix of each row [B, T] bool.
        hz: frames per second of the source the stream was made from.
        size: source frames in each token, 0 at padding [B, T] long.
        t0: start of each token in seconds, 0 at padding [B, T] float32.
        t1: end of each token in seconds, 0 at padding [B, T] float32.
        owner: token of each source frame, -1 if dropped or padding [B, T_src] long.
        sums: `x * size` before the division, in float32 or wider [B, T, D], if known: what
            makes nested rates agree to the last bit. It goes when `x` is replaced.
    """

    x: Tensor
    mask: Tensor
    hz: float
    size: Tensor
    t0: Tensor
    t1: Tensor
    owner: Tensor
    sums: Tensor | None = None
    source: Tensor | None = None

    @classmethod
    def from_features(
        cls, x: Tensor, lengths: Tensor, hz: float, start: float | Tensor = 0.0
    ) -> TokenStream:
        """A stream of single frames.

        Args:
            x: features [B, T, D].
            lengths: real frames of each row [B].
            hz: frames per second.
            start: time of the first frame in seconds, one for all or one for each row [B].

        All features enter here, so that here is looked whether they are numbers: one frame that is
        not would be nearest to nothing, and take every method's count of tokens with it.

        Raises:
            ValueError: shapes that do not fit, or a length outside 0 to T.
            ModelError: a real frame that is not finite.
        """
        if x.ndim != 3 or lengths.shape != x.shape[:1]:
            raise ValueError(
                f"expected x [B, T, D] and lengths [B], got {list(x.shape)}, {list(lengths.shape)}"
            )
        if not hz > 0:
            raise ValueError(f"hz must be above 0, got {hz}")
        rows, frames = x.shape[:2]
        if rows and (int(lengths.min()) < 0 or int(lengths.max()) > frames):
            raise ValueError(f"lengths must lie in 0 to {frames}, got {lengths.tolist()}")
        index = torch.arange(frames, device=x.device).expand(rows, frames)
        mask = index < lengths.to(x.device)[:, None]
        check_finite(x, mask)
        first = torch.as_tensor(start, dtype=torch.float64).cpu().reshape(-1, 1)
        edges = first + torch.arange(frames + 1, dtype=torch.float64) / hz  # [B or 1, T + 1]
        times = edges.float().to(x.device).expand(rows, frames + 1)
        return cls(
            x=x,
            mask=mask,
            hz=float(hz),
            size=mask.long(),
            t0=times[:, :-1].masked_fill(~mask, 0.0),
            t1=times[:, 1:].masked_fill(~mask, 0.0),
            owner=index.masked_fill(~mask, -1),
            source=mask.sum(1),
        )

    @classmethod
    def from_rows(cls, rows: Sequence[Tensor], hz: float) -> TokenStream:
        """A stream of single frames, one row for each tensor, padded with zeros.

        Args:
            rows: features [T_b, D] of one width, dtype and device; a row may have no frames.
            hz: frames per second.

        Returns:
            A stream [B, T, D], T the longest row's frames.

        Raises:
            ValueError: no rows, or rows that do not share a width.
        """
        shapes = [list(row.shape) for row in rows]
        if not rows or any(len(shape) != 2 or shape[1] != shapes[0][1] for shape in shapes):
            raise ValueError(f"expected rows [T, D] of one width, got {shapes}")
        lengths = torch.tensor([len(row) for row in rows])
        return cls.from_features(pad_sequence(list(rows), batch_first=True), lengths, hz)

    @property
    def lengths(self) -> Tensor:
        """Real tokens of each row [B] long."""
        return self.mask.sum(1)

    @property
    def frames(self) -> Tensor:
        """Source frames of each row, those that were dropped on the way too [B] long."""
        return self.size.sum(1) if self.source is None else self.source

    @property
    def device(self) -> torch.device:
        """Where the stream is."""
        return self.x.device

    def resolve(self, budget: Budget) -> Tensor:
        """Tokens of each row [B] that a budget leaves of this stream.

        Seconds are those of the whole row, whatever an earlier stage has dropped of it.
        """
        lengths = self.lengths
        if budget.kind != "per_second":
            return budget.resolve(lengths, self.hz)
        tokens, frames = (n.clamp(min=1).cpu().double() for n in (lengths, self.frames))
        return budget.resolve(lengths, self.hz * tokens / frames)

    def replace(self, *, x: Tensor) -> TokenStream:
        """The same tokens and times with other contents [B, T, D']."""
        if x.shape[:2] != self.mask.shape:
            raise ValueError(f"x is {list(x.shape)}, the stream {list(self.mask.shape)}")
        return replace(self, x=x, sums=None)

    def select(self, rows: Tensor | Sequence[int] | slice) -> TokenStream:
        """Some rows: numbers, in any order, or a mask [B]."""
        chosen = rows if isinstance(rows, slice) else torch.as_tensor(rows, device=self.device)
        return self._each(lambda tensor: tensor[chosen])

    def to(self, device: torch.device | str) -> TokenStream:
        """The stream on a device."""
        return self._each(lambda tensor: tensor.to(device))

    def pad_to(self, tokens: int) -> TokenStream:
        """The stream with padding up to this many tokens.

        Raises:
            ValueError: the stream is longer already.
        """
        extra = tokens - self.mask.shape[1]
        if extra < 0:
            raise ValueError(f"cannot pad {self.mask.shape[1]} tokens to {tokens}")

        def wider(tensor: Tensor) -> Tensor:
            return F.pad(tensor, (0, 0) * (tensor.ndim - 2) + (0, extra))

        return self._each(wider, keep=("owner", "source"))

    def trim(self) -> TokenStream:
        """The stream without columns that are padding in every row."""
        longest = int(self.lengths.max()) if len(self.mask) else 0
        if longest == self.mask.shape[1]:
            return self
        return self._each(lambda tensor: tensor[:, :longest], keep=("owner", "source"))

    def validate(self) -> TokenStream:
        """The stream itself, once everything the class promises has been checked.

        Raises:
            ValueError: says what does not hold.
        """
        shape, length = self.mask.shape, self.lengths[:, None]
        slots = torch.arange(shape[1], device=self.device)
        inner = self.mask[:, 1:]
        centre = self.t0 + self.t1
        step, later = centre.diff(dim=1), self.t0.diff(dim=1)  # one token may lie around another
        laws = {
            "x must be [B, T, D]": self.x.ndim == 3,
            "fields must share [B, T]": all(
                f.shape[:2] == shape for f in (self.x, self.size, self.t0, self.t1)
            ),
            "mask must be bool": self.mask.dtype == torch.bool,
            "sums must be shaped like x": self.sums is None or self.sums.shape == self.x.shape,
            "owner must be [B, T_src]": self.owner.ndim == 2 and len(self.owner) == shape[0],
            "source must be [B]": self.source is None or self.source.shape == shape[:1],
        }
        if all(laws.values()):
            laws |= {
                "mask must be a prefix": torch.equal(self.mask, slots < length),
                "size must be 0 at padding and only there": torch.equal(self.size > 0, self.mask),
                "owner must name real tokens": bool((self.owner < length).all())
                and bool((self.owner >= -1).all()),
                "times must rise": bool((self.t1 > self.t0)[self.mask].all())
                and bool(((step > 0) | ((step == 0) & (later > 0)))[inner].all()),
                "tokens must not hold more than the source": bool(
                    (self.size.sum(1) <= self.frames).all()
                ),
                "times must be 0 at padding": not bool((centre != 0)[~self.mask].any()),
            }
        broken = [law for law, holds in laws.items() if not holds]
        if broken:
            raise ValueError(f"not a token stream: {'; '.join(broken)}")
        return self

    def _each(self, change: Callable[[Tensor], Tensor], keep: Container[str] = ()) -> TokenStream:
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in keep}
        changed: dict[str, Any] = {
            n: change(t) for n, t in tensors.items() if isinstance(t, Tensor)
        }
        return replace(self, **changed)
