"""A media file in, a Clip out: probing, sound, and one clock for both tracks.

path -> Clip(audio [S] at 16 kHz, frames on demand).  All files are opened by `open_container`.
"""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path
from typing import IO, Literal

import av
import av.error
import numpy as np
from av import Packet
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Stream
from numpy.typing import NDArray

from frontends.clip import Clip, Frame, VideoInfo
from frontends.container import REPAIR, Deadline, Limits, decodable, open_container, seconds
from frontends.errors import MediaError
from frontends.frames import picture_stream, shown_size
from frontends.sound import RATE, Sound
from frontends.spool import SpooledSound

__all__ = ["Clip", "Frame", "Limits", "VideoInfo", "media_seconds", "open_clip"]

EXACT = ("mov", "matroska", "avi", "wav", "flac")  # formats whose header knows the length
SHORT = 0.25  # s; a track that ends so much before its header says is cut short
AGAIN = "Copy or download the file again, whole"


def open_clip(
    path: str | Path,
    *,
    limits: Limits = Limits(),  # noqa: B008  (frozen)
    streams: Literal["av", "a", "v"] = "av",
    spool: IO[bytes] | None = None,
    audio_track: int | None = None,
) -> Clip:
    """Open a media file: decode its sound, measure its picture, put both on one clock.

    Clip time 0 is the start of the earlier track; sound that starts later is padded with silence.
    Pictures are decoded later, by `Clip.frames`.

    Args:
        path: video or sound file.
        limits: what the file may cost.
        streams: which tracks are wanted; the clock is the same whichever they are.
        spool: an empty file to keep the sound in, for long media: `Clip.audio` is then a view of it
            that holds no memory after `frontends.spool.forget`.
        audio_track: which of several sound tracks to read, from 1 on; None for the file's default,
            with a warning where there are others.

    Returns:
        The clip; a track that is not there, or not wanted, is None.

    Raises:
        MediaError: not a media file, nothing of it decodable, or over a limit.
    """
    if streams not in ("av", "a", "v"):
        raise ValueError(f"streams must be 'av', 'a' or 'v', got {streams!r}")
    path = Path(path)
    deadline = Deadline(limits, str(path))
    with deadline.running():
        container = open_container(path, limits)
    try:
        if container.duration is None:
            _measure(path, limits, deadline)
        reading = _Reading(container, str(path), limits, streams, audio_track)
        if spool is not None:
            reading.sound = SpooledSound(limits, str(path), spool)
        reading.walk(deadline)
        return reading.clip()
    finally:
        container.close()


