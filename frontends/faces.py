"""Where a face is and where its points are: MediaPipe's two small models, run by LiteRT.

uint8 RGB [Hpx, Wpx, 3] -> Face (a rotated square) -> Mesh (468 points, a score).  The networks are
BlazeFace, arXiv 1907.05047, and Face Mesh, arXiv 1907.06724 (weights Apache-2.0).
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from frontends.errors import RoiError

__all__ = ["BlazeFace", "Face", "FaceMesh", "Image", "Mesh"]

Image = NDArray[np.uint8]
Points = NDArray[np.float64]
Scores = NDArray[np.float64]

MARGIN = 1.5  # the mesh model was trained on squares this much larger than the face
_PLACES = [0, 2, 3, 4, 5, 6, 7]  # rows of a box that are places; row 1 is its size
RIGHT_EYE, LEFT_EYE = 33, 263  # outer corners in the mesh

# What the networks are given for each grey value: a look-up in a buffer that is kept costs a tenth
# of a division into new memory.
_FROM_ZERO = np.arange(256).astype(np.float32) / np.float32(255.0)  # to 1
_AROUND_ZERO = (np.arange(256) / 127.5 - 1.0).astype(np.float32)  # from -1 to 1


@dataclass(frozen=True)
class Face:
    """A face as a square.

    Attributes:
        x: centre, px.
        y: centre, px.
        side: of the face itself, px.
        angle: of the line through the eyes, radians, clockwise on the screen.
        score: 0 to 1.
    """

    x: float
    y: float
    side: float
    angle: float
    score: float = 1.0

    def overlaps(self, other: Face, share: float = 0.3) -> bool:
        """Whether two faces are in one place: intersection over union above `share`."""
        wide = min(self.x + self.side / 2, other.x + other.side / 2) - max(
            self.x - self.side / 2, other.x - other.side / 2
        )
        high = min(self.y + self.side / 2, other.y + other.side / 2) - max(
            self.y - self.side / 2, other.y - other.side / 2
        )
        both = max(0.0, wide) * max(0.0, high)
        return both > share * (self.side**2 + other.side**2 - both)


@dataclass(frozen=True, eq=False)
class Mesh:
    """Points of one face.

    Attributes:
        points: [468, 2], px in the picture.
        score: that a face is there, 0 to 1.
    """

    points: Points
    score: float

    def face(self) -> Face:
        """The square around the points, turned with the eyes: the next picture's region."""
        eyes = self.points[LEFT_EYE] - self.points[RIGHT_EYE]
        angle = math.atan2(eyes[1], eyes[0])
        turn = _rotation(-angle)
        level = self.points @ turn.T
        low, high = level.min(axis=0), level.max(axis=0)
        x, y = turn.T @ ((low + high) / 2)
        return Face(float(x), float(y), float((high - low).max()), angle, self.score)


