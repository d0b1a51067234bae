"""One clip, the demo, in every kind of file that people have: Kind -> file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from frontends.media import open_clip

DEMO = Path(__file__).parents[3] / "avsr" / "models" / "demo.mp4"
STEPS = {"25": [40], "vfr": [20, 60, 40, 25, 75], "vfr with a gap": [40] * 30 + [440]}  # ms, again


@dataclass(frozen=True)
class Kind:
    """How the demo is written.

    Args:
        name: of the file, with its ending.
        picture: codec and pixel format, None for sound alone.
        sound: codec, sampling rate and channels, None for pictures alone.
        rate: pictures a second, or a name of `STEPS`.
        size: px the pictures are scaled to.
        turn: quarter turns that a player has to make.
        late: s by which picture and sound start later than the file.
        shape: width to height of a stored pixel.
        tracks: how many sound tracks; the later ones hold silence.
        loud: gain of each channel.
        options: of the picture's encoder.
    """

    name: str
    picture: tuple[str, str] | None = ("libx264", "yuv420p")
    sound: tuple[str, int, int] | None = ("aac", 16_000, 1)
    rate: Fraction | str = "25"
    size: tuple[int, int] = (360, 288)
    turn: int = 0
    late: tuple[float, float] = (0.0, 0.0)
    shape: Fraction = Fraction(1)
    tracks: int = 1
    loud: tuple[float, ...] = (1.0,) * 6
    options: dict[str, str] = field(default_factory=dict)


def _kinds() -> Iterator[Kind]:
    x264, opus = ("libx264", "yuv420p"), ("libopus", 48_000, 1)
    yield Kind("plain.mp4")
    yield Kind("plain.mov", sound=("pcm_s16le", 16_000, 1))
    yield Kind("prores.mov", ("prores_ks", "yuv422p10le"), ("pcm_s24le", 48_000, 2))
    yield Kind("png.mov", ("png", "rgb24"), ("alac", 44_100, 1))
    yield Kind("plain.mkv", ("ffv1", "yuv420p"), ("flac", 16_000, 1))
    yield Kind("av1.mkv", ("libsvtav1", "yuv420p"), opus)
    yield Kind("vp8.webm", ("libvpx", "yuv420p"), opus)
    yield Kind("vp9.webm", ("libvpx-vp9", "yuv420p"), ("libopus", 48_000, 2))
    yield Kind("mpeg4.avi", ("mpeg4", "yuv420p"), ("pcm_s16le", 16_000, 1))
    yield Kind("mjpeg.avi", ("mjpeg", "yuvj420p"), ("libmp3lame", 44_100, 1))
    yield Kind("mpeg1.mpg", ("mpeg1video", "yuv420p"), ("mp2", 44_100, 1))
    yield Kind("mpeg2.mpg", ("mpeg2video", "yuv420p"), ("mp2", 48_000, 2))
    yield Kind("camera.ts", sound=("aac", 44_100, 2))
    yield Kind("plain.flv", sound=("aac", 44_100, 1))
    yield Kind("hevc10.mp4", ("libx265", "yuv420p10le"), options={"x265-params": "log-level=none"})
    for told, rate in {"23976": "24000/1001", "2997": "30000/1001", "50": "50", "60": "60",
                       "15": "15"}.items():  # fmt: skip
        yield Kind(f"fps{told}.mp4", rate=Fraction(rate))
    yield Kind("vfr.mp4", rate="vfr")
    yield Kind("vfr.mkv", ("ffv1", "yuv420p"), ("flac", 16_000, 1), rate="vfr with a gap")
    yield Kind("late-picture.mp4", late=(0.4, 0.1))
    yield Kind("late-sound.mkv", late=(0.0, 0.4))
    yield Kind("late-both.mkv", late=(5.2, 5.0), sound=("flac", 16_000, 1))
    for turn in (1, 2, 3):
        yield Kind(f"turned{90 * turn}.mp4", turn=turn)
    yield Kind("odd.mkv", ("ffv1", "yuv420p"), size=(361, 289))
    yield Kind("odd.mp4", ("libx264", "yuv444p"), size=(359, 287))
    yield Kind("small.mp4", size=(240, 192))
    yield Kind("large.mp4", size=(1280, 1024))
    yield Kind("narrow-pixels.mp4", size=(180, 288), shape=Fraction(2))
    yield Kind("wide-pixels.avi", ("mpeg4", "yuv420p"), ("pcm_s16le", 16_000, 1), size=(360, 144),
               shape=Fraction(1, 2))  # fmt: skip
    yield Kind("interlaced.ts", ("mpeg2video", "yuv420p"), ("mp2", 48_000, 1),
               options={"flags": "+ilme+ildct"})  # fmt: skip
    yield Kind("interlaced.mp4", x264, options={"x264-params": "tff=1"})
    yield Kind("grey.mkv", ("ffv1", "gray"), ("flac", 16_000, 1))
    yield Kind("grey10.mkv", ("ffv1", "gray10le"), ("flac", 16_000, 1))
    yield Kind("tenbit.mp4", ("libx264", "yuv420p10le"))
    yield Kind("alpha.mkv", ("ffv1", "bgra"), ("flac", 16_000, 1))
    yield Kind("tracks.mkv", sound=("flac", 16_000, 1), tracks=3)
    yield Kind("left-only.mp4", sound=("aac", 44_100, 2), loud=(1.0, 0.0))
    yield Kind("surround.mkv", sound=("flac", 48_000, 6))
    yield Kind("no-sound.mp4", sound=None)
    yield Kind("silent.mp4", loud=(0.0,) * 6)
    sounds = (("wav", "pcm_s16le", 16_000, 1), ("wav", "pcm_mulaw", 8_000, 1),
              ("wav", "pcm_s24le", 96_000, 2), ("wav", "pcm_f32le", 22_050, 1),
              ("mp3", "libmp3lame", 44_100, 2), ("mp3", "libmp3lame", 16_000, 1),
              ("flac", "flac", 48_000, 2), ("ogg", "libopus", 48_000, 1),
              ("opus", "libopus", 16_000, 1), ("m4a", "aac", 32_000, 1),
              ("aiff", "pcm_s16be", 11_025, 1))  # fmt: skip
    for ending, codec, rate, channels in sounds:
        yield Kind(f"{codec}-{rate}.{ending}", None, (codec, rate, channels))


KINDS = {kind.name: kind for kind in _kinds()}


@cache
def _demo() -> tuple[list[NDArray[np.uint8]], NDArray[np.float32]]:
    clip = open_clip(DEMO)
    assert clip.audio is not None
    return [frame.image for frame in clip.frames()], clip.audio


def _times(rate: Fraction | str, end: float) -> list[float]:
    steps = STEPS[rate] if isinstance(rate, str) else [float(1000 / rate)]
    times, at, index = [], 0.0, 0
    while at < end - 1e-6:
        times.append(at)
        at += steps[index % len(steps)] / 1000
        index += 1
    return times


def write(kind: Kind, folder: Path) -> Path:
    """Write the demo as a kind of file.

    Raises:
        av.error.FFmpegError: this build of the media library cannot.
    """
    pictures, wave = _demo()
    path = folder / kind.name
    with av.open(str(path), "w") as out:
        video, tracks = None, []
        if kind.picture is not None:
            steady = Fraction(25) if isinstance(kind.rate, str) else kind.rate
            video = out.add_stream(kind.picture[0], rate=steady)
            width, height = kind.size if kind.turn % 2 == 0 else kind.size[::-1]
            video.width, video.height, video.pix_fmt = width, height, kind.picture[1]
            video.options = dict(kind.options)
            if kind.picture[0] != "libx265":
                video.bit_rate = 2_000_000
            video.codec_context.sample_aspect_ratio = kind.shape
            if isinstance(kind.rate, str) and kind.rate != "25":
                video.codec_context.time_base = Fraction(1, 1000)
            if kind.turn:
                video.set_display_rotation(90.0 * kind.turn)
        if kind.sound is not None:
            for _ in range(kind.tracks):
                layout = {1: "mono", 2: "stereo", 6: "5.1"}[kind.sound[2]]
                tracks.append(out.add_stream(kind.sound[0], rate=kind.sound[1], layout=layout))
        if video is not None:
            _pictures(out, video, kind, pictures)
        for number, track in enumerate(tracks):
            _sound(out, track, kind, wave if number == 0 else 0 * wave)
    return path


def _pictures(out, video, kind, pictures):  # type: ignore[no-untyped-def]
    base = video.codec_context.time_base or 1 / (video.codec_context.rate or Fraction(25))
    for time in _times(kind.rate, len(pictures) / 25):
        image = pictures[min(len(pictures) - 1, round(time * 25))]
        image = cv2.resize(image, kind.size, interpolation=cv2.INTER_AREA)
        image = np.ascontiguousarray(np.rot90(image, -kind.turn))
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=kind.picture[1])
        frame.pts, frame.time_base = round((time + kind.late[0]) / base), base
        out.mux(video.encode(frame))
    out.mux(video.encode(None))


def _sound(out, track, kind, wave):  # type: ignore[no-untyped-def]
    _, rate, channels = kind.sound
    points = np.arange(round(len(wave) * rate / 16_000)) * 16_000 / rate
    one = np.interp(points, np.arange(len(wave)), wave).astype(np.float32)
    gains = np.array(kind.loud[:channels], dtype=np.float32)
    for first in range(0, len(one), 1152):
        part = np.ascontiguousarray(gains[:, None] * one[None, first : first + 1152])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=track.layout.name)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = first + round(kind.late[1] * rate)
        out.mux(track.encode(frame))
    out.mux(track.encode(None))
