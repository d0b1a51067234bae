"""Guided windows on live streams: frames wait for the end of their window, and for their guide.

Data: chunks of TokenStream and Guide -> the tokens that each pair of chunks completes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avsr.compress.base import Compressor, Guide, Streamer
from avsr.compress.windows import concat, cut, forget, joined, moved
from avsr.streams import Budget, TokenStream


class GuidedStreamer(Streamer):
    """A compressor of fixed windows and a guide at work on live streams.

    A density comes with the frames that it weighs, with all of a stream or with none. Frames of
    the other modality come as they are there, at their own rate and with their own times: a window
    waits until they reach its end, so that what comes late changes no token. A row of which the
    other modality never comes waits for the end of the stream; without any guide nobody waits.
    Phrases and prompts are those of the last step.

    Args:
        compressor: what turns whole windows into tokens.
        budget: the budget it does that at.
        window: frames of a window.
    """

    def __init__(self, compressor: Compressor, budget: Budget, window: int) -> None:
        self._compressor, self._budget, self._window = compressor, budget, window
        self._held: TokenStream | None = None
        self._other: TokenStream | None = None
        self._density: Tensor | None = None  # of the frames held [B, T]
        self._dense: bool | None = None  # whether frames come with one; None before any came
        self._words = Guide()

    def step(self, s: TokenStream, g: Guide | None = None) -> TokenStream:
        """Take the next frames and their guide, give out the tokens of windows that are complete.

        Args:
            s: next frames [B, T, D], each row of its own length, with times that go on.
            g: density of these frames [B, T]; the other modality's frames since the last step.

        Returns:
            Tokens completed; `owner` counts only the frames that went into them.

        Raises:
            ValueError: another number of rows than before, a density of other frames, or one for
                some of the frames alone.
        """
        g = Guide() if g is None else g
        density = self._checked(s, g.density)
        if g.other is not None:
            self._other = g.other if self._other is None else concat([self._other, g.other])
        if g.prompt is not None or g.phrases is not None:
            self._words = Guide(prompt=g.prompt, phrases=g.phrases)
        if density is not None:
            self._density = joined(self._held, self._density, s, density)
        self._held = s if self._held is None else concat([self._held, s])
        length = self._held.lengths
        ready = self._guided(self._held).minimum(length) // self._window * self._window
        return self._out(ready)

    def flush(self) -> TokenStream:
        """Give out what is left at the end of the streams, and start anew.

        Raises:
            ValueError: nothing was ever put in.
        """
        if self._held is None:
            raise ValueError("flush() before any step()")
        rest = self._out(self._held.lengths)
        self.reset()
        return rest

    def reset(self, rows: Tensor | None = None) -> None:
        """Forget what is held of some rows [N] long, or of all."""
        self._held, self._other = forget(self._held, rows), forget(self._other, rows)
        if self._held is None:
            self._density, self._dense, self._words = None, None, Guide()
        elif self._density is not None:
            self._density = self._density[:, : self._held.mask.shape[1]]

    def _checked(self, s: TokenStream, density: Tensor | None) -> Tensor | None:
        """The density of the next frames; one of no frames says nothing.

        Raises:
            ValueError: it is of other frames, or some frames of the stream come without one.
        """
        if density is not None and density.shape != s.mask.shape:
            raise ValueError(f"density {list(density.shape)} of frames {list(s.mask.shape)}")
        if not bool(s.mask.any()):
            return None
        told = density is not None
        if self._dense is not None and told != self._dense:
            raise ValueError(
                f"these frames come {'with' if told else 'without'} a density, those before them "
                f"{'without' if told else 'with'} one; give it for all or for none"
            )
        self._dense = told
        return density

    def _guided(self, held: TokenStream) -> Tensor:
        """Frames of each row [B] that the other modality has reached; all without one."""
        if self._other is None:
            return held.lengths
        known = self._other.t1.masked_fill(~self._other.mask, float("-inf"))
        until = (
            known.amax(1, keepdim=True) if known.shape[1] else known.new_full((len(known), 1), 0)
        )
        return (((held.t0 + held.t1) / 2 < until) & held.mask).sum(1)

    def _out(self, ready: Tensor) -> TokenStream:
        """Tokens of the first frames [B] of each row; the others go on waiting."""
        held = self._held
        assert held is not None
        start = torch.zeros_like(ready)
        now, later = cut(held, start, ready), cut(held, ready, held.lengths)
        density, rest = None, None
        if self._density is not None:
            density = moved(self._density, start, now)
            rest = moved(self._density, ready, later)
        guide = Guide(
            prompt=self._words.prompt,
            phrases=self._words.phrases,
            other=self._other,
            density=density,
        )
        out = self._compressor(now, self._budget, guide)
        self._held, self._density = later, rest
        if self._other is not None:
            self._other = _since(self._other, later, now)
        return out


def _since(other: TokenStream, later: TokenStream, now: TokenStream) -> TokenStream:
    """The other modality without what ended before the frames that wait, but for its last frame."""
    done = now.t1.amax(1) if now.mask.shape[1] else now.t1.new_zeros(len(now.mask))
    edge = done
    if later.mask.shape[1]:
        edge = torch.where(later.lengths > 0, later.t0[:, 0], done)
    past = ((other.t1 <= edge[:, None]) & other.mask).sum(1)
    return cut(other, past.minimum(other.lengths - 1).clamp(min=0), other.lengths)
