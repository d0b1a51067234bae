"""Every registered compressor with each budget that it takes, and tiny random streams.

A new compressor is added to CONFIGS; everything else follows from its card.
"""

from dataclasses import dataclass, fields
from typing import Any

import pytest
import torch

from avsr.compress import Card, Compressor, compressors
from avsr.streams import Budget, TokenStream

HZ = 50.0
LENGTHS = [23, 16, 0, 1, 7, 24]
ALL = {
    "rate": Budget.rate(4),
    "keep": Budget.keep(0.3),
    "tokens": Budget.tokens(5),
    "per_second": Budget.per_second(12.5),
    "threshold": Budget.threshold(0.5),
}
LAWLESS = ({"name": "pool", "tail": "drop"},)  # loses frames on purpose, for others' checkpoints


@dataclass(frozen=True)
class Case:
    config: dict[str, Any]
    budget: Budget

    @property
    def compressor(self) -> Compressor:
        return compressors.build(self.config)

    @property
    def card(self) -> Card:
        return compressors[self.config["name"]].card

    def __str__(self) -> str:
        """Name in the list of tests."""
        return f"{'-'.join(map(str, self.config.values()))}-{self.budget.kind}{self.budget.value:g}"


CONFIGS: tuple[dict[str, Any], ...] = (
    {"name": "pool"},
    {"name": "stack"},
    {"name": "stack", "tail": "zero"},
    *LAWLESS,
)
CASES = [
    Case(config, budget)
    for config in CONFIGS
    for kind, budget in ALL.items()
    if kind in compressors[config["name"]].card.budgets
    and (kind == "rate" or config not in LAWLESS)
]
LAWFUL = [case for case in CASES if case.config not in LAWLESS]
CAUSAL = [case for case in CASES if case.card.causal and case.budget.kind == "rate"]
every = pytest.mark.parametrize("case", CASES, ids=str)
lawful = pytest.mark.parametrize("case", LAWFUL, ids=str)
causal = pytest.mark.parametrize("case", CAUSAL, ids=str)
merging = pytest.mark.parametrize("case", [c for c in CASES if c.card.op == "merge"], ids=str)


def frames(
    rows: int = len(LENGTHS), count: int = 24, width: int = 5, seed: int = 0
) -> torch.Tensor:
    return torch.randn(rows, count, width, generator=torch.Generator().manual_seed(seed))


def stream(x: torch.Tensor | None = None, lengths: list[int] | None = None) -> TokenStream:
    lengths = LENGTHS if lengths is None else lengths
    x = frames(len(lengths)) if x is None else x
    return TokenStream.from_features(x, torch.tensor(lengths), HZ)


def assert_equal(a: TokenStream, b: TokenStream) -> None:
    """Bit for bit, each field."""
    for f in fields(TokenStream):
        one, other = getattr(a, f.name), getattr(b, f.name)
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other, f.name
