"""Ways to find faces in a picture, one interface: uint8 RGB [Hpx, Wpx, 3] -> Face, Face, ...

A detector only says where to look: `frontends.faces.FaceMesh` decides whether a face is there and
follows it, so the crops do not depend on which detector found it first.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np

from frontends.errors import RoiError
from frontends.faces import BlazeFace, Face, Image

__all__ = [
    "DETECTORS",
    "Cascade",
    "Centre",
    "DetectorName",
    "FaceDetector",
    "YuNet",
    "make_detector",
]

DetectorName = Literal["blazeface", "yunet", "cascade", "centre"]
DETECTORS: tuple[DetectorName, ...] = ("blazeface", "yunet", "cascade", "centre")


class FaceDetector(Protocol):
    """Finds faces in single pictures."""

    def find(self, image: Image) -> list[Face]:
        """Return the faces of a picture, the largest first, in little time."""
        ...

    def search(self, image: Image) -> list[Face]:
        """The same with more effort, for a face that has been lost."""
        ...


class YuNet:
    """OpenCV's YuNet (Wu, Peng, Yu 2023), from a file of yours.

    Args:
        weights: the `.onnx` file.
        threshold: least score of a face.

    Raises:
        RoiError: this OpenCV has no YuNet, or the file is none.
    """

    longest = 640  # px to which a larger picture is scaled down

    def __init__(self, *, weights: Path, threshold: float = 0.6) -> None:
        made: Any = getattr(cv2, "FaceDetectorYN", None)
        if made is None:
            raise RoiError("this OpenCV has no YuNet", todo="pip install -U opencv-python")
        if not weights.is_file():
            raise RoiError("no such file of YuNet", where=str(weights), todo="Name its .onnx file")
        try:
            self._net = made.create(str(weights), "", (320, 320), threshold, 0.3, 5000)
        except cv2.error as error:
            raise RoiError("not a file of YuNet", where=str(weights)) from error

    def find(self, image: Image) -> list[Face]:
        """Return the faces of a picture, the largest first."""
        scale = min(1.0, self.longest / max(image.shape[:2]))
        return self._look(image, scale)

    def search(self, image: Image) -> list[Face]:
        """Look at the picture in its full size."""
        return self.find(image) or self._look(image, 1.0)

    def _look(self, image: Image, scale: float) -> list[Face]:
        height, width = (max(1, round(length * scale)) for length in image.shape[:2])
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        self._net.setInputSize((width, height))
        _, found = self._net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        if found is None:
            return []
        faces = []
        for row in np.asarray(found, dtype=np.float64) / scale:
            x, y, wide, high = row[:4]
            eyes = row[6:8] - row[4:6]  # the eye on the picture's left comes first
            angle = math.atan2(eyes[1], eyes[0])
            side = float(max(wide, high))
            score = float(row[14]) * scale
            faces.append(Face(float(x + wide / 2), float(y + high / 2), side, angle, score))
        return _largest_first(faces)


class Cascade:
    """OpenCV's cascade of Haar features (Viola, Jones 2001), where the installed OpenCV has it.

    Args:
        weights: its `.xml` file, None for the one that comes with OpenCV.

    Raises:
        RoiError: this OpenCV has no cascades (5.0 has not, 4.x has), or the file is none.
    """

    def __init__(self, *, weights: Path | None = None) -> None:
        made: Any = getattr(cv2, "CascadeClassifier", None)
        if made is None:
            raise RoiError(
                f"OpenCV {cv2.__version__} has no cascades",
                todo="Choose another detector, or pip install 'opencv-python<5'",
            )
        folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
        path = weights or Path(folder) / "haarcascade_frontalface_default.xml"
        self._net = made(str(path))
        if self._net.empty():
            raise RoiError("not a cascade of faces", where=str(path))

    def find(self, image: Image) -> list[Face]:
        """Return the faces of a picture, the largest first."""
        return self._look(image, 5)

    def search(self, image: Image) -> list[Face]:
        """Accept fainter faces."""
        return self.find(image) or self._look(image, 2)

    def _look(self, image: Image, sure: int) -> list[Face]:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        boxes = self._net.detectMultiScale(grey, 1.1, sure)
        faces = [Face(x + w / 2, y + h / 2, float(max(w, h)), 0.0) for x, y, w, h in boxes]
        return _largest_first(faces)


class Centre:
    """No detection: a face is taken to be in the middle, large or less so.

    For close pictures of one person in which a detector finds nothing.
    """

    sizes = (0.6, 0.9, 0.4)  # of the shorter side of the picture

    def find(self, image: Image) -> list[Face]:
        """Return one guess of each size: the mesh takes the first that holds a face."""
        height, width = image.shape[:2]
        shorter = min(height, width)
        return [Face(width / 2, height / 2, size * shorter, 0.0) for size in self.sizes]

    def search(self, image: Image) -> list[Face]:
        """The same: there is nothing to search."""
        return self.find(image)


def make_detector(name: DetectorName, *, models: Path, weights: Path | None = None) -> FaceDetector:
    """Make a detector by its name.

    Args:
        name: one of `DETECTORS`.
        models: folder of MediaPipe's face models, for "blazeface".
        weights: file of the detector, which "yunet" needs and "cascade" may have.

    Raises:
        RoiError: an unknown name, or what it needs is not here.
    """
    if name == "blazeface":
        return BlazeFace(weights=models)
    if name == "yunet":
        if weights is None:
            raise RoiError("YuNet needs its weights", todo="Give --detector-weights FILE.onnx")
        return YuNet(weights=weights)
    if name == "cascade":
        return Cascade(weights=weights)
    if name == "centre":
        return Centre()
    raise RoiError(f"no face detector {name!r}", todo=f"Choose one of {', '.join(DETECTORS)}")


def _largest_first(faces: list[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: (-face.side, face.x, face.y))
