"""Whatever a camera or an editor writes: read in step, or refused by name."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontends.errors import MediaError
from frontends.media import Clip, Limits, open_clip
from tests.frontends.clips import number, numbered, tone, write_clip

Maker = Callable[..., Path]
HALF = [k / 25 for k in range(13)]
FILMS = {
    "mp4": ("libx264", "yuv420p", "aac"),
    "mov": ("libx264", "yuv420p", "pcm_s16le"),
    "mkv": ("ffv1", "yuv420p", "flac"),
    "webm": ("libvpx", "yuv420p", "libopus"),
    "avi": ("mpeg4", "yuv420p", "pcm_s16le"),
    "mpg": ("mpeg1video", "yuv420p", "mp2"),
    "ts": ("mpeg2video", "yuv420p", "mp2"),
}
SOUNDS = {
    "wav": "pcm_s16le",
    "flac": "flac",
    "mp3": "libmp3lame",
    "ogg": "libopus",
    "m4a": "aac",
    "aiff": "pcm_s16be",
}
RATES = {
    "23.976": Fraction(24000, 1001),
    "25": Fraction(25),
    "29.97": Fraction(30000, 1001),
    "50": Fraction(50),
    "60": Fraction(60),
}


def written(maker: Callable[[], Path]) -> Path:
    """What is written, or a skip where this build of the media library has no such encoder."""
    try:
        return maker()
    except (av.error.EncoderNotFoundError, av.codec.codec.UnknownCodecError) as error:
        pytest.skip(f"no encoder: {error}")


def drift(clip: Clip, times: list[float]) -> float:
    """Most seconds between a picture's place in the clip and when it was shown."""
    start = min(times)
    return max(abs(f.time - (times[number(f.image)] - start)) for f in clip.frames())


@pytest.mark.parametrize("kind", FILMS)
def test_films(clip_file: Maker, kind: str) -> None:
    codec, pix_fmt, sound = FILMS[kind]
    rate = 48_000 if sound in ("mp2", "libopus") else 16_000
    clip = open_clip(
        written(
            lambda: clip_file(
                f"a.{kind}",
                times=HALF,
                codec=codec,
                pix_fmt=pix_fmt,
                wave=tone(0.52, rate),
                wave_rate=rate,
                wave_codec=sound,
            )
        )
    )
    assert clip.video is not None
    assert clip.audio is not None
    assert clip.duration == pytest.approx(0.52, abs=0.09)
    shown = [number(f.image) for f in clip.frames()]
    assert shown == sorted(shown)
    assert set(range(1, 12)) <= set(shown)
    assert drift(clip, HALF) <= 0.04
    assert np.abs(clip.audio[2000:6000]).max() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("kind", SOUNDS)
def test_sound_files(clip_file: Maker, kind: str) -> None:
    rate = 48_000 if kind == "ogg" else 16_000
    clip = open_clip(
        written(
            lambda: clip_file(
                f"a.{kind}", wave=tone(0.5, rate), wave_rate=rate, wave_codec=SOUNDS[kind]
            )
        )
    )
    assert clip.video is None
    assert clip.audio is not None
    assert len(clip.audio) / 16_000 == pytest.approx(0.5, abs=0.08)
    assert np.abs(clip.audio[2000:6000]).max() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("rate", RATES)
def test_no_rate_drifts(clip_file: Maker, rate: str) -> None:
    step = float(1 / RATES[rate])
    times = [k * step for k in range(int(1.2 / step))]
    clip = open_clip(clip_file("a.mp4", times=times))
    assert clip.video is not None
    assert clip.video.fps == pytest.approx(1 / step, rel=1e-2)
    assert drift(clip, times) <= max(step, 0.04) / 2 + 1e-3


@settings(max_examples=8, deadline=None)
@given(
    steps=st.lists(st.integers(8, 120), min_size=2, max_size=30),
    late=st.integers(0, 900).map(lambda ms: ms / 1000),
    sound_late=st.integers(0, 900).map(lambda ms: ms / 1000),
)
def test_a_variable_rate_and_any_offset_stay_in_step(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], late: float, sound_late: float
) -> None:
    """The picture is the one on show, or one that follows within half a new picture."""
    times = [late + t / 1000 for t in np.cumsum([0, *steps]).tolist()]
    path = tmp_path_factory.mktemp("vfr") / "a.mkv"
    write_clip(path, times=times, codec="ffv1", wave=tone(0.4, 16_000), wave_start=sound_late,
               picture=lambda k: numbered(k, 80, 48))  # fmt: skip
    clip = open_clip(path)
    start = min(late, sound_late)
    for frame in clip.frames():
        shown = number(frame.image)
        later = times[shown + 1] - start if shown + 1 < len(times) else np.inf
        assert frame.time < later + 2e-3
        assert shown == 0 or times[shown] - start <= frame.time + 0.02 + 2e-3
    assert clip.audio is not None
    onset = int(np.argmax(np.abs(clip.audio) > 0.05)) / 16_000
    assert onset == pytest.approx(sound_late - start, abs=0.003)


