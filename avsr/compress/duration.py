"""Duration-adaptive rate: the longer a recording, the coarser its tokens, by trained steps.

Data: frames of each row -> a whole rate of each row; TokenStream [B, T, D] -> [B, N, D].
After the sampling of VideoChat-Flash, arXiv 2501.00574.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from avsr.compress.base import Card, Guide, compressors
from avsr.compress.plans import Grouping, whole_rate
from avsr.errors import ConfigError
from avsr.streams import Budget, TokenStream


def rate_for(frames: int, cap: int, rates: Sequence[int]) -> int:
    """The smallest rate at which a recording has at most `cap` tokens.

    Args:
        frames: of the recording.
        cap: tokens that may be spent.
        rates: the trained ones, in any order.

    Returns:
        One of `rates`; the largest if none is enough.

    Raises:
        ValueError: no rates, or a cap below 1.
    """
    if not rates or cap < 1:
        raise ValueError(f"rates={list(rates)}, cap={cap} choose no rate")
    enough = [rate for rate in sorted(rates) if -(-frames // rate) <= cap]
    return enough[0] if enough else max(rates)


@compressors.register("duration")
class Duration(Grouping):
    """Mean of every r frames, r by the length of the row, the smallest known one that fits.

    At a budget of tokens that is the cap of a row. A rate is the finest that is taken, and `cap`
    the cap; a row within it is pooled at that very rate.

    Args:
        rates: rates to choose from.
        cap: tokens of a row at a budget that is a rate.

    Raises:
        ValueError: no rates, or a cap below 1.
    """

    card: ClassVar[Card] = Card(
        name="duration",
        paper="arXiv 2501.00574",
        place="pre-llm",
        mechanism="transformation",
        signal="uniform",
        op="merge",
        contiguous=True,
        trainable=False,
        budgets=frozenset({"rate", "tokens"}),
        meets="at most",
        about="a coarser rate for a longer row",
    )

    def __init__(self, *, rates: Sequence[int] = (1, 2, 4, 8, 16, 32, 64), cap: int = 512) -> None:
        if not rates or min(rates) < 1:
            raise ValueError(f"rates must be whole numbers from 1, got {list(rates)}")
        rate_for(1, cap, rates)
        super().__init__(rates=list(rates), cap=cap)
        self.rates, self.cap = tuple(rates), cap

    def plan(self, s: TokenStream, b: Budget, g: Guide | None) -> Tensor:
        """Windows of each row's own rate."""
        finest = whole_rate(b) if b.kind == "rate" else 1
        if finest is None:
            raise ConfigError(
                f"compressor {self.card.name!r} takes whole rates, got {b.value:g}",
                todo="Give a rate that is a whole number",
            )
        cap = int(b.value) if b.kind == "tokens" else self.cap
        known = {finest, *(rate for rate in self.rates if rate > finest)}
        if b.kind == "tokens":
            known = set(self.rates)
        chosen = [rate_for(length, cap, sorted(known)) for length in s.lengths.tolist()]
        rates = torch.tensor(chosen, device=s.device, dtype=torch.long)[:, None]
        return torch.arange(s.mask.shape[1], device=s.device) // rates
