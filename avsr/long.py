"""Recordings of any length in the memory of a few chunks.

Data: path -> sound in a file, lips as a stream -> chunks that both share -> one Transcript.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from avsr.chunks import GRID, QUIET, Chunk, Cutting, plan, seam
from avsr.confidence import mean
from avsr.decode import DecodeOptions
from avsr.errors import ConfigError, MediaError
from avsr.fetch import sha256_of
from avsr.prepare import SILENCE, ClipOptions, Modality, Prepared, RoiMode, source_of
from avsr.rates import Rates
from avsr.transcript import Segment, Transcript, Word
from experts import Task
from frontends.lips import LipStream, given_stream
from frontends.media import Clip, open_clip
from frontends.sound import RATE
from frontends.speech import energy, voice
from frontends.spool import forget

if TYPE_CHECKING:
    from avsr.api import Recogniser

__all__ = ["LongReader", "join"]

Crops = NDArray[np.uint8]
EARLY = 0.6  # share of the recording before which a last cue is worth a warning


class LongReader:
    """Transcribes one long recording at a time.

    Args:
        recogniser: whose towers and language model are run.
        cutting: how recordings are cut.
        batch_size: chunks read together.
        stage: told what is being done.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        cutting: Cutting,
        *,
        batch_size: int = 1,
        stage: Callable[[str], None] = lambda doing: None,
    ) -> None:
        self.recogniser, self.cutting = recogniser, cutting
        self.batch_size, self.stage = batch_size, stage

    def read(
        self,
        path: str | Path,
        *,
        modality: Modality = "auto",
        roi: RoiMode = "auto",
        clip: ClipOptions = ClipOptions(),  # noqa: B008  (frozen)
        rates: Rates | None = None,
        rate: Literal["fine", "coarse"] = "fine",
        options: DecodeOptions | None = None,
    ) -> Transcript:
        """Transcribe a recording; see `Recogniser.transcribe`.

        Raises:
            AvsrError: the recording cannot be read as asked.
        """
        preparer = self.recogniser.preparer
        if "v" in modality and preparer.lips == "ignore":
            raise ConfigError("this model reads sound alone", todo="Use --modality a.")
        timing: dict[str, float] = defaultdict(float)
        with tempfile.TemporaryFile(prefix="avsr-") as spool:
            began = time.perf_counter()
            self.stage("reading the sound")
            media = open_clip(path, spool=spool, limits=clip.limits, audio_track=clip.audio_track)
            timing["media"] += time.perf_counter() - began
            track = _Track(media, modality, roi, preparer.lips == "read")
            began = time.perf_counter()
            chunks = plan(track.activity(self.cutting.find), media.duration, self.cutting)
            timing["pauses"] += time.perf_counter() - began
            lips = track.follow(chunks, lambda: preparer.tracker(clip))
            made: list[tuple[Chunk, Transcript]] = []
            ready = track.prepared(chunks, lips, timing)
            while batch := list(islice(ready, self.batch_size)):
                self.stage(f"{batch[-1][0].end / media.duration:.0%} of {Path(path).name}")
                clips = [one for _, one in batch]
                for one in clips:
                    self.recogniser.encode([one])
                done = self.recogniser.recognise(clips, rates=rates, rate=rate, options=options)
                made += zip((chunk for chunk, _ in batch), done, strict=True)
            track.close(lips)
            for _, part in made:
                for name, spent in part.timing.items():
                    timing[name] += spent
            facts = {"path": str(path), "duration": media.duration, "coverage": track.coverage}
            facts |= {**source_of(media), "sha256": sha256_of(Path(path)), "chunks": len(chunks)}
            span = chunks[0].start, chunks[-1].end
            return join(made, timing, facts, (*media.warnings, *track.warnings), span)


_SUMS = ("total", "rtf")


