"""The mouth of the person in a clip, as the video tower sees it.

Clip -> Roi: uint8 grey [T, 96, 96] at 25 pictures a second, upright, centred, of constant scale.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from frontends.clip import Clip
from frontends.errors import RoiError
from frontends.face_detectors import DetectorName, FaceDetector, make_detector
from frontends.faces import Face, FaceMesh, Image
from frontends.frames import Frame
from frontends.roi_align import POINTS, SIDE, Place
from frontends.roi_weave import Weaver
from frontends.shots import ShotWatch

__all__ = ["LipTracker", "Roi", "face_number", "given"]

FPS = 25.0
LEAST = 0.5  # score of a mesh that is a face
COUNT_EVERY = 25  # pictures between two looks at how many faces there are
LOOK_EVERY = 5  # pictures between two thorough searches for a lost face
PROPER = 0.8  # share of pictures with a face below which the result says so


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
        frames = _pictures(clip)
        with self._lock:
            follower = _Follower(self._detector, self._mesh, number=self._number)
            weaver, watch = Weaver(), ShotWatch()
            crops: list[NDArray[np.uint8]] = []
            for frame in frames:
                if watch.cut(frame.image):
                    follower.cut()
                crops += weaver.add(frame.image, *follower.step(frame.image))
            crops += weaver.finish()
        where = clip.path
        if follower.tracked == 0 and follower.faces and self._number is not None:
            raise RoiError(
                f"no picture shows {self._number} faces; at most {follower.faces} are seen at once",
                where=where,
                todo="Choose another face: --face track:1 is the largest",
            )
        if follower.tracked == 0:
            raise RoiError(
                "no face in any picture",
                where=where,
                todo="Use the sound alone (modality 'a'), or give mouth crops (roi 'given')",
            )
        coverage = follower.tracked / follower.seen
        warnings = list(getattr(frames, "warnings", ()))
        if follower.faces > 1:
            which = "the largest" if self._number is None else f"number {self._number} by size"
            warnings.append(f"{follower.faces} faces at once; {which} was followed")
        if watch.cuts:
            warnings.append(f"the view changes {watch.cuts} times; the face was sought anew")
        if follower.moves:
            warnings.append(f"the face followed changed {follower.moves} times")
        if coverage < PROPER:
            warnings.append(f"a face was tracked in only {coverage:.0%} of the pictures")
        return Roi(
            np.stack(crops),
            coverage,
            follower.faces,
            tuple(warnings),
            jitter=weaver.jitter(),
            cuts=watch.cuts,
            places=tuple(weaver.places),
        )


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
        side = min(height, width)
        x, y = (width - side) // 2, (height - side) // 2
        square = np.ascontiguousarray(frame.image[y : y + side, x : x + side])
        grey = cv2.cvtColor(square, cv2.COLOR_RGB2GRAY)
        how = cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC
        crops.append(np.asarray(cv2.resize(grey, (SIDE, SIDE), interpolation=how), dtype=np.uint8))
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
