"""The one place where a media file is opened: whitelists and limits.  path -> av container.

Every decoder of this package opens its file here, so that no second way in can forget a limit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.container import InputContainer
from av.stream import Stream

from frontends.errors import MediaError

__all__ = ["Deadline", "Limits", "decodable", "open_container", "seconds"]

# Demuxers allowed. Playlists and scripts (hls, concat, image2) are not: they read other files.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,wav,w64,aiff,mp3,flac,ogg,aac,"
    "mpeg,mpegvideo,mpegts,flv"
)
REPAIR = "Convert it first, for example: ffmpeg -i INPUT -c:v libx264 -c:a aac OUTPUT.mp4"


@dataclass(frozen=True)
class Limits:
    """What a media file may cost, checked before and while decoding."""

    max_pixels: int = 4096 * 4096  # a frame
    max_seconds: float = 4 * 3600.0
    max_fps: float = 120.0
    max_frames: int = 4 * 3600 * 120
    max_streams: int = 8
    max_decoded_bytes: int = 2**30  # of sound, at 16 kHz: whatever its header claims of its rate
    max_metadata_bytes: int = 64 * 1024
    max_wall_seconds: float = 600.0  # spent in reading and decoding

    def __post_init__(self) -> None:
        """Refuse limits that are not positive."""
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"Limits.{name} must be above 0, got {value}")

    def decoder_options(self) -> dict[str, str]:
        """What a decoder must refuse by itself, when the picture grows midway.

        Decoders count the padding they add, so they get twice the limit; `check_pixels` is exact.
        """
        return {"max_pixels": str(2 * self.max_pixels)}

    def check_pixels(self, width: int, height: int, where: str) -> None:
        """Raise MediaError when a frame of this size is too large."""
        if width * height > self.max_pixels:
            raise MediaError(
                f"the picture is {width}x{height}, more than {self.max_pixels} pixels",
                where=where,
                todo="Scale it down, or raise Limits.max_pixels",
            )

    def check_seconds(self, length: float, where: str) -> None:
        """Raise MediaError when the media is too long."""
        if not length <= self.max_seconds:
            raise MediaError(
                f"the media lasts {length:.0f} s, more than {self.max_seconds:.0f} s",
                where=where,
                todo="Cut it into parts, or raise Limits.max_seconds",
            )

    def check_bytes(self, size: int, where: str) -> None:
        """Raise MediaError when decoded sound takes too much memory."""
        if size > self.max_decoded_bytes:
            raise MediaError(
                f"the sound decodes to more than {self.max_decoded_bytes} bytes",
                where=where,
                todo="Cut it into parts, or raise Limits.max_decoded_bytes",
            )


class Deadline:
    """A wall clock that runs only while a file is being read.

    Args:
        limits: holds the longest time allowed.
        where: the file, for the message.
    """

    def __init__(self, limits: Limits, where: str) -> None:
        self.left = limits.max_wall_seconds
        self.limit = limits.max_wall_seconds
        self.where = where

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time spent inside, and raise MediaError when none is left."""
        started = time.monotonic()
        try:
            yield
        except av.error.ExitError as error:  # the library's own clock, set by open_container
            raise self._late() from error
        finally:
            self.left -= time.monotonic() - started
        if self.left < 0:
            raise self._late()

    def _late(self) -> MediaError:
        return MediaError(
            f"reading took longer than {self.limit:g} s",
            where=self.where,
            todo="Cut the file into parts, or raise Limits.max_wall_seconds",
        )


def seconds(ticks: int | None, base: Fraction | None) -> float | None:
    """Turn a time stamp into seconds; None where the file gives none."""
    if ticks is None or base is None:
        return None
    return float(ticks * base)


def decodable(stream: Stream) -> bool:
    """Whether this build of the media library has a decoder for a stream."""
    return stream.codec_context is not None


