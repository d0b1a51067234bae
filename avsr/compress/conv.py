"""A strided convolution: a stack and a linear layer in one, a kernel for each rate.

Data: TokenStream [B, T, D], a rate r that it was built for -> [B, ceil(T/r), D].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from avsr.compress.base import Card, Compressor, Guide, Streamer, compressors
from avsr.compress.plans import streamed, whole
from avsr.compress.uniform import Stack
from avsr.compress.windows import WindowStreamer
from avsr.errors import ConfigError
from avsr.streams import Budget, TokenStream


@compressors.register("conv")
class Conv(Compressor):
    """Convolution with kernel and stride r over time; starts as the mean of every r frames.

    The frames that do not fill the last window are followed by the last one again.

    Args:
        width: of the tokens D.
        rates: whole rates that have a kernel.

    Raises:
        ValueError: a width or rate below 1.
    """

    card: ClassVar[Card] = Card(
        name="conv",
        paper="arXiv 2412.11475, compared there",
        place="pre-llm",
        mechanism="transformation",
        signal="learned",
        op="merge",
        contiguous=True,
        trainable=True,
        budgets=frozenset({"rate"}),
        streams=frozenset({"rate"}),
        nested=True,
        about="strided convolution, one kernel a rate",
    )

    def __init__(self, *, width: int, rates: Sequence[int]) -> None:
        if width < 1 or not rates or min(rates) < 1:
            raise ValueError(f"width={width}, rates={list(rates)} make no kernels")
        super().__init__(width=width, rates=list(rates))
        self._stack = Stack(tail="repeat")
        self.kernels = nn.ModuleDict()
        for rate in rates:
            kernel = nn.utils.skip_init(nn.Linear, rate * width, width)  # draws nothing
            assert isinstance(kernel, nn.Linear)
            with torch.no_grad():
                kernel.weight.copy_(torch.eye(width).repeat(1, rate) / rate)
                kernel.bias.zero_()
            self.kernels[str(rate)] = kernel

    def forward(self, s: TokenStream, b: Budget, g: Guide | None = None) -> TokenStream:
        """[B, T, D] -> [B, N, D].

        Raises:
            ConfigError: a rate without a kernel.
        """
        rate = str(whole(self, b))
        if rate not in self.kernels:
            raise ConfigError(
                f"compressor {self.card.name!r} has no kernel for rate {rate}",
                todo=f"It has {', '.join(self.kernels)}",
            )
        stacked = self._stack(s, b)
        kernel = self.kernels[rate]
        assert isinstance(kernel, nn.Linear)
        x = kernel(stacked.x.to(kernel.weight.dtype)).to(s.x.dtype)
        return stacked.replace(x=x.masked_fill(~stacked.mask[..., None], 0.0))

    def stream(self, b: Budget) -> Streamer:
        """A streaming form; a token waits for its last frame, rate / hz seconds."""
        self.check_stream(b)
        return WindowStreamer(self, b, streamed(self, b))
