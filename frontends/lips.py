"""The mouth of the person in a clip, as the video tower sees it.

Clip -> Roi: uint8 grey [T, 96, 96] at 25 pictures a second, upright, centred, of constant scale.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frontends.ahead import ahead
from frontends.clip import Clip
from frontends.errors import RoiError
from frontends.face_detectors import DetectorName, FaceDetector, make_detector
from frontends.faces import Face, FaceMesh, Image
from frontends.frames import Frame
from frontends.roi_align import POINTS, Place, middle
from frontends.roi_weave import Weaver
from frontends.shots import watched

__all__ = ["LipStream", "LipTracker", "Roi", "face_number", "given", "given_stream"]

FPS = 25.0
LEAST = 0.5  # score of a mesh that is a face
COUNT_EVERY = 25  # pictures between two looks at how many faces there are
LOOK_EVERY = 5  # pictures between two thorough searches for a lost face
PROPER = 0.8  # share of pictures with a face below which the result says so
AHEAD = 8  # most pictures decoded before they are looked at ...
AHEAD_BYTES = 2**25  # ... and what they may take


@dataclass(frozen=True, eq=False)
class Roi:
    """A mouth track.

    Attributes:
        crops: uint8 grey [T, 96, 96], 25 a second from clip time 0.
        coverage: share of pictures in which the face was tracked, 0 to 1.
        faces: the most faces seen at once.
        warnings: what the reader of a result must know about the track.
        jitter: crop px, root mean square: how far the crop strays from steady motion between
            pictures, of one face in one view.
        cuts: changes of view.
        places: of each crop in its picture; None where there was no face yet, empty for crops that
            were given.
    """

    crops: NDArray[np.uint8]
    coverage: float
    faces: int
    warnings: tuple[str, ...] = ()
    jitter: float = 0.0
    cuts: int = 0
    places: tuple[Place | None, ...] = ()


class LipTracker:
    """Find a face once, follow it by its points, cut out its mouth.

    Args:
        weights: folder with face_detection_short_range.tflite and face_landmark.tflite.
        face: "largest" takes the largest face and keeps it until it is lost; "track:N" the N-th
            largest of the first picture that shows so many, and no other ever.
        detector: what finds a face.
        detector_weights: its file, for a detector that needs one.

    Raises:
        RoiError: no such face or detector, or what it needs is not here.
    """

    def __init__(
        self,
        *,
        weights: Path,
        face: str = "largest",
        detector: DetectorName = "blazeface",
        detector_weights: Path | None = None,
    ) -> None:
        self._number = face_number(face)
        self._detector = make_detector(detector, models=Path(weights), weights=detector_weights)
        self._mesh = FaceMesh(weights=Path(weights))
        self._lock = threading.Lock()  # one interpreter serves one clip at a time

    def track(self, clip: Clip) -> Roi:
        """Cut the mouth out of every picture of a clip.

        Args:
            clip: with a picture track.

        Returns:
            The mouth track; pictures without a face repeat the place where it was, or would be.

        Raises:
            RoiError: no picture track, or no face in any picture.
            MediaError: the picture cannot be decoded.
        """
        places: list[Place | None] = []
        stream = self._stream(clip, places=places)
        crops = [crop for crop, _ in stream]
        fault = stream.fault()
        if fault is not None:
            raise fault
        return Roi(
            np.stack(crops),
            stream.coverage,
            stream.faces,
            stream.warnings,
            jitter=stream.jitter,
            cuts=stream.cuts,
            places=tuple(places),
        )

    def follow(self, clip: Clip, *, first: int = 0, count: int | None = None) -> LipStream:
        """Cut the mouth out of one picture after the other, for clips too long to hold.

        Args:
            clip: with a picture track.
            first: number of the first picture wanted, at 25 a second.
            count: how many are wanted; None for all that follow.

        Raises:
            RoiError: no picture track.
        """
        return self._stream(clip, first=first, count=count)

    def _stream(
        self,
        clip: Clip,
        *,
        first: int = 0,
        count: int | None = None,
        places: list[Place | None] | None = None,
    ) -> LipStream:
        frames = _pictures(clip)
        end = None if count is None else first + count
        follower = _Follower(self._detector, self._mesh, number=self._number)
        weaver = Weaver(places=places)
        size = 0 if clip.video is None else 3 * clip.video.width * clip.video.height
        most = min(AHEAD, max(1, AHEAD_BYTES // max(1, size)))
        wanted = ahead(watched(islice(frames, first, end)), most)
        return LipStream(clip.path, frames, wanted, follower, weaver, self._lock, most)


class LipStream(Iterator[tuple[NDArray[np.uint8], bool]]):
    """Mouth crops [96, 96] in order, each with whether the face was tracked in its picture.

    Decoding, following and cropping run in a thread each, a few pictures apart. Made by
    `LipTracker.follow`. What is told of the whole track is known once it is through.
    """

    def __init__(
        self,
        where: str,
        reader: Iterator[Frame],
        frames: Generator[tuple[Frame, bool]],
        follower: _Follower,
        weaver: Weaver,
        lock: threading.Lock,
        most: int,
    ) -> None:
        self._where, self._reader, self._frames = where, reader, frames
        self._follower, self._weaver, self._lock = follower, weaver, lock
        self._cuts = 0
        self._made = self._weave(ahead(self._follow(), most))

    def __next__(self) -> tuple[NDArray[np.uint8], bool]:
        """Return the next crop."""
        return next(self._made)

    def close(self) -> None:
        """Stop: no more crops are wanted."""
        self._made.close()

    @property
    def tracked(self) -> int:
        """Pictures in which the face was tracked, so far."""
        return self._follower.tracked

    @property
    def faces(self) -> int:
        """The most faces at once, so far."""
        return self._follower.faces

    @property
    def cuts(self) -> int:
        """Changes of view, so far."""
        return self._cuts

    @property
    def jitter(self) -> float:
        """See `Roi.jitter`; of the crops so far."""
        return self._weaver.jitter()

    @property
    def coverage(self) -> float:
        """Share of pictures in which the face was tracked, so far."""
        return self._follower.tracked / max(1, self._follower.seen)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the reader of a result must know about the track."""
        found = list(getattr(self._reader, "warnings", ()))
        number = self._follower.number
        if self.faces > 1:
            which = "the largest" if number is None else f"number {number} by size"
            found.append(f"{self.faces} faces at once; {which} was followed")
        if self.cuts:
            times = "once" if self.cuts == 1 else f"{self.cuts} times"
            found.append(f"the view changes {times}; the face was sought anew")
        if self._follower.moves:
            found.append(f"the face followed changed {self._follower.moves} times")
        if self.coverage < PROPER:
            found.append(f"a face was tracked in only {self.coverage:.0%} of the pictures")
        return tuple(found)

    def fault(self) -> RoiError | None:
        """Why no picture so far shows the face that was asked for; None if one does."""
        if self.tracked > 0:
            return None
        number = self._follower.number
        if self.faces and number is not None:
            return RoiError(
                f"no picture shows {number} faces; at most {self.faces} are seen at once",
                where=self._where,
                todo="Choose another face: --face track:1 is the largest",
            )
        return RoiError(
            "no face in any picture",
            where=self._where,
            todo="Use the sound alone (modality 'a'), or give mouth crops (roi 'given')",
        )

    def _follow(self) -> Iterator[tuple[Image, NDArray[np.float64] | None, int]]:
        """Each picture with the points of the face, and its number."""
        with closing(self._frames):
            for frame, new in self._frames:
                if new:
                    self._cuts += 1
                    self._follower.cut()
                with self._lock:  # one interpreter serves one picture at a time
                    points, track = self._follower.step(frame.image)
                yield frame.image, points, track

    def _weave(
        self, followed: Generator[tuple[Image, NDArray[np.float64] | None, int]]
    ) -> Generator[tuple[NDArray[np.uint8], bool]]:
        seen = deque[bool]()
        with closing(followed):
            for image, points, track in followed:
                seen.append(points is not None)
                for crop in self._weaver.add(image, points, track):
                    yield crop, seen.popleft()
        for crop in self._weaver.finish():
            yield crop, seen.popleft()


