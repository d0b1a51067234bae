"""One clip of a corpus, checked and if wanted cropped and cut: its lines of the manifest.

Entry, Plan -> Done(rows, or the reason why there are none).  Nothing is skipped in silence.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from avsr.corpus import Entry, Part, cut
from avsr.errors import AvsrError
from frontends.clip_writer import write_clip
from frontends.lips import FPS, LipTracker, Roi, given
from frontends.media import Clip, open_clip
from frontends.sound import RATE

__all__ = ["Done", "Plan", "key_of", "prepare_clip"]


@dataclass(frozen=True)
class Plan:
    """What is done with every clip of a corpus.

    Args:
        corpus: its name.
        clips: folder for mouth crops with their sound, losslessly; None to refer to the corpus's
            own files.
        roi: "given" where the corpus's pictures are mouth crops already.
        max_seconds: longer clips are cut between words, which needs `clips` and word times.
        min_seconds: shorter clips are reported and left out.
    """

    corpus: str
    clips: Path | None = None
    roi: Literal["auto", "given"] = "auto"
    max_seconds: float = 24.0
    min_seconds: float = 0.1


@dataclass(frozen=True)
class Done:
    """What came of one entry.

    Args:
        key: of the entry, its files and the plan.
        id: of the entry.
        rows: lines of the manifest, empty where it failed.
        error: why it failed, None if it did not.
    """

    key: str
    id: str
    rows: tuple[dict[str, Any], ...] = ()
    error: str | None = None


def key_of(entry: Entry, plan: Plan) -> str:
    """Digest of all that the result depends on, without reading the media."""
    facts = []
    for path in (entry.media, entry.sound):
        try:
            stat = None if path is None else path.stat()
        except OSError:
            stat = None
        facts.append(None if stat is None else (stat.st_size, stat.st_mtime_ns))
    told = json.dumps([repr(entry), repr(plan), facts])
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def prepare_clip(entry: Entry, plan: Plan) -> Done:
    """Check one clip, and crop and cut it if the plan says so."""
    key = key_of(entry, plan)
    try:
        return Done(key, entry.id, tuple(_rows(entry, plan)))
    except AvsrError as error:
        return Done(key, entry.id, error=str(error))


def _rows(entry: Entry, plan: Plan) -> list[dict[str, Any]]:
    if entry.fault is not None:
        raise AvsrError(entry.fault, where=entry.id)
    if not entry.text.strip():
        raise AvsrError("no transcript", where=entry.id)
    clip = open_clip(entry.media)
    wave = clip.audio if entry.sound is None else open_clip(entry.sound, streams="a").audio
    if wave is None:
        raise AvsrError("no sound", where=entry.id)
    if clip.duration < plan.min_seconds:
        raise AvsrError(f"only {clip.duration:.2f} s long", where=entry.id)
    parts = cut(entry, clip.duration, plan.max_seconds)
    if plan.clips is None:
        if len(parts) > 1:
            raise AvsrError(
                f"{clip.duration:.1f} s, longer than {plan.max_seconds:g} s",
                where=entry.id,
                todo="Give --clips, so that parts of it can be written, or raise --max-seconds",
            )
        if entry.sound is not None:
            raise AvsrError(
                "sound and picture lie in two files", where=entry.id, todo="Give --clips"
            )
        return [_row(entry, plan, clip, parts[0], entry.media, "")]
    roi = None if clip.video is None else _track(clip, plan)
    rows = []
    for number, part in enumerate(parts):
        tail = f"-{number}" if len(parts) > 1 else ""
        path = plan.clips / f"{entry.id}{tail}.{'flac' if roi is None else 'mkv'}"
        _write(path, part, roi, wave)
        row = _row(entry, plan, clip, part, path, tail)
        if roi is not None:
            row |= {"roi": "given", "fps": FPS, "coverage": round(roi.coverage, 4)}
            row |= {"warnings": list(roi.warnings)} if roi.warnings else {}
        rows.append(row)
    return rows


def _track(clip: Clip, plan: Plan) -> Roi:
    return given(clip) if plan.roi == "given" else _tracker().track(clip)


@lru_cache(maxsize=1)
def _tracker() -> LipTracker:
    """The lip tracker of this process."""
    from avsr.weights import resolve

    return LipTracker(weights=Path(resolve("face-models")))


def _write(path: Path, part: Part, roi: Roi | None, wave: NDArray[np.float32]) -> None:
    sound = wave[round(part.start * RATE) : round(part.end * RATE)]
    crops = () if roi is None else roi.crops[round(part.start * FPS) : round(part.end * FPS)]
    write_clip(path, crops, sound)


def _row(entry: Entry, plan: Plan, clip: Clip, part: Part, path: Path, tail: str) -> dict[str, Any]:
    """One line of the manifest, in NeMo's names and ours."""
    place = str(path.resolve())
    row: dict[str, Any] = {
        "id": f"{plan.corpus}/{entry.id}{tail}",
        "corpus": plan.corpus,
        "split": entry.split,
        "speaker": entry.speaker,
        "audio_filepath": place,
        "duration": round(part.end - part.start, 3),
        "text": part.text,
    }
    if clip.video is not None:
        row |= {"video_filepath": place, "fps": round(clip.video.fps, 3)}
        row |= {"roi": "given"} if plan.roi == "given" else {}
    if part.words:
        row["words"] = [[w, round(a, 3), round(b, 3)] for w, a, b in part.words]
    if clip.warnings:
        row["warnings"] = list(clip.warnings)
    return row | {"sha256": _digest(entry.media)}


@lru_cache(maxsize=1)
def _digest(path: Path) -> str:
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            hashed.update(block)
    return hashed.hexdigest()
