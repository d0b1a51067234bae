"""Tiny clips made with PyAV whose every picture says which it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

BITS = 10
CLOCK = Fraction(1, 90_000)


def numbered(index: int, width: int = 160, height: int = 96) -> NDArray[np.uint8]:
    """A picture that carries its number as blocks of black and white in its upper half."""
    image = np.full((height, width, 3), 96, dtype=np.uint8)
    step = width // BITS
    for bit in range(BITS):
        image[: height // 2, bit * step : (bit + 1) * step] = 255 * (index >> bit & 1)
    return image


def number(image: NDArray[np.uint8]) -> int:
    """Read the number of a picture back."""
    height, width = image.shape[:2]
    step = width // BITS
    row = image[height // 4, step // 2 : step * BITS : step].mean(axis=-1)
    return sum(1 << bit for bit in range(BITS) if row[bit] > 127)


def tone(seconds: float, rate: int, channels: int = 1, hz: float = 440.0) -> NDArray[np.float32]:
    """A sine of amplitude 0.5, [channels, S]."""
    wave = 0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
    return np.tile(wave.astype(np.float32), (channels, 1))


def write_clip(
    path: Path,
    *,
    times: Sequence[float] | None = None,
    picture: Callable[[int], NDArray[np.uint8]] = numbered,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rotation: float | None = None,
    wave: NDArray[np.float32] | None = None,
    wave_rate: int = 16_000,
    wave_codec: str = "pcm_s16le",
    wave_start: float = 0.0,
) -> Path:
    """Write a clip: pictures shown at `times` (s), a wave [channels, S] from `wave_start` on."""
    with av.open(str(path), "w") as out:
        video = audio = None
        if times is not None:
            height, width = picture(0).shape[:2]
            step = times[1] - times[0] if len(times) > 1 else 0.04
            video = out.add_stream(codec, rate=Fraction(1 / step).limit_denominator(1001))
            video.width, video.height, video.pix_fmt = width, height, pix_fmt
            clock = (
                1 / video.average_rate if codec.startswith("mpeg") else CLOCK
            )  # MPEG's is coarse
            video.time_base = video.codec_context.time_base = clock
            if codec == "libx264":
                video.options = {"preset": "ultrafast", "crf": "12", "bf": "0"}
            if rotation is not None:
                video.set_display_rotation(rotation)
        if wave is not None:
            audio = out.add_stream(wave_codec, rate=wave_rate)
            audio.layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(wave)]
        for index, time in enumerate(times or ()):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame = frame.reformat(format=pix_fmt)
            frame.pts, frame.time_base = round(time / clock), clock
            out.mux(video.encode(frame))
        if video is not None:
            out.mux(video.encode(None))
        if wave is not None:
            for first in range(0, wave.shape[1], 1024):
                part = np.ascontiguousarray(wave[:, first : first + 1024])
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=audio.layout.name)
                frame.sample_rate, frame.time_base = wave_rate, Fraction(1, wave_rate)
                frame.pts = first + round(wave_start * wave_rate)
                out.mux(audio.encode(frame))
            out.mux(audio.encode(None))
    return path
