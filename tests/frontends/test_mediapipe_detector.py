"""The detector of the extra `mediapipe`, by a stand-in for its module: the real one has no model.

The stand-in has the names of mediapipe 0.10.30 and later: Image, ImageFormat, FaceDetector.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from frontends.errors import RoiError, SetupError
from frontends.face_detectors import MediaPipe, make_detector

IMAGE = np.zeros((200, 400, 3), np.uint8)


def block(image):
    """A detection of each coloured block: its box in px, its eyes as shares of the picture."""
    height, width = image.shape[:2]
    for value in (100, 200):
        y, x = np.nonzero(image[..., 0] == value)
        if len(y) == 0:
            continue
        top, left, high, wide = (int(n) for n in (y.min(), x.min(), np.ptp(y) + 1, np.ptp(x) + 1))
        if high != wide:  # cut by the picture's edge
            continue
        eyes = [(left + 0.3 * wide, top + 0.4 * high), (left + 0.7 * wide, top + 0.5 * high)]
        yield SimpleNamespace(
            bounding_box=SimpleNamespace(origin_x=left, origin_y=top, width=wide, height=high),
            keypoints=[SimpleNamespace(x=a / width, y=b / height) for a, b in eyes] * 3,
            categories=[SimpleNamespace(score=0.9)],
        )


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    """The module, and a file that it takes for a model."""

    class FaceDetector:
        @classmethod
        def create_from_options(cls, given):
            if b"model" not in Path(given.base_options.model_asset_path).read_bytes():
                raise RuntimeError("Unable to open\nflatbuffer")
            return cls()

        def detect(self, image):
            assert image.format == "rgb"
            assert image.data.flags["C_CONTIGUOUS"]
            return SimpleNamespace(detections=list(block(image.data)))

    root, tasks, vision = (ModuleType(name) for name in ("mediapipe", "tasks", "vision"))
    root.ImageFormat = SimpleNamespace(SRGB="rgb")
    root.Image = lambda image_format, data: SimpleNamespace(format=image_format, data=data)
    tasks.BaseOptions = lambda model_asset_path: SimpleNamespace(model_asset_path=model_asset_path)
    vision.FaceDetectorOptions = lambda **given: SimpleNamespace(**given)
    vision.FaceDetector = FaceDetector
    for name, module in (("", root), (".tasks.python", tasks), (".tasks.python.vision", vision)):
        monkeypatch.setitem(sys.modules, f"mediapipe{name}", module)
    weights = tmp_path / "blaze.tflite"
    weights.write_bytes(b"a model")
    return weights


def test_faces_come_with_size_and_turn(stand_in, tmp_path):
    image = IMAGE.copy()
    image[20:80, 10:70] = 100
    image[60:160, 200:300] = 200
    found = make_detector("mediapipe", models=tmp_path, weights=stand_in).find(image)
    assert [(f.x, f.y, f.side) for f in found] == [(250, 110, 100), (40, 50, 60)]
    assert found[0].angle == pytest.approx(math.atan2(10, 40))
    assert found[0].score == 0.9


def test_a_faint_face_is_sought_in_parts_once(stand_in):
    image = IMAGE.copy()
    image[60:140, 150:230] = 100
    detector = MediaPipe(weights=stand_in)
    whole = detector._net.detect
    detector._net.detect = lambda shown: (  # sees nothing in a picture as large as this
        SimpleNamespace(detections=[]) if shown.data.shape == image.shape else whole(shown)
    )
    assert detector.find(image) == []
    (face,) = detector.search(image)
    assert (face.x, face.y, face.side) == (190, 100, 80)


def test_without_the_package_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(SetupError, match=r"pip install 'avsr\[mediapipe\]'") as caught:
        MediaPipe(weights=tmp_path / "x")
    assert caught.value.exit_code == 3


def test_what_is_no_model_is_refused(stand_in, tmp_path):
    with pytest.raises(RoiError, match="no such model"):
        MediaPipe(weights=tmp_path / "none.tflite")
    stand_in.write_bytes(b"text")
    with pytest.raises(RoiError, match="not a face detector of mediapipe") as caught:
        MediaPipe(weights=stand_in)
    assert "\n" not in str(caught.value)
    with pytest.raises(RoiError, match="needs a model"):
        make_detector("mediapipe", models=tmp_path)
