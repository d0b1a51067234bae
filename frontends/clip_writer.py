"""Write pictures and sound as a clip: lossless for what is read again, small for what is looked at.

Data: pictures [Y, X] or [Y, X, 3] uint8 at a constant rate, wave [S] at 16 kHz -> a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal

import av
import av.error
import numpy as np
from av import AudioFrame, VideoFrame
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from frontends.errors import MediaError
from frontends.sound import RATE

__all__ = ["ClipWriter", "write_clip"]

BLOCK = 4096  # samples a packet
Kind = Literal["lossless", "view"]


class ClipWriter:
    """A clip that grows picture by picture; it appears under its name when it is whole.

    Args:
        path: its name says its format: .mkv for "lossless", .mp4 or .mkv for "view".
        wave: its sound [S] at 16 kHz, None for none.
        fps: pictures a second.
        kind: "lossless" keeps every grey value (FFV1, FLAC); "view" plays anywhere (H.264, AAC).

    Raises:
        MediaError: the file cannot be written.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        wave: NDArray[np.float32] | None = None,
        fps: int = 25,
        kind: Kind = "lossless",
    ) -> None:
        self.path = Path(path)
        self._part = self.path.with_name(f".{os.getpid()}.{self.path.name}")
        self._wave, self._fps, self._kind = wave, fps, kind
        self._video: VideoStream | None = None
        self._shown = 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._out = av.open(str(self._part), "w")
            self._audio: AudioStream | None = None
            if wave is not None:
                codec = "flac" if kind == "lossless" else "aac"
                stream = self._out.add_stream(codec, rate=RATE, layout="mono")
                assert isinstance(stream, AudioStream)
                self._audio = stream
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise self._fault(error) from error

    def __enter__(self) -> ClipWriter:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        """Finish the file, or take it away after an error."""
        try:
            if kind is None:
                self._finish()
                self._out.close()
                os.replace(self._part, self.path)
            else:
                self._out.close()
        except (av.error.FFmpegError, OSError, ValueError) as fault:
            raise self._fault(fault) from fault
        finally:
            self._part.unlink(missing_ok=True)

    def show(self, image: NDArray[np.uint8]) -> None:
        """Add one picture, grey [Y, X] or RGB [Y, X, 3]; all are of one size."""
        try:
            if self._video is None:
                self._video = self._begin(image.shape)
            layout = "gray" if image.ndim == 2 else "rgb24"
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format=layout)
            frame = frame.reformat(format=self._video.pix_fmt)
            frame.pts, frame.time_base = self._shown, Fraction(1, self._fps)
            self._out.mux(self._video.encode(frame))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise self._fault(error) from error
        self._shown += 1

    def _begin(self, shape: tuple[int, ...]) -> VideoStream:
        codec = "ffv1" if self._kind == "lossless" else "libx264"
        stream = self._out.add_stream(codec, rate=self._fps)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = shape[:2]
        grey = "gray" if len(shape) == 2 else "bgr0"
        stream.pix_fmt = grey if self._kind == "lossless" else "yuv420p"
        if self._kind == "view":
            stream.options = {"crf": "20", "preset": "veryfast"}
        return stream

    def _finish(self) -> None:
        if self._video is not None:
            self._out.mux(self._video.encode(None))
        if self._audio is None or self._wave is None:
            return
        kind = "s16" if self._kind == "lossless" else "fltp"
        for first in range(0, len(self._wave), BLOCK):
            part = np.ascontiguousarray(self._wave[None, first : first + BLOCK])
            if kind == "s16":
                part = np.clip(np.rint(part * 32768), -32768, 32767).astype(np.int16)
            frame = AudioFrame.from_ndarray(part, format=kind, layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), first
            self._out.mux(self._audio.encode(frame))
        self._out.mux(self._audio.encode(None))

    def _fault(self, error: Exception) -> MediaError:
        reason = getattr(error, "strerror", None) or str(error)
        return MediaError(
            f"cannot write the clip: {reason}", where=str(self.path), todo="Choose another place"
        )


def write_clip(
    path: Path | str,
    pictures: Iterable[NDArray[np.uint8]],
    wave: NDArray[np.float32] | None = None,
    *,
    fps: int = 25,
    kind: Kind = "lossless",
) -> None:
    """Write a clip at once; see `ClipWriter`.

    Raises:
        MediaError: the file cannot be written.
    """
    with ClipWriter(path, wave=wave, fps=fps, kind=kind) as out:
        for picture in pictures:
            out.show(picture)
