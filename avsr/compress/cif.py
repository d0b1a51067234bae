"""Continuous integrate-and-fire: frames add up weight, and a token fires when it is full.

Data: TokenStream [B, T, D], Budget -> [B, N, D]; Dong & Xu, arXiv 1905.11235.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from avsr.compress.apply import apply, unchanged
from avsr.compress.attention import clean
from avsr.compress.base import (
    Card,
    Compressor,
    Guide,
    NotCausalError,
    Streamer,
    compressors,
)
from avsr.compress.cif_stream import CifStreamer, exact, normal, places, taken
from avsr.compress.plans import surjective
from avsr.compress.seeds import drawing
from avsr.streams import Budget, TokenStream

NOTHING = 1e-30  # weight of a row that cannot be divided by without a gradient beyond float32


@compressors.register("cif")
class Cif(Compressor):
    """Each frame weighs sigmoid(w x + b); a token is the weighted mean of frames worth `fire`.

    A number of tokens scales the weights of a row so that they fire just so often; a threshold is
    the weight at which a token fires, and then the content decides. A rest at the end fires once
    more if it holds the most of some frame, however little that weighs: a row with frames has a
    token. A frame is owned by the token that took most of it; where all that a token took weighs
    nothing, it is the plain mean of the frames it owns.

    Args:
        width: of the tokens D.
        quantity: weight in training of the loss that teaches the frames of a row to add up to the
            tokens of its transcript, so that a threshold of 1 fires as often; 0 leaves it out.
        seed: of the weights.

    Raises:
        ValueError: a negative weight or seed.
    """

    card: ClassVar[Card] = Card(
        name="cif",
        paper="arXiv 1905.11235",
        place="pre-llm",
        mechanism="query",
        signal="learned",
        op="weigh",
        contiguous=True,
        trainable=True,
        budgets=frozenset({"rate", "keep", "tokens", "per_second", "threshold"}),
        streams=frozenset({"threshold"}),
        about="learned weights add up until a token fires",
    )

    def __init__(self, *, width: int, quantity: float = 0.1, seed: int = 0) -> None:
        if not quantity >= 0:
            raise ValueError(f"quantity must not be negative, got {quantity}")
        super().__init__(width=width, quantity=quantity, seed=seed)
        self.quantity = quantity
        with drawing(seed):
            self.weigh = nn.Linear(width, 1)
        nn.init.zeros_(self.weigh.weight)  # all frames weigh the same: a fresh one pools evenly

    def stream(self, b: Budget) -> Streamer:
        """A streaming form at a threshold; a token waits for the frame that fills it.

        Raises:
            NotCausalError: a threshold below 1, at which a frame may fill several tokens.
        """
        self.check_stream(b)
        if b.value < 1:
            raise NotCausalError(
                f"compressor {self.card.name!r} streams at a threshold of 1 or more, "
                f"got {b.value:g}",
                todo="Give a threshold of 1, one full frame",
            )
        return CifStreamer(self, b.value)

    def alphas(self, s: TokenStream) -> Tensor:
        """Weight of each frame [B, T], zero at padding."""
        x = clean(s).to(self.weigh.weight.dtype)
        weight: Tensor = torch.sigmoid(self.weigh(x).squeeze(-1)).masked_fill(~s.mask, 0.0)
        return weight

    def quantity_loss(self, s: TokenStream, counts: Tensor) -> Tensor:
        """Mean over rows of |sum of weights - tokens wanted| by those wanted (Dong & Xu, eq. 8).

        Args:
            s: the stream; rows without frames are left out.
            counts: tokens wanted of each row [B], such as those of its transcript.
        """
        heard = s.lengths > 0
        wanted = counts.to(s.device).clamp(min=1)
        apart: Tensor = ((self.alphas(s).sum(1) - wanted).abs() / wanted).masked_fill(~heard, 0.0)
        return apart.sum() / heard.sum().clamp(min=1)

    def loss(self, s: TokenStream, counts: Tensor) -> Tensor | None:
        """The quantity loss by its weight."""
        return self.quantity * self.quantity_loss(s, counts) if self.quantity > 0 else None

    def forward(self, s: TokenStream, b: Budget, g: Guide | None = None) -> TokenStream:
        """[B, T, D] -> [B, N, D]."""
        self.check(b)
        if s.mask.shape[1] == 0:
            return unchanged(s)
        alpha = self.alphas(s)
        counts = None if b.kind == "threshold" else s.resolve(b)
        if counts is None:
            alpha = alpha / b.value if b.value > 0 else alpha.ceil()
        else:
            total = alpha.double().sum(1, keepdim=True)
            even = (total < NOTHING) & s.mask  # nothing to scale: all frames weigh the same
            alpha = torch.where(even, 1.0, alpha)
            scale = counts[:, None] / alpha.double().sum(1, keepdim=True).clamp(min=NOTHING)
            alpha = (alpha * scale).to(alpha.dtype)
        shares, owner = fired(alpha, s.lengths, counts)
        short = apply(s, owner)
        x = shares[:, : short.mask.shape[1]] @ clean(s).to(shares.dtype)
        return short.replace(x=x.masked_fill(~short.mask[..., None], 0.0).to(s.x.dtype))


def fired(alpha: Tensor, lengths: Tensor, counts: Tensor | None) -> tuple[Tensor, Tensor]:
    """Which token takes how much of which frame, at a firing weight of one.

    Args:
        alpha: weight of each frame [B, T], zero at padding.
        lengths: frames of each row [B].
        counts: tokens of each row [B], to which the weights add up; None to fire freely.

    Returns:
        Shares [B, N, T], each token's adding up to one, and owners [B, T].
    """
    ends = exact(alpha).cumsum(1)
    real = torch.arange(alpha.shape[1], device=alpha.device) < lengths[:, None]
    reached = places(ends)[1].masked_fill(~real, -1).amax(1) + 1 if counts is None else counts
    wanted = reached.minimum(lengths)
    share, most = taken(ends, wanted)
    if counts is None:  # a rest without a frame of its own does not fire
        wanted = (most.masked_fill(~real, -1).amax(1) + 1).minimum(wanted)
        share = share[:, : int(wanted.max()) if len(wanted) else 0]
    owner = surjective(most, lengths, wanted)
    beyond = torch.arange(share.shape[1], device=alpha.device)[:, None] >= wanted[:, None, None]
    share = normal(share.masked_fill(beyond, 0.0), owner.masked_fill(~real, -1))
    return share.to(alpha.dtype), owner
