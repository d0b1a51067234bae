"""Sound in a file is the same sound, and looking at it holds no memory."""

import mmap
import resource
import sys
import tempfile

import numpy as np
import pytest

from frontends import spool as module
from frontends.media import media_seconds, open_clip
from frontends.sound import RATE
from frontends.spool import SpooledSound, blocks, forget
from tests.frontends.clips import tone, write_clip


@pytest.mark.parametrize("start", [0.0, 0.5])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_clip_is_the_same_either_way(tmp_path, start, channels, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 1000)  # many steps, also of a short clip
    times = [k / 25 for k in range(50)]
    wave = tone(1.5, 44_100, channels) * np.linspace(0, 1, 66_150, dtype=np.float32)
    path = tmp_path / "clip.mkv"
    write_clip(path, times=times, wave=wave, wave_rate=44_100, wave_start=start)
    held = open_clip(path)
    with tempfile.TemporaryFile() as file:
        spooled = open_clip(path, spool=file)
        assert np.array_equal(spooled.audio, held.audio)
        assert (spooled.duration, spooled.warnings) == (held.duration, held.warnings)
        assert np.array_equal(np.concatenate(list(blocks(spooled.audio, 777))), held.audio)
        forget(spooled.audio)
        assert np.array_equal(spooled.audio, held.audio)
        del spooled


def test_cutting_filling_and_moving_are_those_of_memory(tmp_path):
    from frontends.container import Limits
    from frontends.sound import Sound

    with tempfile.TemporaryFile() as file:
        pair = (Sound(Limits(), ""), SpooledSound(Limits(), "", file))
        waves = []
        for one in pair:
            one._append(np.arange(10, dtype=np.float32).tobytes())
            one._resize(4 * 6)
            one._resize(4 * 8)
            one._append(np.full(3, np.nan, dtype=np.float32).tobytes())
            waves.append(one.finish(5 / RATE))
        held, spooled = waves
        assert np.array_equal(held, spooled)
        assert held.tolist() == [0] * 5 + [0, 1, 2, 3, 4, 5, 0, 0] + [0] * 3
        assert pair[0].warnings == pair[1].warnings != []


def test_the_length_is_told_from_the_header(tmp_path):
    path = write_clip(tmp_path / "clip.wav", wave=tone(1.5, 16_000))
    assert media_seconds(path) == pytest.approx(1.5, abs=0.01)
    assert media_seconds(tmp_path / "gone.wav") is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="the system cannot be told")
def test_walking_through_a_file_holds_one_block(tmp_path):
    size = 64 * 2**20
    with (tmp_path / "pcm").open("w+b") as file:
        file.truncate(size)
        wave = np.frombuffer(mmap.mmap(file.fileno(), size), dtype=np.float32)
        before = resident()
        most = 0
        for block in blocks(wave, 2**20):
            block.sum()
            most = max(most, resident() - before)
        assert 2**21 < most < 16 * 2**20


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
