"""Laws of crops that are given, and of face models that are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from frontends.clip import Clip
from frontends.errors import RoiError
from frontends.lips import LipTracker, given
from frontends.media import open_clip


def test_given_crops_are_taken_as_they_are(clip_file: Callable[..., Path]) -> None:
    def picture(k: int) -> NDArray[np.uint8]:
        return np.full((96, 96, 3), 10 * k, dtype=np.uint8)

    times = [k / 25 for k in range(12)]
    path = clip_file("m.mkv", times=times, picture=picture, codec="ffv1", pix_fmt="gray")
    roi = given(open_clip(path))
    assert roi.crops.shape == (12, 96, 96)
    assert roi.crops.mean(axis=(1, 2)) == pytest.approx([10 * k for k in range(12)], abs=1)
    assert (roi.coverage, roi.faces, roi.warnings) == (1.0, 1, ())


def test_given_crops_of_another_shape_and_rate(clip_file: Callable[..., Path]) -> None:
    path = clip_file("m.mkv", times=[k / 50 for k in range(50)])
    roi = given(open_clip(path))
    assert roi.crops.shape == (25, 96, 96)
    assert any("160x96" in w for w in roi.warnings)


def test_given_without_pictures_is_an_error() -> None:
    with pytest.raises(RoiError, match="no picture track"):
        given(Clip("a.wav", 1.0, None, None))


def test_missing_face_models_say_what_to_pull(tmp_path: Path) -> None:
    with pytest.raises(RoiError, match="avsr pull face-models"):
        LipTracker(weights=tmp_path)
