"""A compressor with a budget of its own: what it is asked for stays the same at every rate.

Data: "threshold:0.9" or {"threshold": 0.9} -> Budget; TokenStream at any rate -> at that budget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from avsr.budget import Budget, BudgetKind
from avsr.compress.base import Compressor, Guide, Meets, Streamer
from avsr.errors import ConfigError
from avsr.streams import TokenStream

__all__ = ["Asked", "missed", "read_budget"]


def read_budget(told: object) -> Budget:
    """A budget from a configuration: "per_second:4", or {"per_second": 4}.

    Raises:
        ConfigError: neither, another kind, or a value that does not suit its kind.
    """
    kind: object = None
    value: object = None
    if isinstance(told, Mapping) and len(told) == 1:
        [(kind, value)] = told.items()
    elif isinstance(told, str):
        kind, _, value = told.partition(":")
    known = get_args(BudgetKind)
    if kind not in known:
        raise ConfigError(
            f"cannot read the budget {told!r}",
            todo=f'Write "KIND:NUMBER", where KIND is one of {", ".join(known)}',
        )
    try:
        number = float(value)  # type: ignore[arg-type]
        return Budget(kind, number)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"cannot read the budget {told!r}: {error}") from error


def missed(compressor: Compressor, rate: int, frames: int, hz: float, made: int) -> str | None:
    """What must be said of a budget that was not met; None of one that was, or could not be.

    Args:
        compressor: asked for the tokens; it may keep to a budget of its own.
        rate: of the model, frames a token.
        frames: of the stream.
        hz: frames a second.
        made: tokens.
    """
    trained = Budget.rate(rate)
    budget = compressor.asked_for(trained)
    asked = int(budget.resolve(torch.tensor([frames]), hz))
    if made == asked or budget.kind == "threshold":  # at that the content decides
        return None
    told = f"rate {rate}" if budget is trained else f"budget {budget.kind}:{budget.value:g}"
    return f"{told} stands for {asked} tokens, {made} were made"


class Asked(Compressor):
    """Cuts by another compressor, to one budget whatever rate a model asks for.

    Args:
        inner: the compressor.
        budget: of a kind that it takes.

    Raises:
        ConfigError: it does not take that kind.
    """

    def __init__(self, inner: Compressor, budget: Budget) -> None:
        super().__init__()
        inner.check(budget)
        self.card = inner.card  # type: ignore[misc]  # it does what the card of the other says
        self.inner, self.budget = inner, budget

    def to_dict(self) -> dict[str, Any]:
        """As `compressors.build` takes it, with the budget beside the parameters."""
        return {**self.inner.to_dict(), "budget": {self.budget.kind: self.budget.value}}

    @property
    def reads(self) -> frozenset[str]:
        """What the other one looks at."""
        return self.inner.reads

    @property
    def meets(self) -> Meets:
        """A rate is not what it is asked for."""
        return "loosely"

    def asked_for(self, b: Budget) -> Budget:
        """Its own budget."""
        return self.budget

    def width(self, width: int, b: Budget) -> int:
        """Width of the output tokens."""
        return self.inner.width(width, self.budget)

    def check(self, b: Budget) -> None:
        """Any budget may be asked for; it changes nothing."""

    def forward(self, s: TokenStream, b: Budget, g: Guide | None = None) -> TokenStream:
        """[B, T, D] -> [B, N, D]."""
        return self.inner(s, self.budget, g)

    def multi(
        self, s: TokenStream, budgets: Sequence[Budget], g: Guide | None = None
    ) -> list[TokenStream]:
        """The same stream for each budget."""
        return [self.inner(s, self.budget, g)] * len(budgets)

    def loss(self, s: TokenStream, counts: Tensor) -> Tensor | None:
        """What the other one adds to the loss."""
        return self.inner.loss(s, counts)

    def stream(self, b: Budget) -> Streamer:
        """A streaming form at the budget."""
        return self.inner.stream(self.budget)
