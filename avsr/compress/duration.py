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
from avsr.compress.plans import Grouping, whole
from avsr.streams import Budget, TokenStream


def rate_for(frames: int, cap: int, rates: Sequence[int]) -> int:
    """The smallest rate at which a recording has at most `cap` tokens.

    Where the largest of them is not enough, it is doubled until it is.

    Args:
        frames: of the recording.
        cap: tokens that may be spent.
        rates: the trained ones, in any order.

    Returns:
        One of `rates`, or the largest times a power of two.

    Raises:
        ValueError: no rates, or a cap below 1.
    """
    if not rates or cap < 1:
        raise ValueError(f"rates={list(rates)}, cap={cap} choose no rate")
    enough = [rate for rate in sorted(rates) if -(-frames // rate) <= cap]
    rate = enough[0] if enough else max(rates)
    while -(-frames // rate) > cap:
        rate *= 2
    return rate


@compressors.register("duration")
class Duration(Grouping):
    """Mean of every r frames, r by the length of the row, the smallest known one that fits.

    At a budget of tokens that is the cap of a row. A rate is the finest that is taken, and `cap`
    the cap; a row within it is pooled at that very rate. No row is above its cap: where the largest
    known rate is not enough, it is doubled until it is, though nothing was trained at that.

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
        rates = torch.tensor(self._chosen(s, b), device=s.device, dtype=torch.long)[:, None]
        return torch.arange(s.mask.shape[1], device=s.device) // rates

    def _cuts(self, s: TokenStream, b: Budget) -> bool:
        """Whether any row is pooled: not what the budget says, but cap and known rates."""
        return s.mask.shape[1] > 0 and max(self._chosen(s, b), default=1) > 1

    def _chosen(self, s: TokenStream, b: Budget) -> list[int]:
        """Rate of each row."""
        if b.kind == "tokens":
            cap, known = int(b.value), [*self.rates]
        else:
            cap, finest = self.cap, whole(self, b)
            known = [finest, *(rate for rate in self.rates if rate > finest)]
        return [rate_for(length, cap, known) for length in s.lengths.tolist()]