@settings(max_examples=8, deadline=None)
@given(
    seconds=st.floats(0.01, 0.6),
    rate=st.sampled_from([8_000, 22_050, 44_100, 48_000]),
    channels=st.sampled_from([1, 2, 6]),
)
def test_sound_of_any_length_rate_and_channels_is_whole(
    tmp_path_factory: pytest.TempPathFactory, seconds: float, rate: int, channels: int
) -> None:
    wave = tone(seconds, rate, channels)
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    clip = open_clip(write_clip(path, wave=wave, wave_rate=rate))
    assert clip.audio is not None
    assert abs(len(clip.audio) - wave.shape[1] * 16_000 / rate) <= 1
    assert np.isfinite(clip.audio).all()


@pytest.mark.parametrize(
    ("pix_fmt", "size"),
    [
        ("yuv420p10le", (160, 96)),
        ("yuv420p10le", (161, 97)),
        ("gray", (90, 33)),
        ("gray10le", (161, 97)),
        ("yuv444p", (161, 97)),
        ("bgr0", (90, 33)),
    ],
)
def test_depths_and_odd_sizes(clip_file: Maker, pix_fmt: str, size: tuple[int, int]) -> None:
    path = clip_file("a.mkv", times=HALF[:3], codec="ffv1", pix_fmt=pix_fmt,
                     picture=lambda k: numbered(k, *size))  # fmt: skip
    frames = list(open_clip(path).frames())
    assert [number(f.image) for f in frames] == [0, 1, 2]
    assert frames[0].image.shape == (size[1], size[0], 3)


def test_an_interlaced_film_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.options = {"flags": "+ilme+ildct"}
        for k in range(8):
            frame = av.VideoFrame.from_ndarray(numbered(k), format="rgb24")
            out.mux(stream.encode(frame.reformat(format="yuv420p")))
        out.mux(stream.encode(None))
    shown = [number(f.image) for f in open_clip(path).frames()]
    assert set(range(1, 7)) <= set(shown)


@pytest.fixture
def two_tracks(tmp_path: Path) -> Path:
    """A film with a low and a high tone on two sound tracks."""
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as out:
        tracks = [out.add_stream("flac", rate=16_000, layout="mono") for _ in range(2)]
        for stream, hz in zip(tracks, (200.0, 2000.0), strict=True):
            frame = av.AudioFrame.from_ndarray(
                (tone(0.25, 16_000, hz=hz) * 32767).astype(np.int16), format="s16", layout="mono"
            )
            frame.sample_rate, frame.pts = 16_000, 0
            out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    return path


def test_one_of_several_sound_tracks(two_tracks: Path) -> None:
    def pitch(track: int | None) -> tuple[float, tuple[str, ...]]:
        clip = open_clip(two_tracks, audio_track=track)
        assert clip.audio is not None
        spectrum = np.abs(np.fft.rfft(clip.audio))
        return float(np.argmax(spectrum)) * 16_000 / len(clip.audio), clip.warnings

    assert pitch(1) == (pytest.approx(200, abs=8), ())
    assert pitch(2) == (pytest.approx(2000, abs=8), ())
    hertz, warnings = pitch(None)
    assert hertz == pytest.approx(200, abs=8)
    assert warnings == ("the file has 2 sound tracks; number 1 is read",)
    with pytest.raises(MediaError, match="no sound track number 3: the file has 2"):
        open_clip(two_tracks, audio_track=3)


def test_memory_does_not_grow_with_the_length_of_a_film(clip_file: Maker) -> None:
    import tracemalloc

    def peak(seconds: float) -> int:
        times = [k / 25 for k in range(int(25 * seconds))]
        path = clip_file(f"{seconds}.mkv", times=times, codec="mpeg4")
        clip = open_clip(path)
        tracemalloc.start()
        for _ in clip.frames():
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(3.0) < 1.5 * peak(0.6) + 50_000


