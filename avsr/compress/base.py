"""What every compressor is: a card, a forward from stream to stream, and perhaps a streaming form.

Data: TokenStream, Budget [, Guide] -> TokenStream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from torch import Tensor, nn

from avsr.budget import BudgetKind
from avsr.compress.guide import Guide as Guide  # of a compressor, and imported with it
from avsr.compress.registry import Registry
from avsr.errors import ConfigError
from avsr.streams import Budget, TokenStream

Need = Literal["attn", "ctc", "guide", "keys"]
Mechanism = Literal["floor", "transformation", "similarity", "attention", "query"]
Signal = Literal["none", "uniform", "chance", "cosine", "distance", "density", "guide", "learned"]
Op = Literal["keep", "merge", "weigh", "drop", "concat", "query"]
Meets = Literal["exactly", "at most", "loosely", "never"]
Foreign = Literal["warns", "refuses"]


@dataclass(frozen=True)
class Card:
    """What a compressor does and asks for; documentation and checks are made from it.

    Args:
        name: name in the registry.
        paper: where it comes from.
        place: where in the pipeline it sits, "pre-llm" here.
        mechanism: the survey's class (arXiv 2507.20198); a "floor" is there to be beaten.
        signal: what tells the tokens apart.
        op: what becomes of the frames of a token: their mean ("merge"), a weighted mean
            ("weigh"), one of them ("drop"), all side by side ("concat"), or a learned reading of
            many ("query"); "keep" leaves them alone.
        contiguous: every token stands for one unbroken stretch of frames.
        trainable: it has parameters.
        budgets: kinds of budget it takes.
        streams: kinds of budget at which it runs on a live stream; a token never changes once given
            out.
        nested: at whole rates that divide one another, coarse tokens are unions of fine ones.
        meets: whether a budget other than a threshold is met to the token; "loosely" gives more
            where the content asks for it.
        needs: what a caller must supply besides features.
        about: the method in half a sentence, for tables.
    """

    name: str
    paper: str
    place: Literal["pre-llm"]
    mechanism: Mechanism
    signal: Signal
    op: Op
    contiguous: bool
    trainable: bool
    budgets: frozenset[BudgetKind]
    streams: frozenset[BudgetKind] = frozenset()
    nested: bool = False
    meets: Meets = "exactly"
    needs: frozenset[Need] = frozenset()
    about: str = ""

    def __post_init__(self) -> None:
        """Check that it does not contradict itself.

        Raises:
            ValueError: it says nothing of the method, or streams what it does not take.
        """
        if not self.name or not self.paper or not self.about or not self.budgets:
            raise ValueError(f"the card of {self.name!r} needs a name, paper, about and budgets")
        if not self.streams <= self.budgets:
            raise ValueError(f"the card of {self.name!r} streams budgets that it does not take")

    @property
    def causal(self) -> bool:
        """It can run on a live stream."""
        return bool(self.streams)

    @property
    def foreign(self) -> Foreign:
        """What happens inside a model that was trained with another compressor.

        Means of frames look like what the projector knows, and a warning is enough; tokens of
        another kind, or untrained weights, would give words made of noise.
        """
        return "refuses" if self.trainable or self.op == "concat" else "warns"


class NotCausalError(ConfigError):
    """A compressor that needs the whole utterance was asked to stream."""


class Streamer(Protocol):
    """A compressor at work on a batch of live streams; one object holds the state of one batch."""

    def step(self, s: TokenStream, g: Guide | None = None) -> TokenStream:
        """Take the next frames of every row, give out the tokens they complete.

        Args:
            s: next frames [B, T, D], each row of its own length, with times that go on.
            g: what guides these frames; the frames of another modality that have come since.
        """
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

    @property
    def reads(self) -> frozenset[str]:
        """Fields of the guide that it looks at, as it is set up."""
        return frozenset({"other"} if "guide" in self.card.needs else ())

    @property
    def meets(self) -> Meets:
        """Whether it meets a budget as it is set up; some settings outrank it."""
        return self.card.meets

    def asked_for(self, b: Budget) -> Budget:
        """The budget that it keeps to when it is asked for one: that one, but for its own."""
        return b

    def width(self, width: int, b: Budget) -> int:
        """Width of the output tokens for input tokens of a width."""
        return width

    def __call__(self, s: TokenStream, b: Budget, g: Guide | None = None) -> TokenStream:
        """Cut a stream to a budget; see `forward`."""
        if g is not None:
            g.check(s)
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

    def loss(self, s: TokenStream, counts: Tensor) -> Tensor | None:
        """What training adds to the text's loss for this compressor's own sake, weighted.

        Args:
            s: the stream before the cut; rows without frames have no say.
            counts: tokens of each row's transcript [B].

        Returns:
            A scalar; None for nothing, as most.
        """
        return None

    def stream(self, b: Budget) -> Streamer:
        """A streaming form at a budget.

        Raises:
            NotCausalError: it needs the whole utterance.
        """
        self.check_stream(b)
        raise NotImplementedError

    def check_stream(self, b: Budget) -> None:
        """Refuse to stream at a kind of budget at which the card does not.

        Raises:
            ConfigError: a kind that it does not take at all.
            NotCausalError: it needs the whole utterance for it.
        """
        self.check(b)
        kinds = self.card.streams
        if b.kind not in kinds:
            todo = f"It streams at a {' or a '.join(sorted(kinds))}" if kinds else _advice()
            raise NotCausalError(
                f"compressor {self.card.name!r} needs the whole utterance at a {b.kind}", todo=todo
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


def _advice() -> str:
    able = [name for name in compressors if compressors[name].card.causal]
    return f"Choose one that streams: {', '.join(able)}"


compressors: Registry[Compressor] = Registry("compressor", needs=("card",))
