"""Joined clips last as long as they should, in step, and a command's peak memory is its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from frontends.media import open_clip
from tests.frontends.clips import number, numbered, tone, write_clip

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def test_clips_are_joined_in_step(tool, tmp_path):
    paths = []
    for k in range(2):
        times = [n / 25 for n in range(25)]
        wave = tone(1.0, 16_000) * (k + 1) / 2
        path = tmp_path / f"{k}.mkv"
        paths.append(
            write_clip(path, times=times, picture=lambda n, k=k: numbered(25 * k + n), wave=wave)
        )
    length = tool("memory").join(paths, tmp_path / "long.mkv", 3.5)
    clip = open_clip(tmp_path / "long.mkv")
    assert length == pytest.approx(4.0, abs=0.05)
    assert clip.duration == pytest.approx(4.0, abs=0.1)
    shown = [number(frame.image) for frame in clip.frames()]
    assert shown[:100:10] == [0, 10, 20, 30, 40, 0, 10, 20, 30, 40]
    loud = [np.abs(clip.audio[16_000 * k + 2000 : 16_000 * k + 14_000]).max() for k in range(4)]
    assert loud == pytest.approx([0.25, 0.5, 0.25, 0.5], abs=0.02)
    with pytest.raises(ValueError, match="no clips"):
        tool("memory").join([], tmp_path / "none.mkv", 1.0)


PEAK = """
import sys
import memory
print(memory.peak([sys.executable, "-c", f"b'x' * {sys.argv[1]}_000_000"])[0])
"""


def test_the_peak_is_the_commands_own(tool):
    def size(megabytes):
        """From a process that itself holds little."""
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(megabytes)],
            env={**os.environ, "PYTHONPATH": f"{TOOLS}{os.pathsep}{TOOLS.parent}"},
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout)

    assert 150e6 < size(250) - size(1) < 260e6
    with pytest.raises(RuntimeError, match="ended with 3"):
        tool("memory").peak([sys.executable, "-c", "raise SystemExit(3)"])
