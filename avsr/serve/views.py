"""What the server knows, as the page reads it: plain dictionaries, and one picture.

Recogniser, clip, transcript, error -> JSON; mouth crops [T, 96, 96] -> PNG.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avsr.errors import AvsrError

if TYPE_CHECKING:
    from avsr.api import Recogniser
    from avsr.prepare import Prepared
    from avsr.serve.options import ServeOptions
    from avsr.serve.words import SureWord
    from avsr.transcript import Transcript

__all__ = ["COLUMNS", "DOWNLOADS", "clip", "failure", "model", "reading", "row", "sheet"]

COLUMNS = 25  # mouth crops in a line of the sheet: one second
DOWNLOADS = ("srt", "vtt", "txt", "json")


def failure(error: Exception) -> dict[str, dict[str, str]]:
    """What went wrong; of a fault of our own only that there was one, its trace stays here."""
    if not isinstance(error, AvsrError):
        error = AvsrError(
            "something went wrong inside the server",
            todo="Its terminal says what; please report it.",
        )
    return {"error": {"what": error.what, "where": error.where, "todo": error.todo}}


def model(recogniser: Recogniser, options: ServeOptions) -> dict[str, Any]:
    """Everything that the page's controls need to know."""
    from avsr.serve.noise import HIGHEST, LOWEST, kinds

    trained = recogniser.trained_rates
    return {
        "name": str(recogniser.facts.get("name", "")),
        "language_model": str(recogniser.facts.get("language_model", "")),
        "method": recogniser.model.config.method,
        "calibrated": recogniser.calibration is not None,
        "rates": {"audio": trained["a"], "video": trained["v"]},
        "hz": {"audio": recogniser.audio_tower.hz, "video": 25.0},
        "noise": {"kinds": kinds(), "lowest": LOWEST, "highest": HIGHEST},
        "limits": {
            "bytes": options.upload_bytes,
            "seconds": seconds(recogniser, options),
            "waiting": options.waiting,
        },
        "downloads": DOWNLOADS,
    }


def seconds(recogniser: Recogniser, options: ServeOptions) -> float:
    """The longest clip that is read: the page's limit, or less where a tower reads less."""
    longest: float = getattr(recogniser.audio_tower, "max_seconds", options.max_seconds)
    return min(longest, options.max_seconds)


def clip(key: str, name: str, prepared: Prepared, crops: int) -> dict[str, Any]:
    """A clip that was decoded and encoded."""
    return {
        "id": key,
        "name": name,
        "seconds": prepared.seconds,
        "modality": prepared.modality,
        "coverage": prepared.coverage,
        "warnings": list(prepared.warnings),
        "timing": dict(prepared.timing),
        "mouth": {"crops": crops, "columns": COLUMNS, "fps": 25} if crops else None,
    }


def reading(
    key: str, transcript: Transcript, words: tuple[SureWord, ...], seconds: float
) -> dict[str, Any]:
    """One transcript with the confidence of its words."""
    return {
        **row(transcript, seconds),
        "id": key,
        "words": [
            {
                "text": word.text,
                "confidence": round(word.confidence, 4),
                "tokens": [{"text": text, "probability": round(p, 4)} for text, p in word.tokens],
            }
            for word in words
        ],
        "truncated": transcript.truncated,
        "warnings": list(transcript.warnings),
    }


def row(transcript: Transcript, seconds: float) -> dict[str, Any]:
    """One line of the table of rates."""
    counts: Mapping[str, int] = transcript.tokens
    return {
        "text": transcript.text,
        "modality": transcript.modality,
        "rates": dict(transcript.rates),
        "tokens": dict(counts),
        "seconds": round(seconds, 4),
    }


def sheet(crops: NDArray[np.uint8]) -> bytes:
    """Mouth crops side by side in one picture, a second to a line.

    Args:
        crops: [T, 96, 96] grey.

    Returns:
        A PNG; crop i is at column i % 25, line i // 25.
    """
    import cv2

    count, height, width = crops.shape
    lines = -(-count // COLUMNS)
    full = np.zeros((lines * COLUMNS, height, width), np.uint8)
    full[:count] = crops
    grid = full.reshape(lines, COLUMNS, height, width).swapaxes(1, 2)
    done, data = cv2.imencode(".png", grid.reshape(lines * height, COLUMNS * width))
    if not done:
        raise AvsrError("the mouth crops cannot be written as a picture")
    return data.tobytes()
