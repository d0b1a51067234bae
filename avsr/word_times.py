"""When each word was said: a finished transcript laid over the frames by forced alignment.

Data: tower features of a clip + its words -> start and end of each word in seconds.

The CTC of the projectors, told for single frames as in `avsr.spoken`, is aligned with the tokens
of the words (Viterbi over CTC states: Kürzinger et al. 2020; torchaudio's `forced_align`). Nothing
is interpolated: a word with a token that the CTC does not know has no times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, pairwise

import numpy as np
import torch
from torch import Tensor

from avsr.compress.windows import cut
from avsr.ctc import EmbeddingCtc
from avsr.errors import ModelError, SetupError
from avsr.model import AvsrModel
from avsr.prepare import Prepared
from avsr.spoken import spread
from avsr.streams import Budget, TokenStream
from avsr.transcript import Transcript
from experts import Task
from frontends.speech import HOP, energy, voice

__all__ = ["Span", "WordAligner", "spans"]

Span = tuple[float, float]

# Measured with tools/word_times.py on GRID's validation split: a word's first frame comes 0.08 s
# (median) after the word's start, as CTC is sure of a word only once it has heard some of it.
LEAD = 0.08
_VOICE = 0.5  # probability from which a window counts as speech
_REST = 0.05  # s kept after the last of them
_DEAF = 6  # last frames of a sound that are not listened to
_NEVER = -30.0  # log-probability of a token there


def spans(scores: Tensor, words: Sequence[Sequence[int]], hz: float) -> list[Span] | None:
    """Align words with frames.

    Args:
        scores: log-probabilities [T, classes] of each frame, blank first.
        words: classes of each word, at least one each.
        hz: frames a second.

    Returns:
        First and last moment of each word in seconds, none overlapping; None where they do not fit
        into the frames.
    """
    classes = [c for word in words for c in word]
    repeats = sum(a == b for a, b in pairwise(classes))
    if not classes:
        return []
    if len(classes) + repeats > len(scores):
        return None
    targets = torch.tensor([classes], dtype=torch.int32)
    path, _ = _forced_align()(scores[None].float().cpu().contiguous(), targets, blank=0)
    runs: list[tuple[int, int]] = []  # frames of each token, from and to
    at = 0
    for label, frames in groupby(path[0].tolist()):
        length = len(list(frames))
        runs += [(at, at + length)] if label else []
        at += length
    out: list[Span] = []
    first = 0
    for word in words:
        start, end = runs[first][0] / hz, runs[first + len(word) - 1][1] / hz
        out.append((max(start - LEAD, out[-1][1] if out else 0.0), end))
        first += len(word)
    return out


class WordAligner:
    """Finds the words of transcripts in the clips they were read from.

    Args:
        model: whose projectors the CTC was trained with.
        alignment: the CTC.
        hz: frames a second of the "audio" and "video" features.

    Raises:
        ModelError: the projectors do not read single frames.
        SetupError: torchaudio cannot be loaded.
    """

    def __init__(
        self, model: AvsrModel, alignment: EmbeddingCtc | None, hz: Mapping[str, float]
    ) -> None:
        if alignment is None:
            todo = "Train one with a CTC (objective.ctc), or leave --word-timestamps out."
            raise ModelError("this model cannot tell the times of words: it has no CTC", todo=todo)
        if any(_widens(model, kind) for kind in ("audio", "video")):
            what = "this model's projectors read frames stacked: word times need single ones"
            raise ModelError(what, todo="Leave --word-timestamps out.")
        _forced_align()
        self.model, self.alignment, self.hz = model, alignment, hz
        self._class_of = {token: i + 1 for i, token in enumerate(alignment.vocabulary)}

    def timed(self, clip: Prepared, transcript: Transcript) -> Transcript:
        """A transcript of one segment, with the times of its words.

        Args:
            clip: what it was read from, encoded.
            transcript: as `Recogniser.recognise` makes it.
        """
        began = time.perf_counter()
        (segment,) = transcript.segments
        found = self.times(clip, transcript.modality, [word.text for word in segment.words])
        words = tuple(
            word if span is None else replace(word, start=span[0], end=span[1])
            for word, span in zip(segment.words, found, strict=True)
        )
        warnings = transcript.warnings
        if None in found:
            missing = f"{found.count(None)} of {len(found)} words have no times"
            warnings = (*warnings, f"{missing}: the aligner does not know them, or has no room")
        spent = time.perf_counter() - began
        timing = {**transcript.timing, "word_times": spent}
        timing["total"] += spent
        timing["rtf"] = timing["total"] / max(clip.seconds, 1e-9)
        segments = (replace(segment, words=words),)
        return replace(transcript, segments=segments, warnings=warnings, timing=timing)

    @torch.no_grad()
    def times(self, clip: Prepared, task: Task, words: Sequence[str]) -> list[Span | None]:
        """Start and end of each word in seconds of the clip; None where they cannot be told.

        Args:
            clip: encoded.
            task: the streams that were read.
            words: of the transcript, in order.
        """
        scores, hz = self._scores(clip, task)
        # The most likely class of all stands for a token without a class.
        anything = scores.shape[1]
        scores = torch.cat([scores, scores[:, 1:].amax(1, keepdim=True)], dim=1)
        ids = [self.model.tokenizer.encode(f" {word}") for word in words]
        classes = [[self._class_of.get(token, anything) for token in word] for word in ids]
        found = spans(scores, classes, hz)
        if found is None:
            return [None] * len(words)
        return [
            None if anything in word else span for word, span in zip(classes, found, strict=True)
        ]

    def _scores(self, clip: Prepared, task: Task) -> tuple[Tensor, float]:
        """Log-probabilities [T, classes], and frames a second, of the stream that tells times best.

        That is the sound wherever it was read: the lips' times are off by half as much again, and
        the mean of both is no better than the lips (measured as LEAD was).
        """
        if task == "v":
            assert clip.video is not None
            return self._read(clip.video, "video"), self.hz["video"]
        assert clip.audio is not None
        # A CTC that heard nothing after the last word may give it to the last frames of all.
        return self._read(clip.audio, "audio", _end(clip)), self.hz["audio"]

    def _read(self, features: Tensor, kind: str, end: float | None = None) -> Tensor:
        """[T, D] -> [T, classes]; up to `end` s, if there is one."""
        rate, hz = min(self.model.rates[kind]), self.hz[kind]
        stream = TokenStream.from_rows([features], hz)
        if end is not None:
            stop = stream.lengths.clamp_max(max(1, round(end * hz)))
            stream = cut(stream, torch.zeros_like(stop), stop)

        def said(tokens: TokenStream) -> Tensor:
            return self.alignment.log_probs(self.model.project(tokens, kind, rate).x)

        scores = spread(stream, rate, said)[0]
        if end is not None and len(scores) > 2 * _DEAF:
            scores[-_DEAF:, 1:], scores[-_DEAF:, 0] = _NEVER, 0.0
        return scores


def _forced_align() -> Callable[..., tuple[Tensor, Tensor]]:
    """torchaudio's aligner."""
    try:
        from torchaudio.functional import forced_align
    except ImportError as error:
        todo = "Install the torchaudio that fits torch; 'avsr doctor' says which."
        raise SetupError(f"word times need torchaudio: {error}", todo=todo) from error
    found: Callable[..., tuple[Tensor, Tensor]] = forced_align
    return found


def _widens(model: AvsrModel, kind: str) -> bool:
    """Whether a modality's compressor hands on frames of another width than the tower's."""
    rates = model.rates[kind]
    return bool(rates) and model.compressor_of(kind).width(1, Budget.rate(min(rates))) != 1


def _end(clip: Prepared) -> float:
    """Where speech ends, in seconds."""
    assert clip.wave is not None
    try:
        active = voice(clip.wave)
    except ImportError:
        active = energy(clip.wave)
    loud = np.flatnonzero(active > _VOICE)
    return clip.seconds if len(loud) == 0 else float((loud[-1] + 1) * HOP + _REST)
