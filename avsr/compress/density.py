"""Weights of frames by how much they seem to say, and means weighted by them.

Data: TokenStream, perhaps Guide.density -> weights [B, T]; windows -> weighted means.
Density of CTC spikes as weight: FastLongSpeech (NeurIPS 2025).
"""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

from torch import Tensor

from avsr.compress.base import Card, Guide, Streamer, compressors
from avsr.compress.guided_stream import GuidedStreamer
from avsr.compress.plans import Grouping, plain, streamed, windows
from avsr.compress.windows import WindowStreamer
from avsr.errors import ConfigError
from avsr.streams import Budget, TokenStream

Weighting = Literal["none", "density", "energy"]


def frame_weights(s: TokenStream | None, by: Weighting, g: Guide | None) -> Tensor | None:
    """Weights of the tokens of a stream.

    Args:
        s: the stream; None only checks the name.
        by: "none"; "density" for the guide's, such as a CTC head's 1 - P(blank); "energy" for the
            mean square of the features.
        g: the guide.

    Returns:
        [B, T], not negative, zero at padding, those by energy in float64; None for "none".

    Raises:
        ValueError: no such weighting.
        ConfigError: density was asked for, and none is given.
    """
    if by not in get_args(Weighting):
        raise ValueError(f"weights must be one of {', '.join(get_args(Weighting))}, got {by!r}")
    if s is None or by == "none":
        return None
    if by == "energy":
        x = plain(s)
        top = x.abs().amax(-1, keepdim=True)
        mean = (x / top.where(top > 0, 1.0)).square().mean(-1).double()
        return mean * top.squeeze(-1).double().square()  # whose square is no float32 beyond 1e19
    if g is None or g.density is None:
        raise ConfigError(
            "weights by density need a density of each frame",
            todo='Give Guide.density [B, T], or choose weights "energy"',
        )
    return g.density.clamp(min=0).to(plain(s).dtype).masked_fill(~s.mask, 0.0)


@compressors.register("weighted")
class Weighted(Grouping):
    """Mean over fixed windows, each frame weighted by what it seems to say.

    Args:
        by: "energy", or "density" for the guide's.

    Raises:
        ValueError: another weighting.
    """

    card: ClassVar[Card] = Card(
        name="weighted",
        paper="FastLongSpeech",
        place="pre-llm",
        mechanism="attention",
        signal="density",
        op="weigh",
        contiguous=True,
        trainable=False,
        budgets=frozenset({"rate", "keep", "tokens", "per_second"}),
        streams=frozenset({"rate"}),
        nested=True,
        about="windows weighted by energy or CTC density",
    )

    def __init__(self, *, by: Weighting = "energy") -> None:
        super().__init__(by=by)
        if by == "none":
            raise ValueError("by must be energy or density: plain means are `pool`")
        frame_weights(None, by, None)
        self.by: Weighting = by

    @property
    def reads(self) -> frozenset[str]:
        """A density, if frames are weighed by one."""
        return frozenset({"density"} if self.by == "density" else ())

    def plan(self, s: TokenStream, b: Budget, g: Guide | None) -> Tensor:
        """Windows of a whole rate, or even ones."""
        return windows(s, b)

    def weights(self, s: TokenStream, plan: Tensor, g: Guide | None) -> Tensor | None:
        """The weighting asked for."""
        return frame_weights(s, self.by, g)

    def stream(self, b: Budget) -> Streamer:
        """A streaming form at a whole rate; a density comes with the frames that it weighs."""
        self.check_stream(b)
        if self.by == "energy":
            return WindowStreamer(self, b, streamed(self, b))
        return GuidedStreamer(self, b, streamed(self, b))
