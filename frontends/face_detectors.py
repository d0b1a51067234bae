"""Ways to find faces in a picture, one interface: uint8 RGB [Hpx, Wpx, 3] -> Face, Face, ...

A detector only says where to look: `frontends.faces.FaceMesh` decides whether a face is there and
follows it, so the crops do not depend on which detector found it first.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np

from frontends.errors import RoiError, SetupError
from frontends.faces import BlazeFace, Face, Image

__all__ = [
    "DETECTORS",
    "Cascade",
    "Centre",
    "DetectorName",
    "FaceDetector",
    "MediaPipe",
    "YuNet",
    "make_detector",
]

DetectorName = Literal["blazeface", "yunet", "cascade", "mediapipe", "centre"]
DETECTORS: tuple[DetectorName, ...] = ("blazeface", "yunet", "cascade", "mediapipe", "centre")


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


class MediaPipe:
    """MediaPipe's own face detector, from a file of yours: the extra `mediapipe`.

    Its wheel carries no model; any `.tflite` or `.task` of its task "face detector" will do.

    Args:
        weights: the model's file.
        threshold: least score of a face.

    Raises:
        SetupError: mediapipe is not installed, or too old to have tasks.
        RoiError: the file is none of its models.
    """

    def __init__(self, *, weights: Path, threshold: float = 0.5) -> None:
        try:
            self._mp: Any = importlib.import_module("mediapipe")
            tasks = importlib.import_module("mediapipe.tasks.python")
            vision = importlib.import_module("mediapipe.tasks.python.vision")
        except (ImportError, OSError) as error:
            raise SetupError(
                f"the detector mediapipe cannot be imported ({error})",
                todo="pip install 'avsr[mediapipe]', or choose --detector blazeface",
            ) from error
        if not weights.is_file():
            raise RoiError("no such model of mediapipe", where=str(weights), todo="Name its file")
        options = vision.FaceDetectorOptions(
            base_options=tasks.BaseOptions(model_asset_path=str(weights)),
            min_detection_confidence=threshold,
        )
        try:
            self._net: Any = vision.FaceDetector.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            raise RoiError("not a face detector of mediapipe", where=str(weights)) from error

    def find(self, image: Image) -> list[Face]:
        """Return the faces of a picture, the largest first."""
        height, width = image.shape[:2]
        shown = self._mp.Image(
            image_format=self._mp.ImageFormat.SRGB, data=np.ascontiguousarray(image)
        )
        faces = []
        for found in self._net.detect(shown).detections:
            box, (one, two) = found.bounding_box, found.keypoints[:2]  # the eyes come first
            angle = math.atan2((two.y - one.y) * height, (two.x - one.x) * width)
            x, y = box.origin_x + box.width / 2, box.origin_y + box.height / 2
            side, score = float(max(box.width, box.height)), float(found.categories[0].score)
            faces.append(Face(x, y, side, angle, score))
        return _largest_first(faces)

    def search(self, image: Image) -> list[Face]:
        """Look at each quarter of the picture too, where a face is larger."""
        faces = self.find(image)
        height, width = (length // 2 for length in image.shape[:2])
        if faces or min(height, width) < 64:
            return faces
        for top in (0, height // 2, height):
            for left in (0, width // 2, width):
                part = image[top : top + height, left : left + width]
                faces += [replace(f, x=f.x + left, y=f.y + top) for f in self.find(part)]
        kept: list[Face] = []
        for face in _largest_first(faces):  # the quarters overlap
            if not any(face.overlaps(other, 0.2) for other in kept):
                kept.append(face)
        return kept


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
        weights: file of the detector, which "yunet" and "mediapipe" need and "cascade" may have.

    Raises:
        RoiError: an unknown name, or what it needs is not here.
        SetupError: its package is not installed.
    """
    if name == "blazeface":
        return BlazeFace(weights=models)
    if name == "yunet":
        if weights is None:
            raise RoiError("YuNet needs its weights", todo="Give --detector-weights FILE.onnx")
        return YuNet(weights=weights)
    if name == "cascade":
        return Cascade(weights=weights)
    if name == "mediapipe":
        if weights is None:
            raise RoiError("mediapipe needs a model", todo="Give --detector-weights FILE.tflite")
        return MediaPipe(weights=weights)
    if name == "centre":
        return Centre()
    raise RoiError(f"no face detector {name!r}", todo=f"Choose one of {', '.join(DETECTORS)}")


def _largest_first(faces: list[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: (-face.side, face.x, face.y))
