"""Frames picked by index (USR 2.0's demo; others assume 25) drift up to 199 ms from the sound.

Here they are picked by time stamp: never further from it than half a picture of either rate.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from frontends.media import open_clip
from tests.frontends.clips import number, write_clip

RATES = {"23.976": 24000 / 1001, "25": 25.0, "29.97": 30000 / 1001, "50": 50.0, "60": 60.0}


def variable_times() -> list[float]:
    """Pictures at 30 a second, then 10, then 60: what a phone in the dark writes."""
    steps = [1 / 30] * 15 + [1 / 10] * 8 + [1 / 60] * 30
    return [0.0, *np.cumsum(steps).tolist()]


@pytest.mark.parametrize("rate", RATES)
def test_constant_rates_never_drift_a_frame(tmp_path: Path, rate: str) -> None:
    times = [k / RATES[rate] for k in range(round(2 * RATES[rate]))]
    clip = open_clip(write_clip(tmp_path / "clip.mkv", times=times))
    frames = list(clip.frames(25.0))
    assert clip.video is not None
    assert clip.video.fps == pytest.approx(RATES[rate], rel=1e-3)
    assert len(frames) == 50
    drift = [times[number(f.image)] - f.time for f in frames]
    assert max(abs(d) for d in drift) <= 0.5 / RATES[rate] + 2e-3


def test_variable_rate_never_drifts_where_the_index_rule_does(
    tmp_path: Path,
) -> None:
    times = variable_times()
    clip = open_clip(write_clip(tmp_path / "clip.mkv", times=times))
    frames = list(clip.frames(25.0))
    shown = [number(f.image) for f in frames]
    for frame, index in zip(frames, shown, strict=True):
        nearest = min(abs(t - frame.time) for t in times)
        assert times[index] - frame.time <= 0.02 + 2e-3  # never a picture that is not due yet
        assert abs(times[index] - frame.time) <= max(nearest, 0.1 - 0.02) + 2e-3
    assert shown == sorted(shown)
    by_index = np.linspace(0, len(times) - 1, len(frames)).round().astype(int)
    worst = max(abs(times[k] - f.time) for k, f in zip(by_index, frames, strict=True))
    assert worst > 0.15  # the fault, shown


def test_a_held_picture_stays_until_the_next_is_due(tmp_path: Path) -> None:
    clip = open_clip(write_clip(tmp_path / "clip.mkv", times=[0.0, 0.04, 1.0, 1.04]))
    shown = [number(f.image) for f in clip.frames(25.0)]
    assert shown[:2] == [0, 1]
    assert set(shown[2:25]) == {1}
    assert shown[25:27] == [2, 3]
