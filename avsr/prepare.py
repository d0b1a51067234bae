"""A media file as the towers read it: sound, and the crops of a mouth.

Data: path -> Prepared(wave [S], crops [T, 96, 96], warnings).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from avsr.errors import ConfigError, MediaError, RoiError
from avsr.fetch import sha256_of
from avsr.weights import resolve
from experts import Task
from frontends.container import Limits
from frontends.face_detectors import DetectorName
from frontends.lips import LipTracker, face_number, given
from frontends.media import Clip, open_clip

__all__ = ["ClipOptions", "Modality", "Prepared", "Preparer", "RoiMode", "source_of"]

SILENCE = 1e-4  # peak below which a clip holds no sound (-80 dB)
SHORT = 0.4  # s; hardly a word fits in less
Modality = Literal["auto", "a", "v", "av"]
RoiMode = Literal["auto", "given"]


@dataclass(frozen=True)
class ClipOptions:
    """What to read of a clip that shows or holds more than one.

    Args:
        face: "largest", or "track:N" for the N-th largest face.
        detector: what finds faces, one of `frontends.face_detectors.DETECTORS`.
        detector_weights: file of a detector that needs one.
        audio_track: sound track from 1 on, None for the file's default.
        limits: what the file may cost to read.
    """

    face: str = "largest"
    detector: DetectorName = "blazeface"
    detector_weights: Path | None = None
    audio_track: int | None = None
    limits: Limits = Limits()  # noqa: RUF009  (frozen)

    def __post_init__(self) -> None:
        """Refuse a face that is none."""
        face_number(self.face)


@dataclass
class Prepared:
    """One clip, decoded: what the towers read, and what they said once they ran.

    Args:
        path: the file.
        seconds: length of the clip.
        modality: what will be read.
        wave: sound [S] at 16 kHz, None for lips alone.
        crops: mouth crops [T, 96, 96], None for sound alone.
        coverage: share of frames with a tracked face, None for sound alone.
        warnings: what went otherwise than asked.
        timing: seconds spent on each stage so far.
        audio: audio features [Ta, D], after encoding.
        video: video features [Tv, D], after encoding.
        source: what the file is, for the transcript's `input`: frame rate, streams, and its hash
            once `identify` was asked for it.
    """

    path: str
    seconds: float
    modality: Task
    wave: NDArray[np.float32] | None
    crops: NDArray[np.uint8] | None
    coverage: float | None
    warnings: tuple[str, ...]
    timing: dict[str, float] = field(default_factory=dict)
    audio: Tensor | None = None
    video: Tensor | None = None
    source: Mapping[str, Any] = field(default_factory=dict)

    def identify(self) -> None:
        """Put the hash of the file into `source`; it is read whole for that, so only on request."""
        with _timed(self.timing, "media"):
            self.source = {**self.source, "sha256": sha256_of(Path(self.path))}


class Preparer:
    """Decodes clips and finds their mouths.

    Args:
        lips: "ignore" for a model that reads sound alone.
        local_files_only: never ask the network for the face models.
    """

    def __init__(
        self, *, lips: Literal["read", "ignore"] = "read", local_files_only: bool = False
    ) -> None:
        self.lips, self.local_files_only = lips, local_files_only
        self._trackers: dict[ClipOptions, LipTracker] = {}

    def prepare(
        self,
        path: str | Path,
        *,
        modality: Modality = "auto",
        roi: RoiMode = "auto",
        options: ClipOptions = ClipOptions(),
    ) -> Prepared:
        """Decode one clip and find its mouth.

        Args:
            path: media file.
            modality: "auto" reads whatever the clip has; the others insist.
            roi: "given" takes the picture itself as the mouth crop.
            options: which face and which sound track.

        Raises:
            AvsrError: the clip cannot be read as asked.
        """
        timing: dict[str, float] = {}
        if "v" in modality and self.lips == "ignore":
            raise ConfigError("this model reads sound alone", todo="Use --modality a.")
        with _timed(timing, "media"):
            clip = open_clip(path, limits=options.limits, audio_track=options.audio_track)
        warnings = list(clip.warnings)
        wave = self._sound(clip, modality, warnings)
        crops, coverage = None, None
        with _timed(timing, "lips"):
            if modality != "a" and self.lips == "read":
                crops, coverage = self._lips(
                    clip, modality, roi, options, wave is not None, warnings
                )
        if wave is None and crops is None:
            raise MediaError(
                "the clip has neither audible sound nor a picture of a speaker",
                where=str(path),
                todo="Give a clip with speech.",
            )
        task: Task = "a" if crops is None else "v" if wave is None else "av"
        if clip.duration < SHORT:
            warnings.append(f"the clip lasts only {clip.duration:.2f} s, hardly a word")
        told = tuple(warnings)
        source = source_of(clip)
        return Prepared(
            str(path), clip.duration, task, wave, crops, coverage, told, timing, source=source
        )

    def _sound(
        self, clip: Clip, modality: Modality, warnings: list[str]
    ) -> NDArray[np.float32] | None:
        """Sound of a clip, None when it is not wanted or, under "auto", not there."""
        if modality == "v":
            return None
        wave = clip.audio
        fault = None
        if wave is None or len(wave) == 0:
            fault = "the clip has no audio track"
        elif np.abs(wave).max() < SILENCE:
            fault = "the sound is silent"
        if fault is None:
            return wave
        if modality != "auto" or clip.video is None:
            seen = clip.video is not None
            todo = "Use --modality v or auto." if seen else "Give a clip with speech."
            raise MediaError(fault, where=clip.path, todo=todo)
        warnings.append(f"{fault}; read from the lips alone")
        return None

    def _lips(
        self,
        clip: Clip,
        modality: Modality,
        roi: RoiMode,
        options: ClipOptions,
        audible: bool,
        warnings: list[str],
    ) -> tuple[NDArray[np.uint8] | None, float | None]:
        """Mouth crops of a clip, None when under "auto" there is no face or no picture."""
        if clip.video is None:
            if modality == "auto":
                return None, None
            raise MediaError(
                "the clip has no video track", where=clip.path, todo="Use --modality a or auto."
            )
        if options.detector != "blazeface":
            self.tracker(options)  # what a chosen detector lacks is an error of its own
        try:
            found = given(clip) if roi == "given" else self.tracker(options).track(clip)
        except RoiError as error:
            if modality != "auto" or not audible:
                raise
            warnings.append(f"{error.what}; read from the sound alone")
            return None, None
        warnings += found.warnings
        return found.crops, found.coverage

    def tracker(self, options: ClipOptions = ClipOptions()) -> LipTracker:
        """The lip tracker of some options, loaded when first needed."""
        own = replace(options, audio_track=None, limits=Limits())  # no concern of lips
        if own not in self._trackers:
            folder = resolve("face-models", local_files_only=self.local_files_only)
            self._trackers[own] = LipTracker(
                weights=Path(folder),
                face=own.face,
                detector=own.detector,
                detector_weights=own.detector_weights,
            )
        return self._trackers[own]


def source_of(clip: Clip) -> dict[str, Any]:
    """What a file is: its frame rate and streams."""
    there = {"audio": clip.audio, "video": clip.video}
    return {
        "fps": None if clip.video is None else clip.video.fps,
        "streams": [name for name, track in there.items() if track is not None],
    }


@contextmanager
def _timed(timing: dict[str, float], stage: str) -> Iterator[None]:
    """Add the seconds spent inside to a stage."""
    began = time.perf_counter()
    yield
    timing[stage] = timing.get(stage, 0.0) + time.perf_counter() - began