class _Reading:
    """One pass over a file's packets: all sound decoded, pictures only measured."""

    def __init__(
        self,
        container: InputContainer,
        where: str,
        limits: Limits,
        streams: str,
        audio_track: int | None,
    ) -> None:
        self.container = container
        self.where = where
        self.limits = limits
        self.streams = streams
        self.video = picture_stream(container)
        self.audio = _sound_stream(container, where, audio_track)
        self.chosen = audio_track
        if self.video is None and self.audio is None:
            strange = len(container.streams.video) + len(container.streams.audio) > 0
            what = "no decoder for its sound or picture" if strange else "neither sound nor picture"
            raise MediaError(f"{what} in the file", where=where, todo=REPAIR)
        self.sound = Sound(limits, where)
        self.size: tuple[int, int] | None = None  # of the picture as shown
        self.pictures = 0
        self.returns = 0  # jumps back in time
        self.first, self.last, self.end = math.inf, -math.inf, -math.inf  # s, the file's clock
        self.broken = {"sound": 0, "picture": 0}  # packets that do not decode

    def walk(self, deadline: Deadline) -> None:
        """Read every packet once."""
        if self.video is not None:
            self.video.codec_context.options = self.limits.decoder_options()
        tracks: list[Stream] = [s for s in (self.video, self.audio) if s is not None]
        packets = self.container.demux(tracks)
        while True:
            with deadline.running():
                try:
                    packet = next(packets, None)
                except av.error.ExitError:
                    raise
                except av.error.FFmpegError:  # the file breaks off; `_damage` says how much is lost
                    packet = None
                if packet is None:
                    return
                if packet.stream is self.video:
                    self._measure(packet)
                elif "a" in self.streams or self.sound.start is None:
                    self._listen(packet)

    def _listen(self, packet: Packet[Stream]) -> None:
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            self.broken["sound"] += 1
            return
        for frame in frames:
            self.sound.add(frame)  # type: ignore[arg-type]  # the packet is of the sound track

    def _measure(self, packet: Packet[Stream]) -> None:
        """Note when a picture is shown; decode until the first one, for its size and turn."""
        time = seconds(packet.pts, packet.time_base)
        if packet.size and time is not None and not packet.is_discard:
            self.pictures += 1
            self.returns += time < self.last - 1.0  # more than reordered pictures do
            self.first, self.last = min(self.first, time), max(self.last, time)
            self.end = max(self.end, time + (seconds(packet.duration, packet.time_base) or 0.0))
            self._check_rate()
        if "v" not in self.streams or self.size is not None:
            return
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            self.broken["picture"] += 1
            return
        if frames and self.video is not None:
            self.size = shown_size(frames[0], self.video.sample_aspect_ratio)  # type: ignore[arg-type]
            self.limits.check_pixels(*self.size, self.where)

    def _check_rate(self) -> None:
        span = self.last - self.first
        self.limits.check_seconds(span, self.where)
        if self.pictures > self.limits.max_frames:
            raise MediaError(
                f"the video has more than {self.limits.max_frames} pictures",
                where=self.where,
                todo="Cut it into parts, or raise Limits.max_frames",
            )
        if self.pictures > 1 + self.limits.max_fps * (1.01 * span + 1.0):
            raise MediaError(
                f"the video has more than {self.limits.max_fps:g} pictures a second",
                where=self.where,
                todo="Reduce its frame rate, or raise Limits.max_fps",
            )

    def clip(self) -> Clip:
        """Put what was read on one clock."""
        warnings: list[str] = []
        heard, seen = self.sound.start, None if self.pictures == 0 else self.first
        start = min([t for t in (heard, seen) if t is not None], default=0.0)
        wave, info = None, None
        if "a" in self.streams and self.audio is not None:
            wave = self.sound.finish(0.0 if heard is None else heard - start)
            warnings += self.sound.warnings
            warnings += self._others()
            warnings += self._damage("sound", self.audio, self.sound.end)
        if "v" in self.streams and self.video is not None:
            info = self._info(start)
            warnings += self._damage("picture", self.video, self.end)
            if self.returns:
                warnings.append(
                    "time stamps of the picture jump back; what comes twice is left out"
                )
        warnings += self._lost(wave, info)
        warnings += self._undecodable()
        lengths = [0.0 if wave is None else len(wave) / RATE]
        lengths += [0.0 if info is None else info.duration]
        return Clip(
            self.where, max(lengths), wave, info, tuple(warnings), start=start, limits=self.limits
        )

    def _others(self) -> list[str]:
        """Say that there are more sound tracks, if none was chosen."""
        tracks = [s for s in self.container.streams.audio if decodable(s)]
        if self.chosen is not None or len(tracks) < 2 or self.audio is None:
            return []
        number = tracks.index(self.audio) + 1
        return [f"the file has {len(tracks)} sound tracks; number {number} is read"]

    def _info(self, start: float) -> VideoInfo | None:
        """The measured picture track, or None when nothing of it can be shown."""
        if self.size is None or self.pictures == 0:
            return None
        span = self.last - self.first
        each = span / (self.pictures - 1) if span > 0 else max(self.end - self.first, 1e-3)
        end = max(self.end, self.last + each) if self.end <= self.last else self.end
        self.limits.check_seconds(end - start, self.where)
        return VideoInfo(*self.size, fps=1.0 / each, duration=end - start)

    def _lost(self, wave: NDArray[np.float32] | None, info: VideoInfo | None) -> list[str]:
        """Name the wanted tracks that gave nothing; raise MediaError when none gave anything."""
        lost = []
        if "a" in self.streams and self.audio is not None and wave is None:
            lost.append("sound")
        if "v" in self.streams and self.video is not None and info is None:
            lost.append("picture")
        why = ""
        if "picture" in lost and self.video is not None and not self.video.codec_context.width:
            # Over the limit a decoder tells no size at all.
            why = f": it is larger than {self.limits.max_pixels} pixels, or damaged"
        if lost and wave is None and info is None:
            what = f"nothing of the {' and the '.join(lost)} can be decoded{why}"
            todo = "Scale it down, or raise Limits.max_pixels" if why else AGAIN
            raise MediaError(what, where=self.where, todo=todo)
        return [
            f"nothing of the {track} can be decoded{why if track == 'picture' else ''};"
            " it is left out"
            for track in lost
        ]

    def _undecodable(self) -> list[str]:
        """Name the wanted tracks that this build of the media library has no decoder for."""
        streams = self.container.streams
        kinds = {"a": ("sound", streams.audio), "v": ("picture", streams.video)}
        return [
            f"there is no decoder for the {name}; it is left out"
            for kind, (name, tracks) in kinds.items()
            if kind in self.streams and tracks and not any(map(decodable, tracks))
        ]

    def _damage(self, track: str, stream: Stream, end: float) -> list[str]:
        """Say how much of a track is missing or broken."""
        found = []
        broken = self.broken[track] + (self.sound.broken if track == "sound" else 0)
        if broken:
            found.append(f"{broken} packets of the {track} could not be decoded")
        promised = self._promised(stream)
        if promised is not None and math.isfinite(end) and end < promised - SHORT:
            found.append(
                f"the {track} ends at {end:.2f} s of {promised:.2f} s:"
                " the file is cut short or damaged"
            )
        return found

    def _promised(self, stream: Stream) -> float | None:
        """The end of a track by the header, s; None where headers only estimate it."""
        if not self.container.format.name.startswith(EXACT):
            return None
        length = seconds(stream.duration, stream.time_base)
        if length is not None:
            return length + (seconds(stream.start_time, stream.time_base) or 0.0)
        both = max((e for e in (self.sound.end, self.end) if math.isfinite(e)), default=0.0)
        whole = (self.container.duration or 0) / av.time_base
        return whole if both < whole - SHORT else None  # the header speaks of the longer track


