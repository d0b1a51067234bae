"""Where a film cuts from one view to another.  uint8 RGB, picture by picture -> cut or not.

A face is not the same face beyond a cut, even in the same place: what is averaged over time must
not reach across.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from frontends.clip import Frame

__all__ = ["ShotWatch", "watched"]

SIDE = 32  # px of the thumbnails compared
ALIKE = 0.5  # correlation of two thumbnails below which they show different views
CHANGE = 12.0  # mean difference of grey values that a cut makes at least


class ShotWatch:
    """Compares each picture with the one before it."""

    def __init__(self) -> None:
        self._before: NDArray[np.float64] | None = None
        self.cuts = 0

    def cut(self, image: NDArray[np.uint8]) -> bool:
        """Take the next picture (RGB) and say whether the film cuts before it."""
        small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        grey = np.asarray(small, dtype=np.float64).mean(axis=-1)
        before, self._before = self._before, grey
        if before is None or np.abs(grey - before).mean() < CHANGE:
            return False
        a, b = grey - grey.mean(), before - before.mean()
        spread = float(np.sqrt((a * a).sum() * (b * b).sum()))
        alike = float((a * b).sum()) / spread if spread > 1e-9 else 0.0
        self.cuts += alike < ALIKE
        return alike < ALIKE


def watched(frames: Iterable[Frame]) -> Iterator[tuple[Frame, bool]]:
    """Each picture, with whether the film cuts before it."""
    watch = ShotWatch()
    return ((frame, watch.cut(frame.image)) for frame in frames)