# Bombs and forgeries: refused by name, at once.


def refused(path: Path, said: str, limits: Limits | None = None) -> None:
    began = time.monotonic()
    with pytest.raises(MediaError, match=said) as caught:
        open_clip(path, limits=limits or Limits())
    assert time.monotonic() - began < 5
    assert caught.value.where == str(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("side", "most"), [(640, 100_000), pytest.param(8190, 4096 * 4096, marks=pytest.mark.slow)]
)
def test_a_picture_bomb(tmp_path: Path, side: int, most: int) -> None:
    """Up to 8190 x 8190 in a file of few kilobytes."""
    path = tmp_path / "bomb.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame(side, side, "yuv420p")
        for plane in frame.planes:  # or it holds whatever lay in memory, which does not shrink
            plane.update(bytes(plane.buffer_size))
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert path.stat().st_size < 4_000_000
    refused(path, f"larger than {most} pixels", Limits(max_pixels=most))


def test_ten_hours_of_silence(tmp_path: Path) -> None:
    """An opus file of a minute whose last page says ten hours."""
    path = tmp_path / "long.ogg"
    write_clip(path, wave=np.zeros((1, 48_000), np.float32), wave_rate=48_000, wave_codec="libopus")
    pages = bytearray(path.read_bytes())
    last = pages.rfind(b"OggS")
    pages[last + 6 : last + 14] = (10 * 3600 * 48_000).to_bytes(8, "little")
    pages[last + 22 : last + 26] = bytes(4)
    pages[last + 22 : last + 26] = _ogg_sum(bytes(pages[last:])).to_bytes(4, "little")
    path.write_bytes(pages)
    refused(path, "lasts 36000 s, more than 14400 s")


def _ogg_sum(page: bytes) -> int:
    """Checksum of an Ogg page (RFC 3533): CRC-32 of 0x04c11db7, unreflected."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = ((value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value


def test_silence_that_hides_its_length_is_stopped_while_decoding(clip_file: Maker) -> None:
    path = clip_file("a.mp3", wave=np.zeros((1, 48_000), np.float32), wave_codec="libmp3lame")
    refused(path, "more than 1 s", Limits(max_seconds=1.0))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/passwd\n#EXT-X-ENDLIST\n", "playlist"),
        ("ffconcat version 1.0\nfile '/etc/passwd'\n", "playlist"),
        ("#!/bin/sh\nrm -rf /\n", "text file"),
        ("<?xml version='1.0'?><MPD/>", "playlist"),
        ("[playlist]\nFile1=http://127.0.0.1/x.mp4\n", "playlist"),
        ("GIF89a" + "x" * 100, "text file|not media"),
    ],
)
@pytest.mark.parametrize("ending", ["mp4", "m3u8"])
def test_playlists_and_scripts(tmp_path: Path, text: str, said: str, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    path.write_text(text)
    refused(path, said)


FORGED = {
    "an mp4 of zeros": (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(4000), "damaged|neither"),
    "a box of 4 GiB": (
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom\xff\xff\xff\xffmoov",
        "damaged|neither",
    ),
    "a wav of no samples": (
        b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\0\0\0\0\0\0\0\0\x02\0\x10\0data",
        "",
    ),
    "a matroska of nothing": (b"\x1a\x45\xdf\xa3" + bytes(2000), ""),
    "an ogg of nothing": (b"OggS" + bytes(2000), ""),
    "a flac of nothing": (b"fLaC\0\0\0\x22" + bytes(2000), ""),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_headers(tmp_path: Path, name: str) -> None:
    data, said = FORGED[name]
    path = tmp_path / "forged.mp4"
    path.write_bytes(data)
    refused(path, said)


def test_a_sampling_rate_that_is_none(clip_file: Maker) -> None:
    path = clip_file("a.wav", wave=tone(0.2, 16_000))
    header = bytearray(path.read_bytes())
    header[24:28] = (4_000_000).to_bytes(4, "little")
    path.write_bytes(header)
    refused(path, "a sampling rate of 4000000 Hz")


def test_a_link_to_a_device_is_no_file(tmp_path: Path) -> None:
    os.symlink("/dev/zero", tmp_path / "a.mp4")
    refused(tmp_path / "a.mp4", "regular file")
