"""What every kind of damage shares: its chance, and numbers that may be ranges.

A kind is a frozen dataclass whose fields are its YAML keys.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Kind", "Range", "check", "drawn", "masks", "spans"]

Range = float | tuple[float, float]  # a number, or the two ends of what it is drawn from


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of damage.

    Args:
        chance: share of clips that get it.
    """

    chance: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a chance that is none."""
        if not 0 < self.chance <= 1:
            raise ValueError(f"chance must be above 0 and at most 1, got {self.chance}")


def drawn(value: Range, rng: np.random.Generator) -> float:
    """A number as it is, or one between the ends of a range."""
    return float(rng.uniform(*value)) if isinstance(value, tuple) else float(value)


def check(name: str, value: Range, low: float, high: float) -> None:
    """Raise ValueError where a number or an end of a range lies outside [low, high]."""
    ends = value if isinstance(value, tuple) else (value,)
    if any(not (math.isfinite(end) and low <= end <= high) for end in ends):
        raise ValueError(f"{name} must lie from {low:g} to {high:g}, got {value}")
    if list(ends) != sorted(ends):
        raise ValueError(f"{name} must rise from its first end to its second, got {value}")


def spans(frames: int, share: float, longest: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Choose a share of some frames, in spans at random places.

    Args:
        frames: how many there are, T.
        share: of them to choose, 0 to 1.
        longest: most frames of one span.
        rng: the chance.

    Returns:
        True for round(share * T) of the frames [T].
    """
    chosen = np.zeros(frames, dtype=np.bool_)
    while (left := round(share * frames) - int(chosen.sum())) > 0:
        first = int(rng.choice(np.flatnonzero(~chosen)))
        width = min(int(rng.integers(1, max(1, longest) + 1)), left)
        chosen[first : first + width] = True
    return chosen


def masks(
    frames: int, hz: float, per_second: float, longest: float, rng: np.random.Generator
) -> Iterator[slice]:
    """Draw the spans of adaptive time masking (arXiv 2201.01763); they may overlap.

    Args:
        frames: length of the clip, T.
        hz: frames a second.
        per_second: spans a second of clip.
        longest: s; a span is as long as is drawn from 0 to this.
        rng: the chance.
    """
    for _ in range(round(per_second * frames / hz)):
        width = min(int(rng.uniform(0, longest) * hz), frames)
        first = int(rng.integers(0, frames - width + 1))
        yield slice(first, first + width)