class _Track:
    """Sound and lips of one recording, cut at the same instants."""

    def __init__(self, clip: Clip, modality: Modality, roi: RoiMode, reads_lips: bool) -> None:
        self.clip, self.modality, self.roi = clip, modality, roi
        self.warnings: list[str] = []
        self.coverage: float | None = None
        self.skips = False  # whether chunks without a voice are left out
        self.sound = clip.audio if modality != "v" else None
        self.lips = clip.video is not None and modality != "a" and reads_lips
        self.tally: dict[str, float] = defaultdict(float)  # seconds that went otherwise than asked
        if modality in ("a", "av") and (clip.audio is None or len(clip.audio) == 0):
            todo = "Use --modality v or auto."
            raise MediaError("the clip has no audio track", where=clip.path, todo=todo)
        if "v" in modality and clip.video is None:
            todo = "Use --modality a or auto."
            raise MediaError("the clip has no video track", where=clip.path, todo=todo)

    def activity(self, find: str) -> NDArray[np.float32] | None:
        """Where there is speech; None without sound."""
        if self.sound is None:
            return None
        if find == "energy":
            return energy(self.sound)
        try:
            found = voice(self.sound)
            self.skips = bool(found.max(initial=0.0) >= QUIET)  # it hears this speaker at all
            return found
        except ImportError as error:
            self.warnings.append(f"no voice detector ({error}); cut where the sound is quiet")
            return energy(self.sound)

    def follow(
        self, chunks: Sequence[Chunk], tracker: Callable[[], Any]
    ) -> Iterator[tuple[Crops, bool]] | None:
        """The lips of the planned part, or None where they are not read."""
        if not self.lips:
            return None
        first, last = _picture(chunks[0].start), _picture(chunks[-1].end)
        follow = given_stream if self.roi == "given" else tracker().follow
        stream: Iterator[tuple[Crops, bool]] = follow(self.clip, first=first, count=last - first)
        return stream

    def prepared(
        self,
        chunks: Sequence[Chunk],
        lips: Iterator[tuple[Crops, bool]] | None,
        timing: dict[str, float],
    ) -> Iterator[tuple[Chunk, Prepared]]:
        """Chunks that can be read, one at a time; the others are counted."""
        held: deque[tuple[Crops, bool]] = deque()
        first = _picture(chunks[0].start)  # number of the first picture held
        for chunk in chunks:
            began = time.perf_counter()
            if lips is not None:
                while first < _picture(chunk.start) and held:
                    held.popleft()
                    first += 1
                held.extend(islice(lips, _picture(chunk.end) - first - len(held)))
            timing["lips"] += time.perf_counter() - began
            one = self._prepare(chunk, list(held))
            if one is not None:
                yield chunk, one

    def _prepare(self, chunk: Chunk, pictures: Sequence[tuple[Crops, bool]]) -> Prepared | None:
        length = chunk.end - chunk.start
        if self.skips and not chunk.active:
            self.tally["voiceless"] += length
            return None
        wave = self._wave(chunk)
        crops = np.stack([crop for crop, _ in pictures]) if pictures else None
        seen = sum(tracked for _, tracked in pictures) / max(1, len(pictures))
        if crops is not None and seen == 0 and self.modality == "auto":
            crops = None
            self.tally["without a face"] += length
        if self.modality in ("a", "av") and wave is None and self.sound is not None:
            self.tally["silent"] += length
            return None
        if wave is None and crops is None:
            self.tally["silent" if self.sound is not None else "unseen"] += length
            return None
        if wave is None and self.modality == "auto" and self.sound is not None:
            self.tally["silent, read from the lips"] += length
        task: Task = "a" if crops is None else "v" if wave is None else "av"
        coverage = None if crops is None else seen
        return Prepared(self.clip.path, length, task, wave, crops, coverage, ())

    def _wave(self, chunk: Chunk) -> NDArray[np.float32] | None:
        """The chunk's sound; None where it is silent."""
        if self.sound is None:
            return None
        part = np.array(self.sound[round(chunk.start * RATE) : round(chunk.end * RATE)])
        forget(self.sound)
        return part if len(part) > 0 and np.abs(part).max() >= SILENCE else None

    def close(self, lips: Iterator[tuple[Crops, bool]] | None) -> None:
        """Take over what was learnt about the track."""
        if isinstance(lips, LipStream):
            lips.close()
            self.coverage = lips.coverage
            self.warnings += lips.warnings
            fault = lips.fault()
            if fault is not None and self.modality in ("v", "av"):
                raise fault
            if fault is not None:
                self.warnings.append(fault.what)
        told = {
            "voiceless": "have no voice in them; nothing was read there",
            "without a face": "had no face in them; they were read from the sound alone",
            "silent": "are silent; nothing was read in them",
            "silent, read from the lips": "are silent; they were read from the lips alone",
            "unseen": "show no speaker; nothing was read in them",
        }
        self.warnings += [
            f"{self.tally[name]:.0f} s {why}" for name, why in told.items() if self.tally[name] > 0
        ]


