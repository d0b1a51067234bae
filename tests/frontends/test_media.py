"""Laws of open_clip: one clock, any track, exact sound, upright pictures, bounded cost."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from frontends.errors import MediaError
from frontends.media import Clip, Limits, open_clip
from tests.frontends.clips import number, numbered, tone

Maker = Callable[..., Path]
SECOND = [k / 25 for k in range(25)]


def onset(clip: Clip) -> float:
    """When the sound begins, s."""
    assert clip.audio is not None
    return int(np.argmax(np.abs(clip.audio) > 0.05)) / 16_000


def test_sound_and_picture_share_one_clock(clip_file: Maker) -> None:
    clip = open_clip(clip_file("a.mkv", times=SECOND, wave=tone(1.0, 16_000)))
    assert clip.audio is not None
    assert clip.video is not None
    assert clip.audio.dtype == np.float32
    assert clip.audio.shape == (16_000,)
    assert clip.duration == pytest.approx(1.0, abs=1e-3)
    assert (clip.video.width, clip.video.height) == (160, 96)
    assert clip.video.fps == pytest.approx(25.0, rel=1e-3)
    frames = list(clip.frames())
    assert [number(f.image) for f in frames] == list(range(25))
    assert [f.time for f in frames] == pytest.approx(SECOND)
    assert all(f.image.flags["C_CONTIGUOUS"] and f.image.dtype == np.uint8 for f in frames)
    assert clip.warnings == ()


@pytest.mark.parametrize(("late_sound", "late_picture"), [(0.3, 0.0), (0.0, 0.4), (1.3, 1.0)])
def test_start_offsets_keep_tracks_in_step(
    clip_file: Maker, late_sound: float, late_picture: float
) -> None:
    path = clip_file(
        "a.mkv",
        times=[t + late_picture for t in SECOND],
        wave=tone(1.0, 16_000),
        wave_start=late_sound,
    )
    clip = open_clip(path)
    start = min(late_sound, late_picture)
    assert onset(clip) == pytest.approx(late_sound - start, abs=0.002)
    shown = [number(f.image) for f in clip.frames()]
    first = round((late_picture - start) * 25)
    assert shown == [0] * first + list(range(25))
    for streams in ("a", "v"):
        assert open_clip(path, streams=streams).start == pytest.approx(clip.start)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_any_sampling_rate_becomes_16_khz_whole(clip_file: Maker, rate: int) -> None:
    clip = open_clip(clip_file("a.wav", wave=tone(0.5, rate), wave_rate=rate))
    assert clip.audio is not None
    assert clip.video is None
    assert abs(len(clip.audio) - 8_000) <= 1  # nothing left behind in the resampler
    want = tone(0.5, 16_000)[0]
    inner = slice(200, 7_800)
    assert np.abs(clip.audio[inner] - want[inner]).max() < 5e-3


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_mono_mix_keeps_the_level(clip_file: Maker, channels: int) -> None:
    clip = open_clip(clip_file("a.wav", wave=tone(0.2, 16_000, channels)))
    assert clip.audio is not None
    assert np.abs(clip.audio).max() == pytest.approx(0.5, abs=1e-3)


def test_mono_mix_is_the_mean_of_left_and_right(clip_file: Maker) -> None:
    wave = tone(0.2, 16_000, 2)
    wave[1] = 0
    clip = open_clip(clip_file("a.wav", wave=wave))
    assert clip.audio is not None
    assert np.abs(clip.audio).max() == pytest.approx(0.25, abs=1e-3)


def test_sound_lost_in_the_middle_keeps_later_sound_in_place(clip_file: Maker) -> None:
    path = clip_file("a.mkv", wave=tone(1.0, 16_000), wave_codec="flac")
    holed = path.with_name("holed.mkv")
    with av.open(str(path)) as source, av.open(str(holed), "w") as out:
        stream = out.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.pts is not None and not 0.3 < float(packet.pts * packet.time_base) < 0.7:
                packet.stream = stream
                out.mux(packet)
    clip = open_clip(holed)
    assert clip.audio is not None
    assert clip.duration == pytest.approx(1.0, abs=0.01)
    assert np.abs(clip.audio[8_000:10_000]).max() == 0
    assert np.abs(clip.audio[13_000:15_000]).max() == pytest.approx(0.5, abs=0.01)
    assert any("gaps" in w for w in clip.warnings)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotation_is_undone(clip_file: Maker, degrees: int) -> None:
    turned = (degrees // 90) % 4  # stored so that `degrees` counter-clockwise shows it upright
    path = clip_file(
        "a.mp4",
        times=SECOND[:5],
        picture=lambda k: np.ascontiguousarray(np.rot90(numbered(k), -turned)),
        rotation=float(degrees),
    )
    clip = open_clip(path)
    assert clip.video is not None
    assert (clip.video.width, clip.video.height) == (160, 96)
    assert [number(f.image) for f in clip.frames()] == list(range(5))


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "size"),
    [
        ("ffv1", "gray", (160, 96)),
        ("ffv1", "gray10le", (160, 96)),
        ("ffv1", "yuv422p10le", (160, 96)),
        ("ffv1", "yuv444p", (161, 97)),
        ("ffv1", "bgra", (160, 96)),
    ],
)
def test_any_pixel_format_and_odd_sizes(
    clip_file: Maker, codec: str, pix_fmt: str, size: tuple[int, int]
) -> None:
    path = clip_file(
        "a.mkv",
        times=SECOND[:4],
        codec=codec,
        pix_fmt=pix_fmt,
        picture=lambda k: numbered(k, *size),
    )
    frames = list(open_clip(path).frames())
    assert [number(f.image) for f in frames] == [0, 1, 2, 3]
    assert {f.image.shape for f in frames} == {(size[1], size[0], 3)}


def test_missing_tracks_are_none(clip_file: Maker) -> None:
    silent = open_clip(clip_file("v.mp4", times=SECOND))
    assert silent.audio is None
    assert silent.video is not None
    blind = open_clip(clip_file("a.wav", wave=tone(0.5, 16_000)))
    assert blind.video is None
    with pytest.raises(MediaError, match="no picture track"):
        blind.frames()
    assert open_clip(clip_file("v.mp4", times=SECOND), streams="a").audio is None


def test_unwanted_tracks_are_left_out(clip_file: Maker) -> None:
    path = clip_file("a.mkv", times=SECOND, wave=tone(1.0, 16_000))
    assert open_clip(path, streams="a").video is None
    assert open_clip(path, streams="v").audio is None


def test_one_picture_is_a_video(clip_file: Maker) -> None:
    clip = open_clip(clip_file("a.mp4", times=[0.0]))
    assert [number(f.image) for f in clip.frames()] == [0]


def test_frames_are_lazy_and_flat_in_memory(clip_file: Maker) -> None:
    path = clip_file("a.mp4", times=[k / 25 for k in range(100)])
    frames = open_clip(path).frames()
    next(frames)
    tracemalloc.start()
    for _ in frames:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * 160 * 96 * 3  # a few pictures of a hundred


def test_shown_pictures_are_freed_without_the_garbage_collector(clip_file: Maker) -> None:
    clip = open_clip(clip_file("a.mp4", times=SECOND))
    gc.collect()
    gc.disable()
    try:
        assert sum(1 for _ in clip.frames()) == 25
        left = sum(type(thing) is av.VideoFrame for thing in gc.get_objects())
    finally:
        gc.enable()
    assert left <= 3


def test_same_file_same_clip(clip_file: Maker) -> None:
    path = clip_file("a.mp4", times=SECOND, wave=tone(1.0, 44_100, 2), wave_rate=44_100,
                     wave_codec="aac")  # fmt: skip
    one, two = open_clip(path), open_clip(path)
    assert one.audio is not None
    assert two.audio is not None
    assert np.array_equal(one.audio, two.audio)
    assert all(
        np.array_equal(a.image, b.image) for a, b in zip(one.frames(), two.frames(), strict=True)
    )


def test_names_that_look_like_protocols_are_files(clip_file: Maker) -> None:
    assert open_clip(clip_file("http:a b%03d.wav", wave=tone(0.1, 16_000))).audio is not None


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (Limits(max_pixels=160 * 96 - 1), "max_pixels"),
        (Limits(max_seconds=0.5), "max_seconds"),
        (Limits(max_fps=0.5), "max_fps"),
        (Limits(max_streams=1), "max_streams"),
        (Limits(max_decoded_bytes=20_000), "max_decoded_bytes"),
        (Limits(max_wall_seconds=1e-9), "max_wall_seconds"),
        (Limits(max_metadata_bytes=1), "tags"),
    ],
)
def test_every_limit_is_held_and_named(clip_file: Maker, limits: Limits, named: str) -> None:
    path = clip_file("a.mkv", times=SECOND, wave=tone(1.0, 16_000))
    with pytest.raises(MediaError, match=named) as caught:
        open_clip(path, limits=limits)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_picture_that_grows_midway_is_held_to_the_limit(clip_file: Maker, tmp_path: Path) -> None:
    small = clip_file("small.ts", times=SECOND)
    later = [t + 1 for t in SECOND]
    large = clip_file("large.ts", times=later, picture=lambda k: numbered(k, 320, 192))
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    clip = open_clip(both, limits=Limits(max_pixels=160 * 96))
    frames = clip.frames()
    assert {f.image.shape for f in frames} == {(96, 160, 3)}
    assert any("could not be decoded" in w for w in frames.warnings)  # type: ignore[attr-defined]


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as out:
        sound = out.add_stream("aac", rate=16_000)
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 160, 96, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        image = av.VideoFrame.from_ndarray(numbered(1), format="rgb24")
        out.mux(cover.encode(image.reformat(format="yuvj420p")))
        out.mux(cover.encode(None))
        wave = av.AudioFrame.from_ndarray(tone(0.2, 16_000), format="fltp", layout="mono")
        wave.sample_rate = 16_000
        out.mux(sound.encode(wave))
        out.mux(sound.encode(None))
    clip = open_clip(path)
    assert clip.video is None
    assert clip.audio is not None


def test_limits_must_be_positive() -> None:
    with pytest.raises(ValueError, match="max_fps"):
        Limits(max_fps=0)