class BlazeFace:
    """BlazeFace, short range: faces that fill at least about a sixth of the square they lie in.

    Args:
        weights: folder with face_detection_short_range.tflite.
        threshold: least score of a face.
    """

    size = 128

    def __init__(self, *, weights: Path, threshold: float = 0.5) -> None:
        self.threshold = threshold
        self._network = _Network(weights / "face_detection_short_range.tflite")
        self._input = np.empty((self.size, self.size, 3), dtype=np.float32)
        self._anchors = _anchors()

    def find(self, image: Image) -> list[Face]:
        """Return the faces of a picture, the largest first."""
        height, width = image.shape[:2]
        scale = self.size / max(height, width)
        small = _resize(image, scale)
        y0, x0 = ((self.size - length) // 2 for length in small.shape[:2])
        square = np.zeros((self.size, self.size, 3), dtype=np.uint8)
        square[y0 : y0 + small.shape[0], x0 : x0 + small.shape[1]] = small
        boxes, scores = self._detect(square)
        return _merge((boxes - _at(x0, y0)) / scale, scores)

    def search(self, image: Image) -> list[Face]:
        """Like `find`, and where it finds none, again in overlapping squares of the picture."""
        faces = self.find(image)
        side = least = min(image.shape[:2])
        while not faces and side >= max(96, least // 2):
            scale = self.size / side
            small = _resize(image, scale)
            found = []
            for y in _starts(small.shape[0], self.size):
                for x in _starts(small.shape[1], self.size):
                    boxes, scores = self._detect(small[y : y + self.size, x : x + self.size])
                    found += _merge((boxes + _at(x, y)) / scale, scores)
            faces = _distinct(found)
            side //= 2
        return faces

    def _detect(self, square: Image) -> tuple[Points, Scores]:
        """Boxes [n, 8, 2] (centre, size, 6 points) in px of a square [128, 128, 3], and scores."""
        cv2.LUT(np.ascontiguousarray(square), _AROUND_ZERO, dst=self._input)
        values, logits = self._network(self._input[None])
        scores = 1.0 / (1.0 + np.exp(-np.clip(logits[0, :, 0].astype(np.float64), -100, 100)))
        picked = scores > self.threshold
        boxes = values[0, picked].astype(np.float64).reshape(-1, 8, 2)
        boxes[:, _PLACES] += self._anchors[picked][:, None]
        return boxes, scores[picked]


class FaceMesh:
    """468 points of the face in a region.

    Args:
        weights: folder with face_landmark.tflite.
    """

    size = 192

    def __init__(self, *, weights: Path) -> None:
        self._network = _Network(weights / "face_landmark.tflite")
        self._crop = np.empty((self.size, self.size, 3), dtype=np.uint8)
        self._input = np.empty(self._crop.shape, dtype=np.float32)

    def read(self, image: Image, face: Face) -> Mesh:
        """Return the points of the face at or near the given square."""
        scale = self.size / (MARGIN * face.side)
        turn = scale * _rotation(-face.angle)
        shift = self.size / 2 - turn @ (face.x, face.y)
        cv2.warpAffine(
            image,
            np.column_stack([turn, shift]),
            (self.size, self.size),
            dst=self._crop,
            flags=cv2.INTER_LINEAR,
        )
        cv2.LUT(self._crop, _FROM_ZERO, dst=self._input)
        points, logit = self._network(self._input[None])
        flat = points.reshape(468, 3)[:, :2].astype(np.float64)
        back = (flat - shift) @ np.linalg.inv(turn).T
        return Mesh(back, 1.0 / (1.0 + math.exp(-min(100.0, max(-100.0, float(logit.item()))))))


class _Network:
    """A TFLite file with one input and two outputs, on one thread."""

    def __init__(self, path: Path) -> None:
        try:
            litert = importlib.import_module("ai_edge_litert.interpreter")  # it has no types
        except (ImportError, OSError) as error:
            raise RoiError(
                "the face models need the package ai-edge-litert",
                todo="pip install ai-edge-litert, or give mouth crops (roi 'given')",
            ) from error
        if not path.is_file():
            raise RoiError("no face model", where=str(path), todo="avsr pull face-models")
        try:
            self._net: Any = litert.Interpreter(model_path=str(path), num_threads=1)
            with _quiet_stderr():
                self._net.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise RoiError(
                "the face model cannot be loaded", where=str(path), todo="avsr pull face-models"
            ) from error
        self._input = self._net.get_input_details()[0]["index"]
        self._outputs = [detail["index"] for detail in self._net.get_output_details()]

    def __call__(self, x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        self._net.set_tensor(self._input, np.ascontiguousarray(x))
        self._net.invoke()
        return [self._net.get_tensor(index) for index in self._outputs]


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keep LiteRT's greeting off the terminal: it has no switch for it, and raises what matters."""
    try:
        kept = os.dup(2)
    except OSError:  # no standard error at all
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _anchors() -> Points:
    """[896, 2] centres in units of 128 px: a 16x16 grid with 2 each, an 8x8 grid with 6 each."""
    grids = []
    for cells, each in ((16, 2), (8, 6)):
        line = (np.arange(cells) + 0.5) * (128 / cells)
        y, x = np.meshgrid(line, line, indexing="ij")
        grids.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), each, axis=0))
    return np.concatenate(grids)


def _resize(image: Image, scale: float) -> Image:
    height, width = image.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=how), dtype=np.uint8)


def _at(x: int, y: int) -> Points:
    """[8, 2] to add to a box to move it."""
    shift = np.zeros((8, 2))
    shift[_PLACES] = x, y
    return shift


def _merge(boxes: Points, scores: Scores) -> list[Face]:
    """Blend boxes that overlap, weighted by score (BlazeFace section 3.4), the largest first."""
    order = np.argsort(-scores, kind="stable")
    faces = [_face(boxes[i], float(scores[i])) for i in order]
    merged: list[Face] = []
    left = list(range(len(faces)))
    while left:
        same = [i for i in left if faces[i].overlaps(faces[left[0]])] or [left[0]]
        weight = scores[order[same]]
        mean = (boxes[order[same]] * weight[:, None, None]).sum(axis=0) / weight.sum()
        merged.append(_face(mean, faces[left[0]].score))
        left = [i for i in left if i not in same]
    return _distinct(merged)


def _face(box: Points, score: float) -> Face:
    eyes = box[3] - box[2]
    angle = math.atan2(eyes[1], eyes[0])
    return Face(float(box[0, 0]), float(box[0, 1]), float(box[1].max()), angle, score)


def _distinct(faces: list[Face]) -> list[Face]:
    kept: list[Face] = []
    for face in sorted(faces, key=lambda f: (-f.side, f.x, f.y)):
        if face.side > 0 and not any(face.overlaps(other, 0.2) for other in kept):
            kept.append(face)
    return kept


def _starts(length: int, side: int) -> list[int]:
    count = 1 if length <= side else math.ceil((length - side) / (side / 2)) + 1
    return [round(k * (length - side) / max(1, count - 1)) for k in range(count)]


def _rotation(angle: float) -> Points:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
