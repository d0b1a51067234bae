"""What every method must beat: all tokens, every r-th of them, or some by chance.

Data: TokenStream [B, T, D], Budget -> [B, N, D], frames left as they are.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from avsr.compress.apply import unchanged
from avsr.compress.base import Card, Compressor, Guide, Streamer, compressors
from avsr.compress.plans import Grouping, ranked, streamed, windows
from avsr.compress.seeds import checked
from avsr.compress.windows import WindowStreamer
from avsr.streams import Budget, TokenStream


@compressors.register("none")
class Everything(Compressor):
    """Every token, whatever the budget says: the ceiling of quality, and the floor of thrift."""

    card: ClassVar[Card] = Card(
        name="none",
        paper="reference",
        place="pre-llm",
        mechanism="floor",
        signal="none",
        op="keep",
        contiguous=True,
        trainable=False,
        budgets=frozenset({"rate", "keep", "tokens", "per_second", "threshold"}),
        streams=frozenset({"rate"}),
        nested=True,
        meets="never",
        about="all tokens; a budget is not met",
    )

    def forward(self, s: TokenStream, b: Budget, g: Guide | None = None) -> TokenStream:
        """[B, T, D] -> the same, trimmed, zero beyond the mask."""
        self.check(b)
        return unchanged(s)

    def stream(self, b: Budget) -> Streamer:
        """A streaming form: what comes is given out."""
        self.check_stream(b)
        return WindowStreamer(self, b, window=1)


@compressors.register("stride")
class Stride(Grouping):
    """The first frame of every window, the others dropped: `H[:, ::r]` at a whole rate.

    Source: arXiv 2608.30927, which strides over Whisper's output.
    """

    card: ClassVar[Card] = Card(
        name="stride",
        paper="arXiv 2608.30927",
        place="pre-llm",
        mechanism="floor",
        signal="uniform",
        op="drop",
        contiguous=True,
        trainable=False,
        budgets=frozenset({"rate", "keep", "tokens", "per_second"}),
        streams=frozenset({"rate"}),
        about="every r-th frame",
    )

    def plan(self, s: TokenStream, b: Budget, g: Guide | None) -> Tensor:
        """The first of each window is kept."""
        plan = windows(s, b)
        first = torch.ones_like(plan, dtype=torch.bool)
        first[:, 1:] = plan[:, 1:] != plan[:, :-1]
        return plan.masked_fill(~first, -1)

    def stream(self, b: Budget) -> Streamer:
        """A streaming form at a whole rate; a token waits for its window to end."""
        self.check_stream(b)
        return WindowStreamer(self, b, streamed(self, b))


@compressors.register("random")
class Chance(Grouping):
    """Frames kept by chance, in their order; the fewer are among the more.

    The draw of a frame depends on the seed and its place alone, so a row alone equals the row in a
    batch.

    Args:
        seed: of the draws.

    Raises:
        ValueError: a seed below 0.
    """

    card: ClassVar[Card] = Card(
        name="random",
        paper="floor of arXiv 2504.17892",
        place="pre-llm",
        mechanism="floor",
        signal="chance",
        op="drop",
        contiguous=True,
        trainable=False,
        budgets=frozenset({"rate", "keep", "tokens", "per_second"}),
        about="frames drawn by a seed",
    )

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__(seed=checked(seed))
        self.seed = seed

    def plan(self, s: TokenStream, b: Budget, g: Guide | None) -> Tensor:
        """The frames with the smallest draws are kept."""
        drawn = np.random.default_rng(self.seed).random(s.mask.shape[1])
        values = torch.from_numpy(drawn).to(s.device).expand(s.mask.shape)
        kept = ranked(values, s.mask) < s.resolve(b)[:, None]
        return (kept.cumsum(1) - 1).masked_fill(~kept, -1)
