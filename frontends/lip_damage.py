"""Kinds of damage to the picture of a mouth, at 25 pictures a second.

Data: uint8 grey crops [T, 96, 96] -> the same shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from frontends.damage_kind import Kind, Range, check, drawn, masks, spans

__all__ = [
    "LIPS",
    "Blur",
    "Flip",
    "FrozenFrames",
    "LipMask",
    "LipOffset",
    "LowResolution",
    "MissingFrames",
    "Occlusion",
    "Shift",
]

Crops = NDArray[np.uint8]
FPS = 25.0


@dataclass(frozen=True, kw_only=True)
class _Spans(Kind):
    """Damage to some of the pictures.

    Args:
        share: of the pictures; two numbers for a range.
        longest: s; most that one span lasts.
    """

    share: Range = (0.1, 0.5)
    longest: float = 0.4

    def __post_init__(self) -> None:
        """Check the sizes."""
        super().__post_init__()
        check("share", self.share, 0, 1)
        check("longest", self.longest, 1 / FPS, 3600)

    def chosen(self, frames: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Which of so many pictures."""
        return spans(frames, drawn(self.share, rng), round(self.longest * FPS), rng)


@dataclass(frozen=True, kw_only=True)
class MissingFrames(_Spans):
    """Pictures that are black."""

    def apply(self, crops: Crops, rng: np.random.Generator) -> Crops:
        """Blacken pictures of [T, 96, 96]."""
        damaged: Crops = crops.copy()
        damaged[self.chosen(len(crops), rng)] = 0
        return damaged


@dataclass(frozen=True, kw_only=True)
class FrozenFrames(_Spans):
    """Pictures that repeat the last one before them, as a call over a bad line shows them."""

    def apply(self, crops: Crops, rng: np.random.Generator) -> Crops:
        """Freeze pictures of [T, 96, 96]."""
        moving = ~self.chosen(len(crops), rng)
        moving[:1] = True
        latest = np.maximum.accumulate(np.where(moving, np.arange(len(crops)), 0))
        return crops[latest]


@dataclass(frozen=True, kw_only=True)
class Occlusion(_Spans):
    """Something flat before the mouth, in one place as long as it is there.

    Args:
        side: px of the square, of 96; two numbers for a range.
    """

    share: Range = (0.3, 1.0)
    longest: float = 4.0
    side: Range = (24, 64)

    def __post_init__(self) -> None:
        """Check the sizes."""
        super().__post_init__()
        check("side", self.side, 1, 96)

    def apply(self, crops: Crops, rng: np.random.Generator) -> Crops:
        """Cover a square in pictures of [T, 96, 96]."""
        covered: Crops = crops.copy()
        side = round(drawn(self.side, rng))
        y, x = (int(rng.integers(0, length - side + 1)) for length in crops.shape[1:])
        grey = int(rng.integers(0, 256))
        covered[self.chosen(len(crops), rng), y : y + side, x : x + side] = grey
        return covered


@dataclass(frozen=True, kw_only=True)
class LipMask(Kind):
    """Adaptive time masking (arXiv 2201.01763) of lips: spans are black.

    Args:
        per_second: spans a second of clip.
        longest: s; a span is as long as is drawn from 0 to this.
    """

    per_second: float = 1.0
    longest: float = 0.4

    def __post_init__(self) -> None:
        """Check the sizes."""
        super().__post_init__()
        check("per_second", self.per_second, 0, 25)
        check("longest", self.longest, 0, 10)

    def apply(self, crops: Crops, rng: np.random.Generator) -> Crops:
        """Blacken spans of [T, 96, 96]."""
        masked: Crops = crops.copy()
        for span in masks(len(crops), FPS, self.per_second, self.longest, rng):
            masked[span] = 0
        return masked


@dataclass(frozen=True, kw_only=True)
class Blur(Kind):
    """A lens out of focus.

    Args:
        sigma: px of the Gaussian; two numbers for a range.
    """

    sigma: Range = (1.0, 4.0)

    def __post_init__(self) -> None:
        """Check the size."""
        super().__post_init__()
        check("sigma", self.sigma, 0.01, 48)

    def apply(self, crops: Crops, rng: np.random.Generator) -> Crops:
        """Blur [T, 96, 96]."""
        sigma = drawn(self.sigma, rng)
        return _each(crops, lambda image: cv2.GaussianBlur(image, (0, 0), sigma))


@dataclass(frozen=True, kw_only=True)
class LowResolution(Kind):
    """A mouth of few pixels: shrunk and enlarged again.

    Args:
        side: px that are left of 96; two numbers for a range.
    """

    side: Range = (12, 48)

    def __post_init__(self) -> None:
        """Check the size."""
        super().__post_init__()
        check("side", self.side, 1, 96)

    def apply(self, crops: Crops, rng: np.random.Generator) -> Crops:
        """Shrink and enlarge [T, 96, 96]."""
        side = round(drawn(self.side, rng))
        height, width = crops.shape[1:]

        def coarse(image: Crops) -> Any:
            small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
            return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)

        return _each(crops, coarse)


@dataclass(frozen=True, kw_only=True)
class LipOffset(Kind):
    """Lips that come later than their sound, or earlier.

    Args:
        seconds: above 0 for later; two numbers for a range. The first or last picture is held.
    """

    seconds: Range = (-0.2, 0.2)

    def __post_init__(self) -> None:
        """Check the size."""
        super().__post_init__()
        check("seconds", self.seconds, -60, 60)

    def apply(self, crops: Crops, rng: np.random.Generator) -> Crops:
        """Move the pictures of [T, 96, 96] in time."""
        late = round(drawn(self.seconds, rng) * FPS)
        return crops[np.clip(np.arange(len(crops)) - late, 0, max(0, len(crops) - 1))]


@dataclass(frozen=True, kw_only=True)
class Flip(Kind):
    """A mirror: left and right change places."""

    chance: float = 0.5

    def apply(self, crops: Crops, rng: np.random.Generator) -> Crops:
        """Mirror [T, 96, 96]."""
        return np.ascontiguousarray(crops[:, :, ::-1])


@dataclass(frozen=True, kw_only=True)
class Shift(Kind):
    """Random crop: towers read the middle of a crop, so the whole picture is moved.

    Args:
        pixels: most px in each direction; 4 is a random crop of 88 in 96. The edge is repeated.
    """

    pixels: int = 4

    def __post_init__(self) -> None:
        """Check the size."""
        super().__post_init__()
        check("pixels", self.pixels, 1, 48)

    def apply(self, crops: Crops, rng: np.random.Generator) -> Crops:
        """Move all pictures of [T, 96, 96] alike."""
        down, right = (int(k) for k in rng.integers(-self.pixels, self.pixels + 1, size=2))
        rows, columns = (
            np.clip(np.arange(size) - step, 0, size - 1)
            for size, step in zip(crops.shape[1:], (down, right), strict=True)
        )
        return crops[:, rows[:, None], columns]


def _each(crops: Crops, change: Any) -> Crops:
    made = [np.asarray(change(np.ascontiguousarray(image)), dtype=np.uint8) for image in crops]
    return np.stack(made) if made else crops


LIPS: dict[str, Any] = {
    "missing_frames": MissingFrames,
    "frozen_frames": FrozenFrames,
    "occlusion": Occlusion,
    "lip_mask": LipMask,
    "blur": Blur,
    "low_resolution": LowResolution,
    "lip_offset": LipOffset,
    "flip": Flip,
    "shift": Shift,
}
