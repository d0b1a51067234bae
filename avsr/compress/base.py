"""What every compressor is: a card, a forward from stream to stream, and perhaps a streaming form.

Data: TokenStream, Budget [, Guide] -> TokenStream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from torch import Tensor, nn

from avsr.budget import BudgetKind
from avsr.compress.registry import Registry
from avsr.errors import ConfigError
from avsr.streams import Budget, TokenStream

Need = Literal["attn", "ctc", "guide", "keys"]


@dataclass(frozen=True)
class Card:
    """What a compressor does and asks for; documentation and checks are made from it.

    Args:
        name: name in the registry.
        paper: where it comes from.
        place: where in the pipeline it sits, "pre-llm" here.
        mechanism: how tokens are chosen, such as "fixed windows".
        op: what becomes of them: "merge", "drop" or "concat".
        contiguous: every token stands for one unbroken stretch of frames.
        causal: it can run on a stream; a token never changes once given out.
        trainable: it has parameters.
        budgets: kinds of budget it takes.
        needs: what a caller must supply besides features.
    """

    name: str
    paper: str
    place: Literal["pre-llm"]
    mechanism: str
    op: Literal["merge", "drop", "concat"]
    contiguous: bool
    causal: bool
    trainable: bool
    budgets: frozenset[BudgetKind]
    needs: frozenset[Need] = frozenset()


class Guide(NamedTuple):
    """What may steer a compressor; each states in its card what it needs.

    Args:
        prompt: embeddings of the instruction [B, N, H].
        phrases: embeddings of expected words [N, H].
        other: stream of the other modality.
        density: weight of each frame [B, T].
        received: attention that each frame receives in the tower [B, T].
        keys: attention keys of the tower [B, T, D].
    """

    prompt: Tensor | None = None
    phrases: Tensor | None = None
    other: TokenStream | None = None
    density: Tensor | None = None
    received: Tensor | None = None
    keys: Tensor | None = None


class NotCausalError(ConfigError):
    """A compressor that needs the whole utterance was asked to stream."""


class Streamer(Protocol):
    """A compressor at work on a batch of live streams; one object holds the state of one batch."""

    def step(self, s: TokenStream) -> TokenStream:
        """Take the next frames of every row, give out the tokens they complete."""
        ...

    def flush(self) -> TokenStream:
        """Give out what is left at the end of the streams, and start anew."""
        ...

    def reset(self, rows: Tensor | None = None) -> None:
        """Forget what is held of some rows [N] long, or of all."""
        ...


class Compressor(nn.Module):
    """Base of all compressors; `compressors` is their registry.

    In its output everything beyond the mask is zero, whatever the padding of its input held.

    Args:
        settings: parameters as `compressors.build` takes them.
    """

    card: ClassVar[Card]

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self._settings = settings

    def to_dict(self) -> dict[str, Any]:
        """Name and parameters, for `compressors.build`."""
        return {"name": self.card.name, **self._settings}

    def width(self, width: int, b: Budget) -> int:
        """Width of the output tokens for input tokens of a width."""
        return width

    def __call__(self, s: TokenStream, b: Budget, g: Guide | None = None) -> TokenStream:
        """Cut a stream to a budget; see `forward`."""
        short: TokenStream = super().__call__(s, b, g)
        return short

    def forward(self, s: TokenStream, b: Budget, g: Guide | None = None) -> TokenStream:
        """Cut a stream to a budget.

        Raises:
            ConfigError: a kind of budget that the card does not list.
        """
        raise NotImplementedError

    def multi(
        self, s: TokenStream, budgets: Sequence[Budget], g: Guide | None = None
    ) -> list[TokenStream]:
        """The stream at several budgets; the same as one call for each, work shared if it can."""
        return [self(s, b, g) for b in budgets]

    def stream(self, b: Budget) -> Streamer:
        """A streaming form at a budget.

        Raises:
            NotCausalError: it needs the whole utterance.
        """
        raise NotCausalError(
            f"compressor {self.card.name!r} needs the whole utterance",
            todo="Choose a causal one to stream with: pool or stack",
        )

    def check(self, b: Budget) -> None:
        """Refuse a kind of budget that the card does not list.

        Raises:
            ConfigError: lists the kinds it takes.
        """
        if b.kind not in self.card.budgets:
            raise ConfigError(
                f"compressor {self.card.name!r} takes no budget of {b.kind}",
                todo=f"It takes {', '.join(sorted(self.card.budgets))}",
            )


compressors: Registry[Compressor] = Registry("compressor", needs=("card",))
