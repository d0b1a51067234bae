"""What every method that widens a frozen LLM answers to: rows, losses, sizes, removal.

Adapter = the trained parameters, and what ties them to the LLM.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from experts.rows import Row, RowContext

Collect: TypeAlias = Literal["balance", "routing", "none"]


class Adapter(nn.Module):
    """Trained parameters beside a frozen LLM that is itself no submodule.

    `parameters()` and `state_dict()` are exactly what is trained and stored. A method that treats
    rows by their rates or task gives the rates it was made for to `scales`.

    Args:
        rows: context shared with the hooks, None where rows are all alike.
        scales: the rate pairs that have weights of their own, empty where rates share all.
    """

    def __init__(self, rows: RowContext | None = None, scales: Sequence[Row] = ()) -> None:
        super().__init__()
        self._rows = RowContext() if rows is None else rows
        self.scales = tuple(scales)
        self._handles: list[RemovableHandle] = []

    @property
    def stored_parameters(self) -> int:
        """Parameters in memory, over all layers."""
        return sum(p.numel() for p in self.parameters())

    @property
    def active_parameters(self) -> int:
        """Parameters that act on one token, over all layers."""
        return self.stored_parameters

    @contextmanager
    def reading(self, rows: Sequence[Row]) -> Iterator[None]:
        """Say at which rates each row of the forward passes inside is read.

        Args:
            rows: one a row; a batch of beams may hold each several times, one after another.

        Raises:
            ValueError: a rate pair that has no weights.
        """
        self.check(rows)
        with self._rows.reading(rows):
            yield

    def check(self, rows: Sequence[Row]) -> None:
        """Refuse rate pairs that have no weights of their own where they need some.

        Raises:
            ValueError: names the pair and those that are known.
        """
        unknown = [str(row) for row in dict.fromkeys(rows) if row not in self.scales]
        if self.scales and unknown:
            raise ValueError(
                f"no weights for the rates {', '.join(unknown)}; there are some for "
                f"{', '.join(map(str, self.scales))}"
            )

    @contextmanager
    def tokens(
        self,
        mask: Tensor,
        *,
        rows: Sequence[Row] | None = None,
        groups: Tensor | None = None,
        collect: Collect = "balance",
    ) -> Iterator[None]:
        """Run one forward pass inside: announce its rows, collect its statistics if any.

        Args:
            mask: [B, N] bool, True for real tokens.
            rows: rates of each row.
            groups: [B] integer group of each row in the statistics, None for one a rate pair.
            collect: what to keep for `balance_loss` and the like.
        """
        if rows is None:
            yield
            return
        with self.reading(rows):
            yield

    def balance_loss(self) -> Tensor:
        """Load-balance loss of the last pass under `tokens`; zero where nothing is routed."""
        return next(self.parameters()).new_zeros(())

    def kept_by_scale(self, name: str) -> bool:
        """Whether a tensor of the state has, along its first dimension, a part a rate pair."""
        return False

    def settle(self) -> None:
        """Before an optimiser step: update what is learnt without gradients."""

    def detach(self) -> None:
        """Take everything out; the LLM is then what it was before."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
