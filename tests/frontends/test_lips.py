"""Laws of the mouth track, on real faces: centred, level, counted, bridged, the same every time."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from avsr.weights import pull
from frontends.clip import Clip, Frame, VideoInfo
from frontends.errors import AvsrError, RoiError
from frontends.lips import LipTracker
from frontends.media import open_clip
from tests.frontends.clips import numbered

pytestmark = [pytest.mark.weights, pytest.mark.data]

Pictures = list[NDArray[np.uint8]]


class Shown(Clip):
    """A clip of pictures in memory."""

    pictures: Sequence[NDArray[np.uint8]]

    def frames(self, fps: float = 25.0) -> Iterator[Frame]:
        """Give each picture in turn."""
        return (Frame(k / fps, image) for k, image in enumerate(self.pictures))


def shown(pictures: Sequence[NDArray[np.uint8]]) -> Clip:
    height, width = pictures[0].shape[:2]
    info = VideoInfo(width, height, 25.0, len(pictures) / 25)
    clip = Shown("memory", info.duration, None, info)
    object.__setattr__(clip, "pictures", pictures)
    return clip


@pytest.fixture(scope="module")
def tracker() -> LipTracker:
    pytest.importorskip("ai_edge_litert")
    try:
        folder = pull("face-models", local_files_only=True)
    except AvsrError as error:
        pytest.skip(f"no face models: {error}")
    return LipTracker(weights=folder)


@pytest.fixture(scope="module")
def faces(data: Path) -> dict[str, Pictures]:
    """Sixteen pictures of one test clip for each of three speakers."""
    found: dict[str, Pictures] = {}
    for line in (data / "manifest.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["corpus"] == "grid" and row["split"] == "test" and row["speaker"] not in found:
            clip = open_clip(data / row["video_filepath"], streams="v")
            found[row["speaker"]] = [f.image for f in clip.frames()][20:36]
    return found


def middle(tracker: LipTracker, crops: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Where row-wise darkness (the line between the lips) is in a mean crop, (x, y) px."""
    mean = crops.mean(axis=0)
    dark = np.clip(np.percentile(mean[24:72, 16:80], 15) - mean[24:72, 16:80], 0, None)
    y, x = np.mgrid[24:72, 16:80]
    return np.array([(x * dark).sum(), (y * dark).sum()]) / dark.sum()


def test_every_speaker_is_centred(tracker: LipTracker, faces: dict[str, Pictures]) -> None:
    for pictures in faces.values():
        roi = tracker.track(shown(pictures))
        assert roi.crops.shape == (16, 96, 96)
        assert roi.crops.dtype == np.uint8
        assert (roi.coverage, roi.faces, roi.warnings) == (1.0, 1, ())
        assert np.abs(middle(tracker, roi.crops) - 47.5).max() < 8


def test_twice_is_the_same(tracker: LipTracker, faces: dict[str, Pictures]) -> None:
    clip = shown(next(iter(faces.values())))
    assert np.array_equal(tracker.track(clip).crops, tracker.track(clip).crops)


@pytest.mark.parametrize("degrees", [-25, 20])
def test_a_tilted_head_gives_a_level_mouth(
    tracker: LipTracker, faces: dict[str, Pictures], degrees: float
) -> None:
    pictures = next(iter(faces.values()))
    height, width = pictures[0].shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    tilted = [cv2.warpAffine(p, turn, (width, height)) for p in pictures]
    straight = tracker.track(shown(pictures)).crops.astype(float)
    level = tracker.track(shown(tilted)).crops.astype(float)
    assert np.abs(straight - level)[:, 24:72, 16:80].mean() < 8


@pytest.mark.parametrize("zoom", [0.6, 1.7, 3.4])
def test_size_in_the_picture_does_not_matter(
    tracker: LipTracker, faces: dict[str, Pictures], zoom: float
) -> None:
    pictures = next(iter(faces.values()))[:6]
    scaled = [cv2.resize(p, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA if zoom < 1
                         else cv2.INTER_CUBIC) for p in pictures]  # fmt: skip
    one = tracker.track(shown(pictures)).crops.astype(float)
    two = tracker.track(shown(scaled)).crops.astype(float)
    assert np.abs(one - two)[:, 24:72, 16:80].mean() < 8


def test_two_faces_take_the_larger_and_say_so(
    tracker: LipTracker, faces: dict[str, Pictures]
) -> None:
    one, two = list(faces.values())[:2]
    big = [cv2.resize(p, None, fx=1.25, fy=1.25) for p in two]
    height = big[0].shape[0]
    small = [cv2.copyMakeBorder(p, height - p.shape[0], 0, 0, 0, cv2.BORDER_REPLICATE)
             for p in one]  # fmt: skip
    roi = tracker.track(shown([np.hstack(pair) for pair in zip(small, big, strict=True)]))
    alone = tracker.track(shown(big))
    assert roi.faces == 2
    assert any("2 faces" in w for w in roi.warnings)
    assert np.abs(roi.crops.astype(float) - alone.crops).mean() < 8


def test_a_gap_is_bridged_and_counted(tracker: LipTracker, faces: dict[str, Pictures]) -> None:
    pictures = list(next(iter(faces.values())))
    blank = np.full_like(pictures[0], 60)
    pictures[5:9] = [blank] * 4
    roi = tracker.track(shown(pictures))
    assert len(roi.crops) == 16
    assert roi.coverage == pytest.approx(12 / 16)
    assert any("75%" in w for w in roi.warnings)
    assert np.ptp(roi.crops[6].astype(int)) <= 2  # the blank picture itself, not another's mouth


def test_a_late_face_leaves_earlier_pictures_in_step(
    tracker: LipTracker, faces: dict[str, Pictures]
) -> None:
    pictures = next(iter(faces.values()))
    blank = np.full_like(pictures[0], 60)
    roi = tracker.track(shown([blank] * 40 + pictures))
    assert len(roi.crops) == 56
    assert 0.2 < roi.coverage < 0.3
    late = tracker.track(shown(pictures)).crops
    assert np.abs(roi.crops[-8:].astype(float) - late[-8:]).mean() < 4


def test_a_new_face_is_not_blended_with_the_old(
    tracker: LipTracker, faces: dict[str, Pictures]
) -> None:
    one, two = list(faces.values())[:2]
    shift = [np.roll(p, 140, axis=1) for p in two]
    roi = tracker.track(shown(one + shift))
    assert any("the view changes once" in w for w in roi.warnings)
    alone = tracker.track(shown(one)).crops
    assert np.array_equal(roi.crops[:12], alone[:12])


@pytest.mark.parametrize("kind", ["black", "noise", "bars"])
def test_no_face_is_an_error(tracker: LipTracker, kind: str) -> None:
    rng = np.random.default_rng(0)
    picture = {
        "black": np.zeros((288, 360, 3), dtype=np.uint8),
        "noise": rng.integers(0, 255, (288, 360, 3), dtype=np.uint8),
        "bars": numbered(341, 360, 288),
    }[kind]
    with pytest.raises(RoiError, match="no face"):
        tracker.track(shown([picture] * 6))


def test_no_picture_track_is_an_error(tracker: LipTracker) -> None:
    with pytest.raises(RoiError, match="no picture track"):
        tracker.track(Clip("a.wav", 1.0, np.zeros(16_000, dtype=np.float32), None))


def test_who_stops_early_leaves_no_thread(tracker: LipTracker, faces: dict[str, Pictures]) -> None:
    before = threading.active_count()
    stream = tracker.follow(shown(next(iter(faces.values()))))
    next(stream)
    assert threading.active_count() > before
    stream.close()
    assert threading.active_count() == before
