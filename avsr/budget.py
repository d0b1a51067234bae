"""How many tokens a stream may keep.

Data: frames of each row -> tokens of each row, always rounded up, never to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

BudgetKind = Literal["rate", "keep", "tokens", "per_second", "threshold"]

LONGEST = 1 << 62  # frames of a row: a rate beyond it overflows
_SLACK = 1e-6  # 0.1 * 30 is 3.0000000000000004 in floats and must not become 4 tokens


@dataclass(frozen=True)
class Budget:
    """One way of saying how far a stream is to be cut; made by the class methods.

    Args:
        kind: what `value` means.
        value: frames per token, share of tokens kept, tokens, tokens per second, or similarity.
    """

    kind: BudgetKind
    value: float

    def __post_init__(self) -> None:
        """Check that the value suits its kind."""
        value, whole = self.value, float(self.value).is_integer()
        match self.kind:
            case "rate":
                fits, need = 1 <= value < float("inf"), "at least 1"
            case "keep":
                fits, need = 0 < value <= 1, "above 0 and at most 1"
            case "tokens":
                fits, need = value >= 1 and whole, "a whole number, at least 1"
            case "per_second":
                fits, need = 0 < value < float("inf"), "above 0"
            case "threshold":
                fits, need = value == value, "a number"
            case _:
                raise ValueError(f"no budget is called {self.kind!r}")
        if not fits:
            raise ValueError(f"a budget of {self.kind} must be {need}, got {value}")

    @classmethod
    def rate(cls, rate: float) -> Budget:
        """One token for every `rate` frames, and one for the remainder."""
        return cls("rate", rate)

    @classmethod
    def keep(cls, share: float) -> Budget:
        """This share of the tokens, in (0, 1]."""
        return cls("keep", share)

    @classmethod
    def tokens(cls, tokens: int) -> Budget:
        """At most this many tokens a row."""
        return cls("tokens", tokens)

    @classmethod
    def per_second(cls, tokens: float) -> Budget:
        """This many tokens a second."""
        return cls("per_second", tokens)

    @classmethod
    def threshold(cls, similarity: float) -> Budget:
        """As many tokens as the content asks for: what is at least so similar is merged."""
        return cls("threshold", similarity)

    def resolve(self, lengths: Tensor, hz: float | Tensor) -> Tensor:
        """Tokens of each row: `clamp(ceil(...), 1, length)`, and 0 for an empty row.

        Args:
            lengths: tokens of each row before the cut [B].
            hz: their number per second, one for all or one for each row [B].

        Returns:
            Tokens of each row after the cut [B] long; for a threshold, where the content decides,
            the most there can be.
        """
        if self.kind == "threshold":
            return lengths.long()
        if self.kind == "rate" and float(self.value).is_integer():
            rate = min(int(self.value), LONGEST)
            return (lengths.long() + rate - 1) // rate
        frames = lengths.detach().cpu().double()
        match self.kind:
            case "rate":
                target = frames / self.value
            case "keep":
                target = frames * self.value
            case "per_second":
                speed = hz.detach().cpu().double() if isinstance(hz, Tensor) else hz
                target = frames / speed * self.value
            case _:
                target = torch.full_like(frames, self.value)
        count = torch.ceil(target - _SLACK).clamp(min=1).minimum(frames)
        return count.long().to(lengths.device)
