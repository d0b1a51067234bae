"""Word and character error rates of a corpus, with counts and intervals.

references, hypotheses -> normaliser -> `Score`. Rates are total edits over total reference units,
never a mean of ratios. The alignment is jiwer's: one of the shortest, so the sum of errors is
unique but their split into substitutions, deletions and insertions may differ from another tool's.

Empty references: a word said where nothing should be is an insertion and counts in the total. A
corpus without a single reference word has the rate edits / 1, as in jiwer, so 0 where nothing was
said either.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from types import ModuleType
from typing import Any

import jiwer

from avsr import bootstrap
from avsr.bootstrap import Comparison, Interval
from avsr.errors import AvsrError
from avsr.normalize import Normalizer, normalizer

__all__ = ["Comparison", "ErrorCounts", "Interval", "Score", "Utterance", "compare", "score"]

DRAWS = 10_000
"""Bootstrap draws unless told otherwise, as in Kaldi's compute-wer-bootci."""


@dataclass(frozen=True)
class ErrorCounts:
    """What an alignment counts, in words or characters."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def edits(self) -> int:
        """Errors: substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference(self) -> int:
        """Units in the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def hypothesis(self) -> int:
        """Units in the hypothesis."""
        return self.hits + self.substitutions + self.insertions

    @property
    def rate(self) -> float:
        """Errors for each reference unit; may exceed 1."""
        return self.edits / max(self.reference, 1)

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        """Add the counts of two texts."""
        return ErrorCounts(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


@dataclass(frozen=True)
class Utterance:
    """One pair as it was compared, after the normaliser, and its counts.

    Args:
        reference: what was said.
        hypothesis: what was heard.
        words: counts in words.
        characters: counts in characters.
        alignment: word against word, said and heard; "" where one side has none.
    """

    reference: str
    hypothesis: str
    words: ErrorCounts
    characters: ErrorCounts
    alignment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Score:
    """Error rates of a corpus.

    Args:
        words: counts over all utterances, in words.
        characters: counts over all utterances, in characters; one space between words is one.
        utterances: every pair, in the order given.
        normalizer: name and version of the normaliser.
        wer_interval: 95 % bootstrap interval of `wer`; None where none was asked for.
        cer_interval: the same of `cer`.
    """

    words: ErrorCounts
    characters: ErrorCounts
    utterances: tuple[Utterance, ...]
    normalizer: str
    wer_interval: Interval | None = None
    cer_interval: Interval | None = None

    @property
    def wer(self) -> float:
        """Word error rate, 0.05 for 5 %."""
        return self.words.rate

    @property
    def cer(self) -> float:
        """Character error rate, 0.05 for 5 %."""
        return self.characters.rate

    @property
    def wrong(self) -> int:
        """Utterances with at least one word error."""
        return sum(pair.words.edits > 0 for pair in self.utterances)

    @property
    def empty(self) -> int:
        """Utterances whose hypothesis has no word."""
        return sum(pair.words.hypothesis == 0 for pair in self.utterances)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures, without the texts, ready for JSON."""
        return {
            "normalizer": self.normalizer,
            "utterances": len(self.utterances),
            "wrong_utterances": self.wrong,
            "empty_hypotheses": self.empty,
            "wer": self.wer,
            "wer_interval": asdict(self.wer_interval) if self.wer_interval is not None else None,
            "cer": self.cer,
            "cer_interval": asdict(self.cer_interval) if self.cer_interval is not None else None,
            "words": {"reference": self.words.reference, **asdict(self.words)},
            "characters": {"reference": self.characters.reference, **asdict(self.characters)},
        }


