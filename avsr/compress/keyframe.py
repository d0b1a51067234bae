"""Key frames: segments begin where the stream changes, and the telling ones get more tokens.

Data: TokenStream [B, T, D], Budget -> [B, N, D]; after KFFocus, arXiv 2508.08989.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avsr.compress.base import Card, Guide, Streamer, compressors
from avsr.compress.cosine import to_previous
from avsr.compress.density import frame_weights
from avsr.compress.plans import Grouping, plain
from avsr.compress.windows import GroupStreamer
from avsr.streams import Budget, TokenStream

Array = npt.NDArray[Any]
STEP = 1e-3  # seconds between compensation frames: with less there are more of them than frames


@compressors.register("keyframe")
class Keyframe(Grouping):
    """Segments from key frame to key frame, the more relevant ones cut less.

    1. A frame is key if it is new enough, 1 - cos to the one before above `novelty`, and the last
       key lies `least` seconds back; or if that lies `most` seconds back. The first frame is.
    2. Gaps between keys are filled with evenly spaced compensation frames, one each `step` seconds.
    3. A segment of L frames becomes ceil(L / d) tokens, d = `fine` for the most relevant segments,
       `coarse` for the others. A number of tokens decides how many are relevant; beyond what that
       can reach, both d grow or shrink together, and the longest segments are topped up.

    At a threshold of similarity a the rule of 1 is cos < a, all segments are coarse, and the number
    is free; it then streams, and a token waits for the next key frame, `most` seconds at the most.

    Args:
        novelty: of a key frame.
        least: seconds between keys at least.
        most: seconds between keys at most.
        step: seconds between compensation frames.
        fine: frames a token of relevant segments.
        coarse: frames a token of the others.
        relevance: "novelty" of its frames, or their "density" or "energy".

    Raises:
        ValueError: settings out of range.
    """

    card: ClassVar[Card] = Card(
        name="keyframe",
        paper="arXiv 2508.08989",
        place="pre-llm",
        mechanism="attention",
        signal="cosine",
        op="merge",
        contiguous=True,
        trainable=False,
        budgets=frozenset({"rate", "keep", "tokens", "per_second", "threshold"}),
        streams=frozenset({"threshold"}),
        about="scene cuts, two rates between them",
    )

    def __init__(
        self,
        *,
        novelty: float = 0.3,
        least: float = 0.08,
        most: float = 0.32,
        step: float = 0.16,
        fine: float = 2.0,
        coarse: float = 4.0,
        relevance: Literal["novelty", "density", "energy"] = "novelty",
    ) -> None:
        if not 0 < least <= most or not step >= STEP or not 1 <= fine <= coarse:
            raise ValueError(
                f"it must be 0 < least <= most, step from {STEP:g} and 1 <= fine <= coarse, got "
                f"least={least:g}, most={most:g}, step={step:g}, fine={fine:g}, coarse={coarse:g}"
            )
        if relevance not in ("novelty", "density", "energy"):
            raise ValueError(f"relevance={relevance!r} is not known")
        super().__init__(
            novelty=novelty,
            least=least,
            most=most,
            step=step,
            fine=fine,
            coarse=coarse,
            relevance=relevance,
        )
        self.novelty, self.least, self.most, self.step = novelty, least, most, step
        self.fine, self.coarse, self.relevance = fine, coarse, relevance

    @property
    def reads(self) -> frozenset[str]:
        """A density, if frames are weighed by one."""
        return frozenset({"density"} if self.relevance == "density" else ())

    def plan(self, s: TokenStream, b: Budget, g: Guide | None) -> Tensor:
        """Row by row on the CPU: a row has few segments."""
        new = 1 - to_previous(plain(s))
        free = b.kind == "threshold"  # nobody asks how relevant a segment is
        told = new
        if self.relevance != "novelty" and not free:
            weights = frame_weights(s, self.relevance, g)
            assert weights is not None
            told = weights
        out = torch.zeros(s.mask.shape, dtype=torch.long)
        lengths, counts = s.lengths.tolist(), s.resolve(b).tolist()
        scores = zip(new.double().cpu().numpy(), told.double().cpu().numpy(), strict=True)
        limit = 1 - b.value if free else self.novelty
        for row, (novelty, relevance) in enumerate(scores):
            length = lengths[row]
            if not length:
                continue
            hz = _hz(s, row, length)
            relevance = np.nan_to_num(relevance[:length], posinf=0.0)
            starts = self.starts(novelty[:length], limit, hz)
            if free:
                owned = np.ceil(np.diff([*starts, length]) / self.coarse).astype(int)
            else:
                starts, owned = self._allotted(starts, relevance, length, counts[row])
            out[row, :length] = torch.from_numpy(_owner(starts, owned, length))
        return out.to(s.device)

    def starts(self, novelty: Array, limit: float, hz: float) -> list[int]:
        """Frames at which segments start, keys and compensation frames.

        Args:
            novelty: of each frame [T]; that of the first is not read.
            limit: novelty of a key frame.
            hz: frames per second.
        """
        keys = self.keys(novelty, limit, hz)
        between = compensation(keys, len(novelty), self.step * hz)
        return sorted({*keys, *(frame for gap in between for frame in gap)})

    def keys(self, novelty: Array, limit: float, hz: float) -> list[int]:
        """Key frames, the first frame among them; arguments as of `starts`."""
        least, most = (max(1, round(seconds * hz)) for seconds in (self.least, self.most))
        keys = [0]
        for frame in range(1, len(novelty)):
            since = frame - keys[-1]
            if (novelty[frame] > limit and since >= least) or since >= most:
                keys.append(frame)
        return keys

    def stream(self, b: Budget) -> Streamer:
        """A streaming form at a threshold; tokens wait for the key frame after them."""
        self.check_stream(b)

        def before_last_key(held: TokenStream) -> Tensor:
            new = 1 - to_previous(plain(held))
            last = [
                self.keys(
                    row[:length].double().cpu().numpy(), 1 - b.value, _hz(held, number, length)
                )
                for number, (row, length) in enumerate(zip(new, held.lengths.tolist(), strict=True))
            ]
            return torch.tensor([keys[-1] for keys in last], device=held.device)

        return GroupStreamer(self, b, before_last_key)

    def _allotted(
        self, starts: list[int], relevance: Array, length: int, count: int
    ) -> tuple[list[int], Array]:
        """Starts of segments, fewer if there are more than tokens, and the tokens of each."""
        if len(starts) > count:
            inner = np.array(starts[1:], dtype=int)
            best = inner[np.argsort(-relevance[inner], kind="stable")[: count - 1]]
            starts = [0, *sorted(int(frame) for frame in best)]
        sizes = np.diff([*starts, length])
        total = np.add.reduceat(relevance, starts)
        return starts, allot(sizes, total / sizes, count, self.fine, self.coarse)


def _hz(s: TokenStream, row: int, length: int) -> float:
    """Tokens a second of a row, which may be long ones."""
    return s.hz * length / max(1, int(s.frames[row]))


def compensation(keys: Sequence[int], frames: int, step: float) -> list[list[int]]:
    """Evenly spaced frames in each gap between key frames, floor(gap / step) of them.

    Args:
        keys: key frames, ascending.
        frames: end of the last gap.
        step: frames; KFFocus takes a share of the duration, speech wants seconds.
    """
    ends = [*keys[1:], frames]
    out = []
    for start, end in zip(keys, ends, strict=True):
        count = int((end - start) / step + 1e-9)
        out.append([start + int((i + 1) * (end - start) / (count + 1)) for i in range(count)])
    return out


def allot(sizes: Array, relevance: Array, count: int, fine: float, coarse: float) -> Array:
    """Tokens of each segment, exactly `count` in all.

    Args:
        sizes: frames of each segment [S].
        relevance: of each segment [S].
        count: tokens, from S to the sum of the sizes.
        fine: frames a token of the most relevant segments.
        coarse: frames a token of the others.
    """
    order = np.argsort(-relevance, kind="stable")

    def tokens(relevant: int, scale: float) -> Array:
        by = np.full(len(sizes), max(1.0, coarse * scale))
        by[order[:relevant]] = max(1.0, fine * scale)
        needed: Array = np.ceil(sizes / by - 1e-9).astype(int)
        return needed

    relevant, scale = 0, 1.0
    if tokens(0, 1.0).sum() > count:  # even coarse segments are too many: larger d for all
        scale = _least_scale(lambda by: tokens(0, by).sum() <= count, 1.0, float(sizes.max()))
    elif tokens(len(sizes), 1.0).sum() < count:
        relevant = len(sizes)
        scale = _least_scale(lambda by: tokens(relevant, by).sum() <= count, 0.0, 1.0)
    else:
        while relevant < len(sizes) and tokens(relevant + 1, 1.0).sum() <= count:
            relevant += 1
    owned = tokens(relevant, scale)
    while owned.sum() < count:
        owned[int(np.argmax(np.where(owned < sizes, sizes / owned, -1.0)))] += 1
    return owned


def _least_scale(fits: Callable[[float], bool], low: float, high: float) -> float:
    """The smallest scale that fits, which `high` does, by bisection."""
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def _owner(starts: Sequence[int], owned: Array, length: int) -> Array:
    """Token of each frame [T]: every segment in even parts."""
    sizes = np.diff([*starts, length])
    within = np.arange(length) - np.repeat(starts, sizes)
    first = np.repeat(np.cumsum(owned) - owned, sizes)
    owner: Array = first + within * np.repeat(owned, sizes) // np.repeat(sizes, sizes)
    return owner