def open_container(path: Path, limits: Limits) -> InputContainer:
    """Open a media file behind the whitelists and the limits that its header can be held to.

    Args:
        path: a regular file.
        limits: what it may cost.

    Returns:
        The open container; the caller closes it, and calls from within `Deadline.running`.

    Raises:
        MediaError: not a readable media file, or over a limit.
    """
    where = str(path)
    _check_file(path)
    options = {
        "format_whitelist": FORMATS,
        "protocol_whitelist": "file",
        "max_streams": str(limits.max_streams + 1),
        **limits.decoder_options(),  # for the decoders that probing itself starts
    }
    try:
        container = av.open(
            f"file:{path.absolute()}",  # a colon in a name is then no protocol
            options=options,
            timeout=limits.max_wall_seconds,
            metadata_errors="replace",
        )
    except av.error.ExitError:
        raise
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise _explain(path, error) from error
    try:
        _check_header(container, limits, where)
    except MediaError:
        container.close()
        raise
    return container


def _check_file(path: Path) -> None:
    where = str(path)
    try:
        if path.is_dir():
            raise MediaError("this is a folder", where=where, todo="Name the media files in it")
        if not path.exists():
            raise MediaError("no such file", where=where, todo="Check the path")
        if not path.is_file():
            raise MediaError("not a regular file", where=where, todo="Copy it to a file first")
        if path.stat().st_size == 0:
            raise MediaError("the file is empty", where=where, todo="Copy or record it again")
        with path.open("rb"):
            pass
    except PermissionError as error:
        raise MediaError(
            "the file may not be read", where=where, todo="Check its permissions"
        ) from error
    except (OSError, ValueError) as error:  # a name too long, a zero byte in it
        raise MediaError(f"not a usable path: {error}", where=repr(where)) from error


def _explain(path: Path, error: Exception) -> MediaError:
    """Say what a file that does not open most likely is."""
    with path.open("rb") as file:
        head = file.read(512)
    if head.lstrip().startswith((b"#EXTM3U", b"ffconcat", b"<?xml", b"[playlist]")):
        what, todo = "a playlist, not media", "Name the media file itself; playlists are not read"
    elif head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        what = "an mp4 or mov file that is cut short or damaged"
        todo = "Copy or download it again, whole"
    elif head and b"\0" not in head and head.isascii():
        what, todo = "a text file, not media", "Name a video or sound file"
    else:
        reason = getattr(error, "strerror", None) or str(error)
        what, todo = f"not media that can be read: {reason}", REPAIR
    return MediaError(what, where=str(path), todo=todo)


def _check_header(container: InputContainer, limits: Limits, where: str) -> None:
    count = len(container.streams)
    if count > limits.max_streams:
        raise MediaError(
            f"the file holds {count} streams, more than {limits.max_streams}",
            where=where,
            todo="Keep one video and one sound stream, or raise Limits.max_streams",
        )
    tags = [container.metadata, *(stream.metadata for stream in container.streams)]
    size = sum(len(key) + len(value) for tag in tags for key, value in tag.items())
    if size > limits.max_metadata_bytes:
        raise MediaError(
            f"the file holds {size} bytes of tags, more than {limits.max_metadata_bytes}",
            where=where,
            todo="Strip its tags (ffmpeg -map_metadata -1)",
        )
    if container.duration is not None:  # in microseconds; may be forged, so decoding counts too
        limits.check_seconds(container.duration / av.time_base, where)
    for stream in filter(decodable, container.streams.video):
        limits.check_pixels(stream.codec_context.width, stream.codec_context.height, where)
        ratio = stream.sample_aspect_ratio
        if ratio and not 1 / 16 <= ratio <= 16:
            raise MediaError(f"pixels of shape {ratio}", where=where, todo=REPAIR)
    for sound in filter(decodable, container.streams.audio):
        if not 2_000 <= sound.rate <= 768_000:
            raise MediaError(f"a sampling rate of {sound.rate} Hz", where=where, todo=REPAIR)
        if sound.duration is not None and sound.time_base is not None:
            length = sound.duration * sound.time_base
            if math.isfinite(length):
                limits.check_seconds(float(length), where)
