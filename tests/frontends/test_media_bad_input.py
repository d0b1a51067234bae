"""Each bad input ends in one MediaError that says what, where and what to do, never otherwise."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from frontends.errors import AvsrError, MediaError
from frontends.media import open_clip
from tests.frontends.clips import tone

Maker = Callable[..., Path]
TWO_SECONDS = [k / 25 for k in range(50)]


def refused(path: Path) -> str:
    """The message, checked for its three parts."""
    with pytest.raises(MediaError) as caught:
        open_clip(path)
    error = caught.value
    assert error.where == str(path)
    assert all((error.what, error.todo))
    assert error.exit_code == 1
    assert "\n" not in str(error)
    return str(error)


def test_missing_file(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.mp4")


def test_folder(tmp_path: Path) -> None:
    assert "folder" in refused(tmp_path)


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    assert "empty" in refused(path)


def test_text_named_mp4(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("hello, this is no film\n" * 50)
    assert "text file" in refused(path)


def test_noise_named_mp4(tmp_path: Path) -> None:
    path = tmp_path / "noise.mp4"
    path.write_bytes(np.random.default_rng(0).bytes(20_000))
    assert "not media" in refused(path)


@pytest.mark.parametrize(
    "script", ["#EXTM3U\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile {}\n"]
)
def test_playlist_disguised_as_mp4_reads_no_other_file(
    clip_file: Maker, tmp_path: Path, script: str
) -> None:
    other = clip_file("other.mp4", times=TWO_SECONDS)
    path = tmp_path / "list.mp4"
    path.write_text(script.format(other.name))
    assert "playlist" in refused(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_pipe_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / "pipe.mp4"
    os.mkfifo(path)
    assert "regular file" in refused(path)


def test_impossible_names() -> None:
    with pytest.raises(MediaError):
        open_clip("a\0b.mp4")
    with pytest.raises(MediaError):
        open_clip("x" * 5000)


def test_mp4_without_its_index(clip_file: Maker) -> None:
    path = clip_file("a.mp4", times=TWO_SECONDS, wave=tone(2.0, 16_000), wave_codec="aac")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "cut short" in refused(path)


def test_file_that_breaks_off_is_used_and_reported(clip_file: Maker) -> None:
    path = clip_file("a.mkv", times=TWO_SECONDS, wave=tone(2.0, 16_000))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    clip = open_clip(path)
    assert 0.3 < clip.duration < 1.7
    assert any("cut short" in w for w in clip.warnings)
    assert len(list(clip.frames())) == round(clip.video.duration * 25)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["mp4", "mkv", "wav", "avi"])
def test_any_damage_ends_in_a_clip_or_an_avsr_error(clip_file: Maker, kind: str) -> None:
    codecs = {"mp4": "aac", "mkv": "flac", "wav": "pcm_s16le", "avi": "pcm_s16le"}
    times = None if kind == "wav" else TWO_SECONDS[:12]
    path = clip_file(f"a.{kind}", times=times, wave=tone(0.5, 16_000), wave_codec=codecs[kind])
    whole = path.read_bytes()
    rng = np.random.default_rng(7)
    for part in range(32):
        broken = bytearray(whole)
        if part < 16:
            broken = broken[: len(whole) * part // 16]
        else:
            for place in rng.integers(0, len(whole), 12):
                broken[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(broken))
        with contextlib.suppress(AvsrError):
            clip = open_clip(path)
            if clip.video is not None:
                list(clip.frames())