def _measure(path: Path, limits: Limits, deadline: Deadline) -> None:
    """Hold a file whose header tells no length to the limit, without decoding anything.

    Ten hours of silence take seconds to count and minutes to decode.
    """
    with deadline.running():
        container = open_container(path, limits)
    try:
        first: dict[int, int] = {}  # time stamp of each stream's first packet
        packets = container.demux()
        while True:
            with deadline.running():
                try:
                    some = list(islice(packets, 1000))
                except av.error.ExitError:
                    raise
                except av.error.FFmpegError:  # where it breaks off is said later
                    return
            for packet in some:
                if packet.pts is None or packet.time_base is None:
                    continue
                lasted = packet.pts - first.setdefault(packet.stream_index, packet.pts)
                if lasted * packet.time_base.numerator > (
                    limits.max_seconds * packet.time_base.denominator
                ):
                    raise MediaError(
                        f"the media lasts longer than {limits.max_seconds:g} s",
                        where=str(path),
                        todo="Cut it into parts, or raise Limits.max_seconds",
                    )
            if not some:
                return
    finally:
        container.close()


def media_seconds(path: str | Path, *, limits: Limits = Limits()) -> float | None:  # noqa: B008
    """Length of a media file by its header; None where there is no telling without reading it."""
    try:
        with Deadline(limits, str(path)).running():
            container = open_container(Path(path), limits)
    except MediaError:
        return None
    try:
        length = container.duration
        return None if length is None or length <= 0 else length / av.time_base
    finally:
        container.close()


def _sound_stream(container: InputContainer, where: str, chosen: int | None) -> AudioStream | None:
    tracks = [s for s in container.streams.audio if decodable(s)]
    if chosen is not None:
        if not 1 <= chosen <= len(tracks):
            count = f"{len(tracks)} sound tracks" if tracks else "no sound track"
            raise MediaError(
                f"no sound track number {chosen}: the file has {count}",
                where=where,
                todo="Choose one from 1 on" if tracks else "",
            )
        return tracks[chosen - 1]
    default = [s for s in tracks if int(s.disposition) & 1]
    return next(iter(default or tracks), None)
