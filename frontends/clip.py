"""A media file as the rest of the toolkit sees it: one clock, 16 kHz sound, frames on demand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frontends.container import Limits
from frontends.errors import MediaError
from frontends.frames import Frame, FrameReader

__all__ = ["Clip", "Frame", "VideoInfo"]


@dataclass(frozen=True)
class VideoInfo:
    """The picture of a clip, as shown: rotated, with square pixels.

    Attributes:
        width: pixels.
        height: pixels.
        fps: mean frame rate of the file, frames a second.
        duration: end of the last frame on the clip's clock, s.
    """

    width: int
    height: int
    fps: float
    duration: float


@dataclass(frozen=True, eq=False)
class Clip:
    """A media file with sound and picture on one clock that starts at 0.

    Attributes:
        path: the file.
        duration: length of the longer of sound and picture, s.
        audio: mono float32 at 16 kHz [S] that starts at clip time 0; None without a sound track.
        video: None without a picture track.
        warnings: what the reader of a result must know about the file.
        start: the file's own time at clip time 0, s.
        limits: what decoding may cost.
    """

    path: str
    duration: float
    audio: NDArray[np.float32] | None
    video: VideoInfo | None
    warnings: tuple[str, ...] = ()
    start: float = 0.0
    limits: Limits = field(default_factory=Limits, repr=False)

    def frames(self, fps: float = 25.0) -> Iterator[Frame]:
        """Decode the picture lazily, resampled by time stamp to a constant rate.

        Frame i is the picture nearest to i/fps seconds, so lips and sound never drift apart,
        whatever the file's frame rate and however it varies.

        Args:
            fps: frames a second.

        Returns:
            An iterator (a FrameReader, with the warnings met so far); one picture is held at once.

        Raises:
            MediaError: no picture track, or nothing of it decodes.
        """
        if self.video is None:
            raise MediaError("no picture track", where=self.path, todo="Use the sound alone")
        return FrameReader(
            Path(self.path),
            fps=fps,
            start=self.start,
            duration=self.video.duration,
            limits=self.limits,
        )
