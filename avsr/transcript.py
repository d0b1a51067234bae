"""What a recogniser hands back: text with times, rates, costs and warnings.

tokens of one clip -> Transcript -> writers, score. Plain data: no torch, no I/O.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["SCHEMA", "Modality", "Segment", "Transcript", "Word"]

SCHEMA = "avsr.transcript/1"
"""Name and version of the dictionary that `Transcript.to_dict` makes.

What may stand in it is told by `avsr/schemas/transcript-1.json`, a JSON Schema.
"""

Modality = Literal["a", "v", "av"]


@dataclass(frozen=True)
class Word:
    """One word with its place in the clip, where that is known.

    Args:
        text: the word as written in the segment.
        start: first moment of the word, in seconds of clip time; None unless an aligner ran.
        end: last moment of the word, in seconds of clip time; None unless an aligner ran.
        confidence: how likely it is right, in 0..1; None where nothing tells.
    """

    text: str
    start: float | None = None
    end: float | None = None
    confidence: float | None = None


@dataclass(frozen=True)
class Segment:
    """A stretch of the clip and what was said in it.

    Args:
        start: in seconds of clip time.
        end: in seconds of clip time.
        text: what was said; empty where the model heard nothing.
        avg_logprob: mean natural log-probability of the text's tokens, or None.
        truncated: whether decoding stopped at its token limit before the end of the sentence.
        words: the words one by one; their times are never interpolated.
        confidence: how likely the words are right, mean over them; None where nothing tells.
    """

    start: float
    end: float
    text: str
    avg_logprob: float | None = None
    truncated: bool = False
    words: tuple[Word, ...] = ()
    confidence: float | None = None


@dataclass(frozen=True)
class Transcript:
    """Everything known about one recognised clip.

    Args:
        text: the whole text of the clip.
        segments: in the order of time.
        rates: frames a token for "audio" and "video"; None for a stream that was not used.
        modality: the streams that were used: "a", "v" or "av".
        tokens: counts under "audio", "video", "prompt" and "text".
        timing: seconds of each stage, with "total", and "rtf" (seconds of work a second of clip).
        warnings: one sentence for each thing that was done otherwise than asked.
        model: what produced this: name, revision, decode settings.
        input: what it was made from: path, duration in seconds, streams.
    """

    text: str
    segments: tuple[Segment, ...] = ()
    rates: Mapping[str, int | None] = field(default_factory=dict)
    modality: Modality = "av"
    tokens: Mapping[str, int] = field(default_factory=dict)
    timing: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    model: Mapping[str, Any] = field(default_factory=dict)
    input: Mapping[str, Any] = field(default_factory=dict)

    @property
    def truncated(self) -> bool:
        """Whether any segment was cut at the token limit."""
        return any(segment.truncated for segment in self.segments)

    def __str__(self) -> str:
        """Return the text, as a person would read it."""
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries, lists, strings and finite numbers, ready for JSON.

        Returns:
            A new dictionary whose "schema" is `SCHEMA`; numbers that are not finite become None.
        """
        return {
            "schema": SCHEMA,
            "text": self.text,
            "segments": [_segment(segment) for segment in self.segments],
            "modality": self.modality,
            "rates": _plain(self.rates),
            "tokens": _plain(self.tokens),
            "timing": _plain(self.timing),
            "warnings": list(self.warnings),
            "model": _plain(self.model),
            "input": _plain(self.input),
        }


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        "start": _plain(segment.start),
        "end": _plain(segment.end),
        "text": segment.text,
        "avg_logprob": _plain(segment.avg_logprob),
        "confidence": _plain(segment.confidence),
        "truncated": segment.truncated,
        "words": [
            {
                "text": word.text,
                "start": _plain(word.start),
                "end": _plain(word.end),
                "confidence": _plain(word.confidence),
            }
            for word in segment.words
        ],
    }


def _plain(value: Any) -> Any:
    """Mappings to dict, sequences to list, non-finite numbers to None, the rest as text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(entry) for entry in value]
    return str(value)