def given_stream(
    clip: Clip, *, first: int = 0, count: int | None = None
) -> Iterator[tuple[NDArray[np.uint8], bool]]:
    """The same of a clip that already is a mouth crop; see `given`."""
    frames = islice(_pictures(clip), first, None if count is None else first + count)
    return ((middle(frame.image), True) for frame in frames)


def face_number(face: str) -> int | None:
    """Which face by size: None for "largest", N for "track:N".

    Raises:
        RoiError: neither of these.
    """
    kind, _, number = face.partition(":")
    if face == "largest":
        return None
    if kind != "track" or not number.isdecimal() or int(number) < 1:
        raise RoiError(f"no face {face!r}", todo="Choose largest, or track:N with N from 1 on")
    return int(number)


def given(clip: Clip) -> Roi:
    """Take a clip that already is a mouth crop as it is: grey, scaled to 96x96, 25 a second.

    Args:
        clip: with a picture track; of pictures that are not square the middle is used.

    Returns:
        The mouth track.

    Raises:
        RoiError: no picture track.
        MediaError: the picture cannot be decoded.
    """
    frames = _pictures(clip)
    crops: list[NDArray[np.uint8]] = []
    warnings: list[str] = []
    for frame in frames:
        height, width = frame.image.shape[:2]
        crops.append(middle(frame.image))
        if height != width and not warnings:
            warnings.append(f"the given crop is {width}x{height}; its middle square is used")
    warnings += getattr(frames, "warnings", ())
    return Roi(np.stack(crops), 1.0, 1, tuple(warnings))


