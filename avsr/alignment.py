"""Where the errors of a score are: alignments, confusions, worst utterances, errors by length.

Data: `Score` -> tables and texts. The alignment is the one whose errors were counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from avsr.score import ErrorCounts, Score, Utterance

__all__ = [
    "BUCKETS",
    "Confusions",
    "Group",
    "by_length",
    "by_name",
    "confusions",
    "printed",
    "worst",
]

BUCKETS = ((0, 5), (6, 10), (11, 20), (21, None))
"""Reference words of an utterance, from and to; None has no end."""


@dataclass(frozen=True)
class Confusions:
    """What was taken for what, most frequent first.

    Args:
        substitutions: (said, heard) and how often.
        deletions: words said and not heard.
        insertions: words heard and not said.
    """

    substitutions: tuple[tuple[tuple[str, str], int], ...]
    deletions: tuple[tuple[str, int], ...]
    insertions: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Group:
    """Counts of some utterances.

    Args:
        name: what they have in common.
        utterances: how many there are.
        wrong: how many have an error.
        words: their counts.
    """

    name: str
    utterances: int
    wrong: int
    words: ErrorCounts


def confusions(score: Score, most: int | None = None) -> Confusions:
    """Count which words were taken for which.

    Args:
        score: with alignments.
        most: how many of each kind to give; None for all.
    """
    pairs = Counter(pair for one in score.utterances for pair in one.alignment)
    wrong = [(pair, n) for pair, n in pairs.items() if pair[0] != pair[1]]
    wrong.sort(key=lambda entry: (-entry[1], entry[0]))
    return Confusions(
        tuple((pair, n) for pair, n in wrong if all(pair))[:most],
        tuple((said, n) for (said, heard), n in wrong if heard == "")[:most],
        tuple((heard, n) for (said, heard), n in wrong if said == "")[:most],
    )


def worst(score: Score, most: int) -> list[tuple[int, Utterance]]:
    """The utterances with most word errors, the shorter first of those with as many.

    Args:
        score: of a corpus.
        most: how many to give at most; those without an error are never among them.

    Returns:
        Index in the corpus, and the utterance.
    """
    wrong = [(k, one) for k, one in enumerate(score.utterances) if one.words.edits > 0]
    wrong.sort(key=lambda entry: (-entry[1].words.edits, entry[1].words.reference, entry[0]))
    return wrong[:most]


def by_name(score: Score, names: Sequence[str]) -> list[Group]:
    """Counts by speaker, corpus or whatever each utterance has a name of.

    Args:
        score: of a corpus.
        names: one for each utterance.

    Raises:
        ValueError: another number of names than of utterances.
    """
    found: dict[str, list[Utterance]] = {}
    for name, one in zip(names, score.utterances, strict=True):
        found.setdefault(name, []).append(one)
    return [_group(name, found[name]) for name in sorted(found)]


def by_length(score: Score) -> list[Group]:
    """Counts by the number of reference words; buckets without an utterance are left out."""
    groups = []
    for low, high in BUCKETS:
        inside = [
            one
            for one in score.utterances
            if low <= one.words.reference and (high is None or one.words.reference <= high)
        ]
        name = f"{low} words or more" if high is None else f"{low} to {high} words"
        groups += [_group(name, inside)] if inside else []
    return groups


def _group(name: str, utterances: Sequence[Utterance]) -> Group:
    wrong = sum(one.words.edits > 0 for one in utterances)
    words = sum((one.words for one in utterances), ErrorCounts())
    return Group(name, len(utterances), wrong, words)


def printed(score: Score, ids: Sequence[str]) -> Iterator[str]:
    """Alignments as sclite prints them: words under words, errors in capitals, their kind below.

    Args:
        score: of a corpus.
        ids: a name for each utterance.

    Returns:
        A block of lines for each utterance, ending in an empty line.
    """
    for name, one in zip(ids, score.utterances, strict=True):
        said, heard, marks = [], [], []
        for left, right in one.alignment:
            kind = "" if left == right else "I" if left == "" else "D" if right == "" else "S"
            shown = [left or "*" * len(right), right or "*" * len(left)]
            shown = [text.upper() for text in shown] if kind else shown
            width = max(map(len, shown))
            said.append(shown[0].ljust(width))
            heard.append(shown[1].ljust(width))
            marks.append(kind.ljust(width))
        counts = one.words
        numbers = (counts.hits, counts.substitutions, counts.deletions, counts.insertions)
        lines = [f"id: {name}", f"Scores: (#C #S #D #I) {' '.join(map(str, numbers))}"]
        for title, row in (("REF:  ", said), ("HYP:  ", heard), ("Eval: ", marks)):
            lines.append(f"{title}{' '.join(row)}".rstrip())
        yield "\n".join(lines) + "\n"