def score(
    references: Iterable[str],
    hypotheses: Iterable[str],
    normalizer: str | Normalizer = "lrs3",
    *,
    samples: int = DRAWS,
    seed: int = 0,
    clusters: Sequence[str] | None = None,
) -> Score:
    """Compare hypotheses with references, one to one.

    Args:
        references: what was said.
        hypotheses: what was recognised, in the same order; "" where nothing was.
        normalizer: a name of `avsr.normalize.NORMALIZERS`, or a `Normalizer`; for both sides.
        samples: bootstrap draws of the intervals; 0 for none.
        seed: of the draws.
        clusters: a name for each pair, such as its speaker, by which the bootstrap draws.

    Returns:
        Counts, rates and intervals.

    Raises:
        AvsrError: the two differ in number, are empty, or one of them is a bare string.
    """
    rules = _rules(normalizer)
    said, heard = _texts(references, rules), _texts(hypotheses, rules)
    if len(said) != len(heard):
        raise AvsrError(
            f"{len(said)} references but {len(heard)} hypotheses",
            todo="Give one hypothesis for each reference, an empty one where nothing was heard.",
        )
    if not said:
        raise AvsrError("nothing to score", todo="Give at least one reference.")
    aligned = jiwer.process_words(said, heard).alignments
    words = _counts(aligned)
    characters = _counts(jiwer.process_characters(said, heard).alignments)
    columns = map(_columns, said, heard, aligned)
    pairs = tuple(map(Utterance, said, heard, words, characters, columns))
    return Score(
        words=sum(words, ErrorCounts()),
        characters=sum(characters, ErrorCounts()),
        utterances=pairs,
        normalizer=rules.version,
        wer_interval=_interval(words, samples, seed, clusters),
        cer_interval=_interval(characters, samples, seed, clusters),
    )


def compare(
    first: Score,
    second: Score,
    *,
    samples: int = DRAWS,
    seed: int = 0,
    clusters: Sequence[str] | None = None,
) -> Comparison:
    """Compare two systems on the same utterances, by word errors.

    Args:
        first: the system compared with.
        second: the system in question.
        samples: bootstrap draws, at least 1.
        seed: of the draws.
        clusters: as for `score`.

    Returns:
        The relative difference of the word error rates, negative where the second is better.

    Raises:
        AvsrError: the two were not scored on the same references.
    """
    if [p.reference for p in first.utterances] != [p.reference for p in second.utterances]:
        raise AvsrError(
            "the two systems were scored on different references",
            todo="Score both on the same utterances, in the same order, with one normalizer.",
        )
    return bootstrap.compare(
        [pair.words.edits for pair in first.utterances],
        [pair.words.edits for pair in second.utterances],
        [pair.words.reference for pair in first.utterances],
        samples=samples,
        seed=seed,
        clusters=clusters,
    )


_rules = normalizer  # `score` has an argument of that name


def _texts(texts: Iterable[str], rules: Normalizer) -> list[str]:
    if isinstance(texts, str):
        raise AvsrError("a bare string is not a corpus", todo="Give a list of texts.")
    return [" ".join(rules(text).split()) for text in texts]


def _counts(alignments: Sequence[Sequence[jiwer.AlignmentChunk]]) -> list[ErrorCounts]:
    counts = []
    for chunks in alignments:
        sums = {"equal": 0, "substitute": 0, "delete": 0, "insert": 0}
        for chunk in chunks:
            sums[chunk.type] += max(
                chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx
            )
        counts.append(
            ErrorCounts(sums["equal"], sums["substitute"], sums["delete"], sums["insert"])
        )
    return counts


def _columns(
    said: str, heard: str, chunks: Sequence[jiwer.AlignmentChunk]
) -> tuple[tuple[str, str], ...]:
    """Word against word."""
    left, right = said.split(), heard.split()
    found: list[tuple[str, str]] = []
    for chunk in chunks:
        first = left[chunk.ref_start_idx : chunk.ref_end_idx]
        second = right[chunk.hyp_start_idx : chunk.hyp_end_idx]
        found += zip_longest(first, second, fillvalue="")
    return tuple(found)


def _interval(
    counts: Sequence[ErrorCounts], samples: int, seed: int, clusters: Sequence[str] | None
) -> Interval | None:
    if samples < 1:
        return None
    edits, lengths = [c.edits for c in counts], [c.reference for c in counts]
    return bootstrap.interval(edits, lengths, samples=samples, seed=seed, clusters=clusters)


class _Callable(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Score:
        return score(*args, **kwargs)


# The name `avsr.score` is this module once anything imported it: keep it callable either way.
sys.modules[__name__].__class__ = _Callable
