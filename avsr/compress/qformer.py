"""Query transformer: learned queries, as many as the budget has tokens, read the whole row.

Data: TokenStream [B, T, D], Budget -> [B, N, D]; as in MMS-LLaMA (ACL Findings 2025).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from avsr.compress.apply import apply, unchanged
from avsr.compress.attention import GatedAttention, clean, times
from avsr.compress.base import Card, Compressor, Guide, compressors
from avsr.compress.plans import windows
from avsr.compress.seeds import drawing
from avsr.errors import ConfigError
from avsr.streams import Budget, TokenStream


@compressors.register("qformer")
class QFormer(Compressor):
    """One learned query for each token, told the middle of its share of the row.

    In each layer the queries look at one another and then at all frames. Times and owners of its
    tokens are those of equal shares of the row: a query may look anywhere.

    Args:
        width: of the tokens D.
        queries: learned ones; a row takes the first of them.
        layers: of the transformer.
        heads: of the attention.
        inner: width inside the attention.
        seed: of the weights.

    Raises:
        ValueError: sizes that make no layers, or a seed below 0.
    """

    card: ClassVar[Card] = Card(
        name="qformer",
        paper="MMS-LLaMA (2025)",
        place="pre-llm",
        mechanism="query",
        signal="learned",
        op="query",
        contiguous=True,
        trainable=True,
        budgets=frozenset({"rate", "keep", "tokens", "per_second"}),
        about="learned queries read the whole row",
    )

    def __init__(
        self,
        *,
        width: int,
        queries: int = 512,
        layers: int = 2,
        heads: int = 4,
        inner: int = 64,
        seed: int = 0,
    ) -> None:
        if queries < 1 or layers < 1:
            raise ValueError(f"queries={queries}, layers={layers} must be at least 1")
        super().__init__(
            width=width, queries=queries, layers=layers, heads=heads, inner=inner, seed=seed
        )
        with drawing(seed):
            self.queries = nn.Parameter(torch.randn(queries, width) * width**-0.5)
            made = [
                GatedAttention(width, width, heads=heads, inner=inner, gate=1.0)
                for _ in range(2 * layers)
            ]
        self.among, self.reading = nn.ModuleList(made[::2]), nn.ModuleList(made[1::2])

    def forward(self, s: TokenStream, b: Budget, g: Guide | None = None) -> TokenStream:
        """[B, T, D] -> [B, N, D].

        Raises:
            ConfigError: a row with more tokens than there are queries.
        """
        self.check(b)
        cuts = not torch.equal(s.resolve(b), s.lengths)
        short = apply(s, windows(s, b)) if cuts else unchanged(s)
        count = short.mask.shape[1]
        if count > len(self.queries):
            raise ConfigError(
                f"compressor {self.card.name!r} has {len(self.queries)} queries, "
                f"a row would need {count}",
                todo="Ask for fewer tokens, or train it with more queries",
            )
        width, dtype = self.queries.shape[1], self.queries.dtype
        heard, asked = (times((each.t0 + each.t1) / 2, width).to(dtype) for each in (s, short))
        x = clean(s).to(dtype) + heard * s.mask[..., None]
        queries: Tensor = self.queries[:count] + asked
        inner = short.mask[:, None] & short.mask[..., None]
        outer = s.mask[:, None] & short.mask[..., None]
        for among, reading in zip(self.among, self.reading, strict=True):
            queries = among(queries, queries, inner)
            queries = reading(queries, x, outer)
        return short.replace(x=queries.masked_fill(~short.mask[..., None], 0.0).to(s.x.dtype))
