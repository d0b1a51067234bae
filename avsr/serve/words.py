"""How sure the language model was of each word that it wrote.

Hypothesis -> words in order, each with the probability of its tokens, which are the decoder's own.
A word's confidence is the transcript's: calibrated where the model has a calibration.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from avsr.decode import Hypothesis
from avsr.transcript import Transcript

__all__ = ["SureWord", "judged", "sure_words"]


@dataclass(frozen=True)
class SureWord:
    """One word of a transcript.

    Args:
        text: the word.
        confidence: how likely it is right, 0 to 1; until `judged`, the probability that the decoder
            gave to all its tokens together.
        tokens: the pieces that it was written in, and the probability of each.
    """

    text: str
    confidence: float
    tokens: tuple[tuple[str, float], ...]


def judged(transcript: Transcript, words: Sequence[SureWord]) -> tuple[SureWord, ...]:
    """Give words the confidences that the transcript has, so that page and files say the same.

    Args:
        transcript: of one segment.
        words: its words, from `sure_words`.
    """
    own = [word.confidence for segment in transcript.segments for word in segment.words]
    return tuple(
        word if sure is None else replace(word, confidence=sure)
        for word, sure in zip(words, own, strict=True)
    )


def sure_words(
    hypothesis: Hypothesis, decode: Callable[[Sequence[int]], str]
) -> tuple[SureWord, ...]:
    """Share a hypothesis's log-probabilities out to its words.

    A token that belongs to two words, as one of spaces and letters may, counts in both.

    Args:
        hypothesis: what was decoded.
        decode: the tokenizer's, token ids to text.

    Returns:
        The words of `hypothesis.text`, in order.
    """
    ids = hypothesis.token_ids
    text = decode(ids)
    # A token may hold part of a character, so its text alone means nothing: ends are those of the
    # text so far, and never go back.
    ends = [0]
    for count in range(1, len(ids) + 1):
        ends.append(max(ends[-1], min(len(decode(ids[:count])), len(text))))
    ends[-1] = len(text)
    found = []
    for word in re.finditer(r"\S+", text):
        spans = enumerate(pairwise(ends))
        own = [n for n, (start, end) in spans if start < word.end() and end > word.start()]
        tokens = tuple(
            (text[ends[n] : ends[n + 1]], math.exp(min(0.0, hypothesis.logprobs[n]))) for n in own
        )
        found.append(SureWord(word[0], math.prod(p for _, p in tokens), tokens))
    return tuple(found)
