"""Decoded pictures, resampled by time stamp.  file -> Frame, Frame, ... at a constant rate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av.error
import numpy as np
from av import VideoFrame
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from frontends.container import Deadline, Limits, decodable, open_container
from frontends.errors import MediaError

__all__ = ["Frame", "FrameReader", "picture_stream", "shown_size"]


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture.

    Attributes:
        time: s on the clip's clock.
        image: uint8 RGB [Hpx, Wpx, 3], C-contiguous, upright.
    """

    time: float
    image: NDArray[np.uint8]


class FrameReader(Iterator[Frame]):
    """Pictures of a file at a constant rate, decoded one at a time.

    Args:
        path: the media file.
        fps: pictures a second to give.
        start: the file's own time at clip time 0, s.
        duration: end of the last picture, s.
        limits: what decoding may cost.
    """

    def __init__(
        self, path: Path, *, fps: float, start: float, duration: float, limits: Limits
    ) -> None:
        if not (math.isfinite(fps) and fps > 0):
            raise ValueError(f"fps must be above 0, got {fps}")
        limits.check_seconds(duration, str(path))
        self.warnings: list[str] = []
        self._path = path
        self._fps = fps
        self._start = start
        self._count = max(1, round(duration * fps))
        self._limits = limits
        self._painter = _Painter(limits, str(path))
        self._made = self._resample()

    def __len__(self) -> int:
        """How many pictures there are in all."""
        return self._count

    def __next__(self) -> Frame:
        """Return the next picture."""
        return next(self._made)

    def _resample(self) -> Iterator[Frame]:
        """The picture nearest to i/fps, but never one from more than half a step ahead.

        The bound matters where a file holds one picture for long: it stays until the next is due.
        """
        step = 1.0 / self._fps
        shown: VideoFrame | None = None
        shown_time = 0.0
        image: NDArray[np.uint8] | None = None
        index = 0
        for time, frame in self._decode():
            while shown is not None and index < self._count:
                due = index * step
                ahead = time - due
                if ahead <= min(0.5 * step, due - shown_time) + 1e-9:
                    break  # the new picture serves this moment at least as well
                image = self._painter.paint(shown) if image is None else image
                yield Frame(due, image)
                index += 1
            if index >= self._count:
                return
            shown, shown_time, image = frame, time, None
        if shown is None:
            raise MediaError(
                "no picture of the video could be decoded",
                where=str(self._path),
                todo="Copy the file again, or use its sound alone",
            )
        image = self._painter.paint(shown) if image is None else image
        held = self._count - index - 1
        if held * step > 0.5:
            self.warnings.append(
                f"the picture ends at {index * step:.2f} s of {self._count * step:.2f} s;"
                " the last one is held"
            )
        while index < self._count:
            yield Frame(index * step, image)
            index += 1

    def _decode(self) -> Iterator[tuple[float, VideoFrame]]:
        """Pictures with rising times on the clip's clock; broken packets are counted, not shown."""
        broken = 0
        last = -math.inf
        deadline = Deadline(self._limits, str(self._path))
        with deadline.running():
            container = open_container(self._path, self._limits)
        try:
            stream = picture_stream(container)
            if stream is None:
                return
            self._painter.ratio = stream.sample_aspect_ratio
            stream.codec_context.options = self._limits.decoder_options()
            packets = container.demux(stream)
            while True:
                with deadline.running():
                    try:
                        packet = next(packets, None)
                    except av.error.ExitError:
                        raise
                    except av.error.FFmpegError:
                        packet, broken = None, broken + 1
                    if packet is None:
                        break
                    try:
                        frames = packet.decode()
                    except av.error.FFmpegError:
                        broken += 1
                        continue
                for frame in frames:
                    if frame.time is None or frame.time - self._start <= last:
                        continue  # no place on the clock, or a second picture at one moment
                    last = frame.time - self._start
                    yield last, frame
        finally:
            container.close()
            if broken:
                self.warnings.append(f"{broken} packets of the picture could not be decoded")


class _Painter:
    """Turn decoded pictures into upright RGB arrays."""

    def __init__(self, limits: Limits, where: str) -> None:
        self.limits = limits
        self.where = where
        self.ratio: Fraction | None = None  # width to height of a stored pixel
        self.rotation: int | None = None
        self.matrix: NDArray[np.int32] | None = None
        self.reformatter = VideoReformatter()  # keeps its scaler: ten times faster than one each

    def paint(self, frame: VideoFrame) -> NDArray[np.uint8]:
        width, height = _square_pixels(frame, self.ratio)
        self.limits.check_pixels(width, height, self.where)
        rgb = self.reformatter.reformat(frame, width=width, height=height, format="rgb24")
        image = np.asarray(rgb.to_ndarray(), dtype=np.uint8)
        if frame.rotation != self.rotation:  # looking at side data ties a frame to itself: once
            self.rotation, self.matrix = frame.rotation, _display_matrix(frame)
        return np.ascontiguousarray(_upright(image, self.matrix))


def picture_stream(container: InputContainer) -> VideoStream | None:
    """The container's video track; cover art of a sound file is none."""
    tracks = [
        stream
        for stream in container.streams.video
        if not int(stream.disposition) & _STILL and decodable(stream)
    ]
    default = [stream for stream in tracks if int(stream.disposition) & 1]
    return next(iter(default or tracks), None)


_STILL = 0x400 | 0x800  # AV_DISPOSITION_ATTACHED_PIC, AV_DISPOSITION_TIMED_THUMBNAILS


def shown_size(frame: VideoFrame, ratio: Fraction | None) -> tuple[int, int]:
    """Width and height of a picture as shown: square pixels, upright."""
    width, height = _square_pixels(frame, ratio)
    matrix = _display_matrix(frame)
    turned = matrix is not None and abs(matrix[0]) < abs(matrix[1])
    return (height, width) if turned else (width, height)


def _square_pixels(frame: VideoFrame, ratio: Fraction | None) -> tuple[int, int]:
    if not ratio or ratio == 1:
        return frame.width, frame.height
    return max(1, round(frame.width * float(ratio))), frame.height


def _display_matrix(frame: VideoFrame) -> NDArray[np.int32] | None:
    """The nine 16.16 numbers of ISO 14496-12 8.3.2.3, or None."""
    items: Any = frame.side_data  # a sequence, whatever its stub says
    for item in items:
        if item.type == Type.DISPLAYMATRIX:
            data = np.frombuffer(bytes(item), dtype=np.int32)
            return data if len(data) == 9 else None
    return None


def _upright(image: NDArray[np.uint8], matrix: NDArray[np.int32] | None) -> NDArray[np.uint8]:
    """Apply a display matrix: a shown point is (x, y) times [[a, b], [c, d]], y pointing down."""
    if matrix is None:
        return image
    a, b, c, d = (int(matrix[k]) for k in (0, 1, 3, 4))
    across, down = a, d
    if abs(a) < abs(b):  # a quarter turn: shown x is source y, and the other way round
        image = image.swapaxes(0, 1)
        across, down = c, b
    image = image[:, ::-1] if across < 0 else image
    return image[::-1] if down < 0 else image
