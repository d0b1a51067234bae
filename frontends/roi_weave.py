"""A stream of pictures and face points -> a stream of crops, with gaps bridged and jitter averaged.

Only the surroundings of the mouth are kept, and only until the smoothing window has passed.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from frontends.roi_align import SIDE, WINDOW, Patch, Place, crop, cut, place, smooth, whole

__all__ = ["BRIDGE", "Weaver"]

BRIDGE = 25  # pictures without a face that are bridged between where it was and where it is again

Points = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Moment:
    """A picture whose points are settled; None before the first face."""

    points: Points | None
    run: int


_GONE = _Moment(None, -1)


@dataclass
class Weaver:
    """Makes each crop a few pictures after it was given the picture.

    A run is an unbroken stretch of one face; nothing is averaged across runs.
    """

    moments: list[_Moment] = field(default_factory=list)
    patches: dict[int, Patch] = field(default_factory=dict)  # of pictures not yet cropped
    waiting: int = 0  # pictures without a face since the last settled one
    made: int = 0
    run: int = 0
    track: int = 0
    last: Points | None = None
    spot: Place | None = None
    broken: bool = False  # a gap too long to bridge
    places: list[Place | None] | None = None  # of the crops made; a list where they are asked for
    before: deque[tuple[Place | None, int]] = field(default_factory=lambda: deque(maxlen=2))
    strayed: float = 0.0  # px^2, sum over the triples
    triples: int = 0  # of crops one after the other in one run

    def add(
        self, image: NDArray[np.uint8], points: Points | None, track: int
    ) -> list[NDArray[np.uint8]]:
        """Take one picture (RGB) with its points [15, 2], or None, and the number of its face.

        Returns:
            The crops [96, 96] that are now ready, in order.
        """
        index = len(self.moments) + self.waiting
        if points is not None:
            self.spot = place(points)
            self.patches[index] = cut(image, self.spot)
            self._bridge(points, track)
        else:
            self.patches[index] = whole(image) if self.spot is None else cut(image, self.spot, 2.4)
            self.waiting += 1
            if self.waiting > BRIDGE:
                self._hold()
                self.broken = self.last is not None
        return self._make(WINDOW)

    def finish(self) -> list[NDArray[np.uint8]]:
        """Return the crops that are left."""
        self._hold()
        return self._make(0)

    def jitter(self) -> float:
        """How far crops so far stray from steady motion, crop px, root mean square in each run."""
        return math.sqrt(self.strayed / self.triples) if self.triples else 0.0

    def _note(self, where: Place | None, run: int) -> None:
        """Remember where a crop was taken from, as far as anybody asks for it."""
        if len(self.before) == 2:
            (one, first), (two, second) = self.before
            if one and two and where and first == second == run:
                x, y = one.x - 2 * two.x + where.x, one.y - 2 * two.y + where.y
                self.strayed += (x * x + y * y) * two.scale**2
                self.triples += 1
        self.before.append((where, run))
        if self.places is not None:
            self.places.append(where)

    def _bridge(self, points: Points, track: int) -> None:
        """Settle the pictures since the face was last seen, and this one."""
        if self.last is None:  # where the first face is now, it was a moment before
            self._settle([points] * self.waiting)
        elif track == self.track and not self.broken:
            steps = np.arange(1, self.waiting + 1) / (self.waiting + 1)
            self._settle([(1 - share) * self.last + share * points for share in steps])
        else:
            self._hold()
            self.run += 1
        self.track, self.last, self.broken = track, points, False
        self._settle([points])
        self.waiting = 0

    def _hold(self) -> None:
        """Settle the waiting pictures where the face was last seen."""
        self._settle([self.last] * self.waiting)
        self.waiting = 0

    def _settle(self, points: list[Points | None] | list[Points]) -> None:
        self.moments += [_Moment(p, -1 if p is None else self.run) for p in points]

    def _make(self, wait: int) -> list[NDArray[np.uint8]]:
        """Crop every picture that has `wait` settled ones behind it."""
        crops = []
        while self.made + wait < len(self.moments):
            index, patch = self.made, self.patches.pop(self.made)
            near = self._same_run(index)
            where = None if near is None else place(smooth(*near))
            if where is None:
                crops.append(np.zeros((SIDE, SIDE), dtype=np.uint8))
            else:
                crops.append(crop(patch, where))
            self._note(where, self.moments[index].run)
            if index >= WINDOW:  # no later picture is averaged with that one
                self.moments[index - WINDOW] = _GONE
            self.made += 1
        return crops

    def _same_run(self, index: int) -> tuple[Points, int] | None:
        """The points around a picture that may be averaged with its own, and its place there."""
        own = self.moments[index]
        if own.points is None:
            return None
        first = max(0, index - WINDOW)
        near = self.moments[first : index + WINDOW + 1]
        kept = [k + first for k, moment in enumerate(near) if moment.run == own.run]
        stack = np.stack([p for k in kept if (p := self.moments[k].points) is not None])
        return stack, kept.index(index)
