"""Guided pooling: windows in which the frames that a guide points at weigh more.

Data: TokenStream [B, T, D], Budget, Guide -> [B, N, D]; after PPLLaVA, arXiv 2411.02327.

Its prompt is the same for every transcription and says nothing about frames, so the guide here
is the other modality, phrases that are expected, or a prompt that does vary.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from avsr.compress.apply import apply, unchanged
from avsr.compress.attention import aligned, clean, of_width
from avsr.compress.base import (
    Card,
    Compressor,
    Guide,
    NotCausalError,
    Streamer,
    compressors,
)
from avsr.compress.guided_stream import GuidedStreamer
from avsr.compress.plans import streamed, windows
from avsr.compress.seeds import drawing
from avsr.streams import Budget, TokenStream

Source = Literal["cross", "phrases", "prompt", "density"]


@compressors.register("guided")
class Guided(Compressor):
    """Weighted mean over windows, weights softmax(beta * s) of each frame's relevance s.

    s is the product of two projections, of the frame and of its guide; that of the guide starts at
    zero, so a fresh one equals `pool`. A density, such as a CTC head's 1 - P(blank), is no vector:
    s is it times a learned number that starts at zero. Where the guide is missing, a row is pooled
    evenly. The untrained form of the last is `weighted`.

    Args:
        width: of the tokens D.
        other_width: of the guide: the other modality's features, or the embeddings of words.
        guide: "cross" for `Guide.other` at the same time, "phrases" for the best of
            `Guide.phrases`, "prompt" for the mean of `Guide.prompt`, "density" for
            `Guide.density`.
        inner: width of the projections.
        beta: sharpness of the softmax.
        nested: "yes" takes a softmax over the whole row first and divides by .01, as the released
            PPLLaVA does; it then depends on the row's length.
        seed: of the frame's projection.

    Raises:
        ValueError: another guide, sizes below 1, or a seed below 0.
    """

    card: ClassVar[Card] = Card(
        name="guided",
        paper="arXiv 2411.02327",
        place="pre-llm",
        mechanism="query",
        signal="guide",
        op="weigh",
        contiguous=True,
        trainable=True,
        budgets=frozenset({"rate", "keep", "tokens", "per_second"}),
        streams=frozenset({"rate"}),
        needs=frozenset({"guide"}),
        about="windows weighted by the other modality, words or CTC density",
    )

    def __init__(
        self,
        *,
        width: int,
        other_width: int,
        guide: Source = "cross",
        inner: int = 64,
        beta: float = 1.0,
        nested: Literal["yes", "no"] = "no",
        seed: int = 0,
    ) -> None:
        if guide not in get_args(Source) or nested not in ("yes", "no"):
            raise ValueError(f"guide={guide!r}, nested={nested!r} are not known")
        if min(width, other_width, inner) < 1:
            raise ValueError(f"width={width}, other_width={other_width}, inner={inner}")
        super().__init__(
            width=width,
            other_width=other_width,
            guide=guide,
            inner=inner,
            beta=beta,
            nested=nested,
            seed=seed,
        )
        self.guide, self.beta, self.nested = guide, beta, nested
        self.other_width = other_width
        if guide == "density":
            self.gain = nn.Parameter(torch.zeros(()))
            return
        with drawing(seed):
            self.of_frame = nn.Linear(width, inner, bias=False)
            self.of_guide = nn.Linear(other_width, inner, bias=False)
        nn.init.zeros_(self.of_guide.weight)

    @property
    def reads(self) -> frozenset[str]:
        """The one field that guides it."""
        return frozenset({"other" if self.guide == "cross" else self.guide})

    def forward(self, s: TokenStream, b: Budget, g: Guide | None = None) -> TokenStream:
        """[B, T, D] -> [B, N, D]."""
        self.check(b)
        if torch.equal(s.resolve(b), s.lengths):
            return unchanged(s)
        plan = windows(s, b)
        return apply(s, plan, self.sharpened(self.relevance(s, g), plan, s))

    def stream(self, b: Budget) -> Streamer:
        """A streaming form at a whole rate; a window waits for its frames, and for their guide.

        Raises:
            NotCausalError: the nested softmax, which looks at the whole row.
        """
        self.check_stream(b)
        if self.nested == "yes":
            raise NotCausalError(
                f"compressor {self.card.name!r} needs the whole utterance with its nested softmax",
                todo='Build it with nested="no"',
            )
        return GuidedStreamer(self, b, streamed(self, b))

    def relevance(self, s: TokenStream, g: Guide | None) -> Tensor:
        """Relevance of each frame [B, T], zero where nothing guides."""
        guide = Guide() if g is None else g
        if self.guide == "density":
            told = guide.density
            if told is None:
                told = s.mask.new_zeros(s.mask.shape, dtype=self.gain.dtype)
            return self.gain * told.to(self.gain.dtype).masked_fill(~s.mask, 0.0)
        frames: Tensor = self.of_frame(clean(s).to(self.of_frame.weight.dtype))
        words = {"prompt": guide.prompt, "phrases": guide.phrases}.get(self.guide)
        other = guide.other if self.guide == "cross" else None
        score = frames[..., 0] * 0
        if other is not None and other.mask.shape[1] > 0:
            keys: Tensor = self.of_guide(
                of_width(clean(other), self.other_width, "other").to(frames.dtype)
            )
            index = aligned(s, other)[..., None].expand(-1, -1, keys.shape[-1])
            score = (frames * keys.gather(1, index)).sum(-1)
            score = score.masked_fill((other.lengths == 0)[:, None], 0.0)
        elif words is not None and words.shape[-2] > 0:
            keys = self.of_guide(of_width(words, self.other_width, self.guide).to(frames.dtype))
            if self.guide == "prompt":
                score = (frames * keys.mean(1, keepdim=True)).sum(-1)
            else:
                score = (frames @ keys.T).amax(-1)
        return score / math.sqrt(frames.shape[-1])

    def sharpened(self, score: Tensor, plan: Tensor, s: TokenStream) -> Tensor:
        """Weights [B, T], exp(beta * s) up to a factor for each window, zero at padding.

        Args:
            score: relevance [B, T].
            plan: window of each frame [B, T].
            s: the stream.
        """
        if self.nested == "yes":
            low = torch.finfo(score.dtype).min
            score = torch.softmax(score.masked_fill(~s.mask, low), 1) / 0.01
        score = score.masked_fill(~s.mask, 0.0)
        held = plan.clamp(min=0).masked_fill(~s.mask, 0)
        slots = int(held.max()) + 1 if held.numel() else 1
        top = score.new_full((len(plan), slots), float("-inf"))
        top = top.scatter_reduce(1, held, score.detach().where(s.mask, top[:, :1]), "amax")
        raised = torch.exp(self.beta * (score - top.gather(1, held)))
        return raised.masked_fill(~s.mask, 0.0)