def _pictures(clip: Clip) -> Iterator[Frame]:
    if clip.video is None:
        raise RoiError("no picture track", where=clip.path, todo="Use modality 'a'")
    return clip.frames(FPS)


@dataclass
class _Follower:
    """One face through a clip: by its points where it was, else by a new search."""

    detector: FaceDetector
    mesh: FaceMesh
    face: Face | None = None  # where to look next
    last: Face | None = None  # where it was last seen
    seen: int = 0
    tracked: int = 0
    faces: int = 0
    moves: int = 0
    track: int = 0  # number of the face followed
    number: int | None = None  # which face by size is wanted; None for the largest

    def step(self, image: Image) -> tuple[NDArray[np.float64] | None, int]:
        """Return the points [15, 2] in the next picture, or None, and the number of the face."""
        index, self.seen = self.seen, self.seen + 1
        if index % COUNT_EVERY == 0 and self.face is not None:
            self._count(image, self.detector.find(image))
        points = None if self.face is None else self._read(image, self.face)
        if points is None:
            hard = index % LOOK_EVERY == 0
            points = self._search(image, self.detector.search if hard else self.detector.find)
        self.tracked += points is not None
        return points, self.track

    def cut(self) -> None:
        """Forget where the face was: the film cuts to another view."""
        if self.last is not None:
            self.track += 1
        self.face = None
        if self.number is None:
            self.last = None

    def _search(
        self, image: Image, look: Callable[[Image], list[Face]]
    ) -> NDArray[np.float64] | None:
        found = look(image)
        self._count(image, found)
        known = self.last
        if self.number is not None:
            found = self._wanted(image, found)
        elif known is not None:  # the same face again, if it is there
            found.sort(key=lambda face: not face.overlaps(known, 0.1))
        for face in found:
            points = self._read(image, face)
            if points is not None:
                if known is not None and not face.overlaps(known, 0.1):
                    self.track += 1
                    self.moves += 1
                return points
        return None

    def _wanted(self, image: Image, found: list[Face]) -> list[Face]:
        """The face that is followed by its number, and no other."""
        known = self.last
        if known is not None:
            return [face for face in found if face.overlaps(known, 0.1)]
        assert self.number is not None
        sure = [face for face in found if self.mesh.read(image, face).score >= LEAST]
        return sure[self.number - 1 : self.number]

    def _count(self, image: Image, found: list[Face]) -> None:
        """Count the faces found that the mesh agrees on."""
        sure = sum(self.mesh.read(image, face).score >= LEAST for face in found)
        self.faces = max(self.faces, sure)

    def _read(self, image: Image, face: Face) -> NDArray[np.float64] | None:
        mesh = self.mesh.read(image, face)
        height, width = image.shape[:2]
        now = mesh.face()
        inside = 0 <= now.x < width and 0 <= now.y < height
        if mesh.score < LEAST or not inside or now.side < 8:
            self.face = None
            return None
        self.face = self.last = now
        return mesh.points[list(POINTS)]
