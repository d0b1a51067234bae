"""From tracked points to a level, centred mouth crop of constant scale.

points [T, 15, 2] px -> smoothed -> similarity transform to our mean face -> uint8 grey [96, 96].
The geometry here is part of every trained lip encoder: changing a number means training anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["POINTS", "SIDE", "Patch", "Place", "crop", "cut", "middle", "place", "smooth", "whole"]

SIDE = 96  # px of the crop
WINDOW = 4  # pictures on each side of the moving average; of 1 to 6 the steadiest nose on GRID

# Mesh points that speech hardly moves: eye corners, bridge and base of the nose; and where our mean
# face has them, in crop px from the mouth's centre.  The mean is over ten speakers of the GRID
# corpus, made symmetric; lips are then 58 px wide on average (54-63 px a speaker).
TEMPLATE = {
    33: (-50.20, -79.46),
    133: (-19.20, -77.76),
    362: (19.20, -77.76),
    263: (50.20, -79.46),
    168: (0.00, -84.72),
    6: (0.00, -75.29),
    197: (0.00, -66.91),
    195: (0.00, -59.18),
    98: (-19.36, -28.52),
    327: (19.36, -28.52),
    2: (0.00, -26.11),
}
MOUTH = (61, 291, 0, 17)  # corners, upper and lower edge of the lips: their mean is the centre
POINTS = (*TEMPLATE, *MOUTH)

_FACE = np.array([complex(x, y) for x, y in TEMPLATE.values()])
_FACE = _FACE - _FACE.mean()


@dataclass(frozen=True)
class Place:
    """A square in a picture, possibly turned.

    Attributes:
        x: centre, px.
        y: centre, px.
        scale: crop px a picture px.
        angle: radians, clockwise on the screen.
    """

    x: float
    y: float
    scale: float
    angle: float


@dataclass(frozen=True, eq=False)
class Patch:
    """The part of a picture that a crop may be taken from, perhaps shrunk.

    Attributes:
        image: uint8 grey.
        x: picture px of its left edge.
        y: picture px of its upper edge.
        shrink: picture px a patch px, 1 or more.
    """

    image: NDArray[np.uint8]
    x: int
    y: int
    shrink: int


def smooth(points: NDArray[np.float64], index: int) -> NDArray[np.float64]:
    """Moving average [15, 2] around one moment of a track [T, 15, 2], shorter at its ends."""
    reach = max(2, min(WINDOW, index, len(points) - 1 - index))
    low, high = max(0, index - reach), index + reach + 1
    mean: NDArray[np.float64] = points[low:high].mean(axis=0)
    return mean


def place(points: NDArray[np.float64]) -> Place:
    """The mouth's place by the least-squares similarity of [15, 2] points to the mean face."""
    z = points[:, 0] + 1j * points[:, 1]
    face, mouth = z[: len(_FACE)], z[len(_FACE) :].mean()
    face = face - face.mean()
    turn = np.vdot(face, _FACE) / max(float(np.vdot(face, face).real), 1e-9)
    return Place(mouth.real, mouth.imag, float(abs(turn)), -float(np.angle(turn)))


def cut(image: NDArray[np.uint8], where: Place, room: float = 1.2) -> Patch:
    """Copy the surroundings of a mouth from a picture (RGB), so that the picture can go.

    Args:
        image: uint8 RGB [Hpx, Wpx, 3].
        where: the mouth.
        room: half the copy's side in crops: enough for a turned crop that smoothing moves.
    """
    half = room * SIDE / where.scale
    height, width = image.shape[:2]
    x0, x1 = (int(np.clip(where.x + s * half, 0, width)) for s in (-1, 1))
    y0, y1 = (int(np.clip(where.y + s * half, 0, height)) for s in (-1, 1))
    x0, y0 = min(x0, width - 1), min(y0, height - 1)
    part = image[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    return _patch(part, x0, y0, max(1, int(1.0 / where.scale)))


def whole(image: NDArray[np.uint8]) -> Patch:
    """Copy a picture (RGB) in which the mouth is not known yet, shrunk when it is large."""
    return _patch(image, 0, 0, max(1, max(image.shape[:2]) // 1024))


def _patch(part: NDArray[np.uint8], x: int, y: int, shrink: int) -> Patch:
    grey = cv2.cvtColor(np.ascontiguousarray(part), cv2.COLOR_RGB2GRAY)
    if shrink > 1:  # average before sampling, or fine detail flickers
        high, wide = (max(1, length // shrink) for length in grey.shape)
        grey = np.ascontiguousarray(grey[: high * shrink, : wide * shrink])
        grey = cv2.resize(grey, (wide, high), interpolation=cv2.INTER_AREA)
    return Patch(np.asarray(grey, dtype=np.uint8), x, y, shrink)


def crop(patch: Patch, where: Place) -> NDArray[np.uint8]:
    """Sample the upright mouth, uint8 grey [96, 96]; beyond the picture its edge is repeated."""
    turn = where.scale * np.exp(-1j * where.angle)
    centre = (SIDE - 1) / 2
    scale = turn * patch.shrink
    offset = (patch.shrink - 1) / 2  # the centre of a shrunk pixel
    origin = complex(patch.x + offset - where.x, patch.y + offset - where.y) * turn
    matrix = np.array(
        [
            [scale.real, -scale.imag, origin.real + centre],
            [scale.imag, scale.real, origin.imag + centre],
        ]
    )
    made = cv2.warpAffine(
        patch.image, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(made, dtype=np.uint8)


def middle(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The middle square of a picture (RGB), uint8 grey [96, 96]."""
    height, width = image.shape[:2]
    side = min(height, width)
    x, y = (width - side) // 2, (height - side) // 2
    square = np.ascontiguousarray(image[y : y + side, x : x + side])
    grey = cv2.cvtColor(square, cv2.COLOR_RGB2GRAY)
    how = cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(grey, (SIDE, SIDE), interpolation=how), dtype=np.uint8)
