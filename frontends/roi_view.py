"""A film for people: the face with its crop drawn in, and the crop beside it.

Clip, Roi -> uint8 RGB [288, W, 3] at 25 pictures a second.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from frontends.clip import Clip
from frontends.lips import FPS, Roi
from frontends.roi_align import SIDE, Place

__all__ = ["view"]

HEIGHT = 288  # px of the film
SEEN, LOST = (64, 220, 64), (220, 64, 64)


def view(clip: Clip, roi: Roi) -> Iterator[NDArray[np.uint8]]:
    """Draw where each crop was taken from.

    Args:
        clip: with a picture track.
        roi: its mouth track.

    Returns:
        The pictures, one at a time; they are decoded once more.

    Raises:
        MediaError: the picture cannot be decoded.
    """
    places = roi.places or (None,) * len(roi.crops)
    for frame, mouth, place in zip(clip.frames(FPS), roi.crops, places, strict=True):
        height, width = frame.image.shape[:2]
        size = max(2, 2 * round(width * HEIGHT / height / 2)), HEIGHT
        how = cv2.INTER_AREA if height > HEIGHT else cv2.INTER_LINEAR
        face = np.ascontiguousarray(cv2.resize(frame.image, size, interpolation=how))
        if place is not None:
            corners = _corners(place) * (size[0] / width, HEIGHT / height)
            cv2.polylines(face, [np.rint(corners).astype(np.int32)], True, SEEN, 2)
        elif roi.places:
            cv2.rectangle(face, (0, 0), (size[0] - 1, HEIGHT - 1), LOST, 2)
        large = cv2.resize(mouth, (HEIGHT, HEIGHT), interpolation=cv2.INTER_CUBIC)
        beside = cv2.cvtColor(large, cv2.COLOR_GRAY2RGB)
        yield np.asarray(np.hstack([face, beside]), dtype=np.uint8)


def _corners(place: Place) -> NDArray[np.float64]:
    """[4, 2] corners of a crop in its picture, px."""
    half = SIDE / 2 / place.scale
    cos, sin = np.cos(place.angle), np.sin(place.angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    return np.asarray(square @ turn.T + (place.x, place.y), dtype=np.float64)