def _picture(seconds: float) -> int:
    """Number of the picture at a moment of the grid; the end of the recording is rounded up."""
    return int(np.ceil(round(seconds / GRID, 3)))


def join(
    made: Sequence[tuple[Chunk, Transcript]],
    timing: Mapping[str, float],
    facts: dict[str, Any],
    warnings: Sequence[str],
    span: tuple[float, float] | None = None,
) -> Transcript:
    """Put the transcripts of chunks together.

    Args:
        made: chunks that were read, with their transcripts.
        timing: seconds of each stage.
        facts: for `Transcript.input`.
        warnings: what is told of the recording; that of the chunks is added, once each.
        span: start and end in s of what was to be read; None for the whole recording.

    Returns:
        Segments in the order of time; a warning where the last words end long before the recording.

    Raises:
        MediaError: nothing was read.
    """
    if not made:
        what = "the recording has neither audible sound nor a picture of a speaker"
        raise MediaError(what, where=facts["path"], todo="Give a clip with speech.")
    segments: list[Segment] = []
    for chunk, part in made:
        (segment,) = part.segments
        words = tuple(_moved(word, chunk.start) for word in segment.words)
        segment = replace(segment, start=chunk.start, end=chunk.end, words=words)
        if segments and chunk.shared > 0 and segments[-1].end > chunk.start:
            middle = chunk.start + chunk.shared / 2
            segments[-1], segment = _sewn(segments[-1], segment, middle)
        segments.append(segment)
    parts = [part for _, part in made]
    tokens: Counter[str] = Counter()
    for part in parts:
        tokens.update(part.tokens)
    timing = {name: spent for name, spent in timing.items() if name not in _SUMS}
    total = sum(timing.values())
    told = list(dict.fromkeys([*warnings, *(w for part in parts for w in part.warnings)]))
    seconds = max(chunk.end for chunk, _ in made) - min(chunk.start for chunk, _ in made)
    start, end = (0.0, facts["duration"]) if span is None else span
    last = max((segment.end for segment in segments if segment.text), default=None)
    if last is None:
        told.append(f"no word was heard in {end - start:.0f} s")
    elif last - start < EARLY * (end - start):
        told.append(f"the last words end at {last:.0f} s of {end:.0f} s")
    rtf = total / max(seconds, 1e-9)
    modality = max((part.modality for part in parts), key=len)
    return Transcript(
        text=" ".join(segment.text for segment in segments if segment.text),
        segments=tuple(segments),
        rates={
            kind: next((part.rates[kind] for part in parts if part.rates.get(kind)), None)
            for kind in ("audio", "video")
        },
        modality=modality,
        tokens=dict(tokens),
        timing={**timing, "total": total, "rtf": rtf},
        warnings=tuple(told),
        model=parts[0].model,
        input=facts,
    )


def _moved(word: Word, start: float) -> Word:
    """A word of a chunk that begins at `start` s, in the time of the recording."""
    if word.start is None or word.end is None:
        return word
    return replace(word, start=start + word.start, end=start + word.end)


def _sewn(left: Segment, right: Segment, middle: float) -> tuple[Segment, Segment]:
    """Two segments of overlapping sound, without what both have."""
    before = left.words or tuple(map(Word, left.text.split()))
    after = right.words or tuple(map(Word, right.text.split()))
    kept, dropped = seam([w.text for w in before], [w.text for w in after])
    return (
        _cut(replace(left, end=middle), before[:kept]),
        _cut(replace(right, start=middle), after[dropped:]),
    )


def _cut(segment: Segment, words: tuple[Word, ...]) -> Segment:
    text = " ".join(word.text for word in words)
    kept = words if segment.words else ()
    return replace(segment, text=text, words=kept, confidence=mean(kept))
