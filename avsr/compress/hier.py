"""Hierarchical compressor: each second takes in the other modality, then few queries read it.

Data: TokenStream [B, T, D], Budget, Guide.other -> [B, N, D]; after DocSLM, arXiv 2511.11313, whose
page crops are seconds here, and whose overlap of boxes is overlap in time.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from avsr.compress.apply import apply, unchanged
from avsr.compress.attention import GatedAttention, clean, of_width, times
from avsr.compress.base import Card, Compressor, Guide, compressors
from avsr.compress.plans import windows
from avsr.compress.seeds import drawing
from avsr.streams import Budget, TokenStream


@compressors.register("hier")
class Hier(Compressor):
    """Tokens of a window look at the other modality, then the budget's means look at the tokens.

    The local layers see the other modality of their window, the global ones the tokens of theirs
    and of one to each side. All gates start closed, so a fresh one equals `pool`. Where the other
    modality is missing the local attention is passed by.

    Args:
        width: of the tokens D.
        other_width: of the other modality's tokens.
        window: seconds.
        context: seconds to each side of a window at which the other modality is still seen.
        layers: local ones, and as many global ones.
        heads: of the attention.
        inner: width inside the attention.
        seed: of the weights.

    Raises:
        ValueError: sizes that make no layers, or a seed below 0.
    """

    card: ClassVar[Card] = Card(
        name="hier",
        paper="arXiv 2511.11313",
        place="pre-llm",
        mechanism="query",
        signal="learned",
        op="query",
        contiguous=True,
        trainable=True,
        budgets=frozenset({"rate", "keep", "tokens", "per_second"}),
        nested=True,
        needs=frozenset({"guide"}),
        about="seconds that take in the other modality, read by queries",
    )

    def __init__(
        self,
        *,
        width: int,
        other_width: int,
        window: float = 1.0,
        context: float = 0.2,
        layers: int = 2,
        heads: int = 4,
        inner: int = 64,
        seed: int = 0,
    ) -> None:
        if window <= 0 or context < 0 or layers < 1:
            raise ValueError(f"window={window}, context={context}, layers={layers}")
        super().__init__(
            width=width,
            other_width=other_width,
            window=window,
            context=context,
            layers=layers,
            heads=heads,
            inner=inner,
            seed=seed,
        )
        self.window, self.context, self.other_width = window, context, other_width
        with drawing(seed):
            self.local = nn.ModuleList(
                GatedAttention(width, other_width, heads=heads, inner=inner) for _ in range(layers)
            )
            self.reading = nn.ModuleList(
                GatedAttention(width, width, heads=heads, inner=inner) for _ in range(layers)
            )
        self.clock = nn.Parameter(torch.zeros(()))  # how loud the time of a query is

    def forward(self, s: TokenStream, b: Budget, g: Guide | None = None) -> TokenStream:
        """[B, T, D] -> [B, N, D]."""
        self.check(b)
        cuts = not torch.equal(s.resolve(b), s.lengths)
        short = apply(s, windows(s, b)) if cuts else unchanged(s)
        dtype = self.clock.dtype
        x = self._local(s, None if g is None else g.other, clean(s).to(dtype))
        at = self._window(short)
        middle = times((short.t0 + short.t1) / 2, x.shape[-1]).to(dtype)
        queries = clean(short).to(dtype) + self.clock * middle
        allowed = (at[..., None] - self._window(s)[:, None]).abs() <= 1
        allowed &= s.mask[:, None] & short.mask[..., None]
        for layer in self.reading:
            queries = layer(queries, x, allowed)
        return short.replace(x=queries.masked_fill(~short.mask[..., None], 0.0).to(s.x.dtype))

    def _local(self, s: TokenStream, other: TokenStream | None, x: Tensor) -> Tensor:
        """Tokens [B, T, D] after their look at the other modality."""
        if other is None:
            other = TokenStream.from_features(
                x.new_zeros(len(x), 0, self.other_width),
                torch.zeros_like(s.lengths),
                s.hz,
            )
        start = (self._window(s) * self.window)[..., None]
        allowed = (other.t1[:, None] > start - self.context) & other.mask[:, None]
        allowed &= (other.t0[:, None] < start + self.window + self.context) & s.mask[..., None]
        keys = of_width(clean(other), self.other_width, "other").to(x.dtype)
        for layer in self.local:
            x = layer(x, keys, allowed)
        return x.masked_fill(~s.mask[..., None], 0.0)

    def _window(self, s: TokenStream) -> Tensor:
        """Number of the window that holds the middle of each token [B, T]."""
        return ((s.t0 + s.t1) / 2 / self.window).floor()
