"""A score as people and programs read it: sclite's table, Markdown, CSV, JSON.

Data: `Report` -> text. Rates are in per cent, with the interval and the normaliser beside them.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from avsr.alignment import Group, by_length, by_name, confusions, worst
from avsr.score import Comparison, ErrorCounts, Score

__all__ = ["SCHEMA", "Report", "finite", "sentence"]

SCHEMA = "avsr.score/1"
_COLUMNS = ("Snt", "Wrd", "Corr", "Sub", "Del", "Ins", "Err", "S.Err")


@dataclass(frozen=True)
class Report:
    """A score and what is told of it.

    Args:
        score: of a corpus.
        ids: a name for each utterance.
        speakers: of each utterance; empty where they are not known.
        against: how an older system compares, if one was given.
        drawn: what the bootstrap drew, "utterance" or "speaker".
        most: confusions and worst utterances to tell.
    """

    score: Score
    ids: tuple[str, ...]
    speakers: tuple[str, ...] = ()
    against: Comparison | None = None
    drawn: str = "utterance"
    most: int = 10

    @property
    def groups(self) -> list[Group]:
        """By speaker, where speakers are known."""
        return by_name(self.score, self.speakers) if self.speakers else []

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON: a relative change from no errors to some is None."""
        found = confusions(self.score, self.most)
        told = {
            "schema": SCHEMA,
            **self.score.to_dict(),
            "bootstrap_by": self.drawn,
            "speakers": [_plain(group) for group in self.groups],
            "lengths": [_plain(group) for group in by_length(self.score)],
            "confusions": [[said, heard, n] for (said, heard), n in found.substitutions],
            "deletions": [[word, n] for word, n in found.deletions],
            "insertions": [[word, n] for word, n in found.insertions],
            "worst": [
                {
                    "id": self.ids[index],
                    "reference": one.reference,
                    "hypothesis": one.hypothesis,
                    "word_errors": one.words.edits,
                }
                for index, one in worst(self.score, self.most)
            ],
        }
        if self.against is not None:
            told["against"] = asdict(self.against)
        return {key: finite(value) for key, value in told.items()}

    def table(self) -> str:
        """sclite's table: a line a speaker, the sum, then characters, lengths and confusions."""
        rows = [*self.groups, self._sum()]
        width = max(9, *(len(group.name) for group in (*rows, *by_length(self.score))))
        head = f"{'SPKR':<{width}} | {'# Snt':>6} {'# Wrd':>7} | " + " ".join(
            f"{name:>6}" for name in _COLUMNS[2:]
        )
        rule = "-" * len(head)
        lines = [head, rule, *(_sclite(group, width) for group in self.groups)]
        lines += [rule] if self.groups else []
        lines.append(_sclite(self._sum(), width))
        if len(self.groups) > 1:
            lines += self._spread(width)
        lines += [rule, *self._facts()]
        lines += ["", "by length of the reference", *self._lengths(width)]
        return "\n".join(lines)

    def markdown(self) -> str:
        """Tables for a page."""
        head = f"| | {' | '.join(_COLUMNS)} | 95 % |"
        rule = f"|---{'|---:' * (len(_COLUMNS) + 1)}|"
        rows = [_cells(group) for group in self.groups]
        spans = [*[""] * len(rows), _span(self.score.wer_interval)]
        rows.append(_cells(self._sum()))
        lines = [head, rule, *(_pipes(row, span) for row, span in zip(rows, spans, strict=True))]
        lines += ["", *(f"{line}  " for line in self._facts())]
        lines += ["", f"| reference | {' | '.join(_COLUMNS)} |", f"|---{'|---:' * len(_COLUMNS)}|"]
        lines += [_pipes(_cells(group)) for group in by_length(self.score)]
        found = confusions(self.score, self.most).substitutions
        if found:
            lines += ["", "| said | heard | times |", "|---|---|---:|"]
            lines += [f"| {_md(said)} | {_md(heard)} | {n} |" for (said, heard), n in found]
        return "\n".join(lines)

    def csv(self) -> str:
        """One line a group; counts, and rates from 0 to 1."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        fields = ("hits", "substitutions", "deletions", "insertions")
        writer.writerow(["kind", "name", "utterances", "wrong", "words", *fields, "wer"])
        kinds = (
            ("speaker", self.groups),
            ("length", by_length(self.score)),
            ("sum", [self._sum()]),
        )
        for kind, groups in kinds:
            for group in groups:
                counts = [getattr(group.words, field) for field in fields]
                row = [kind, group.name, group.utterances, group.wrong, group.words.reference]
                writer.writerow([*row, *counts, f"{group.words.rate:.6f}"])
        return out.getvalue()

    def _sum(self) -> Group:
        return Group("Sum/Avg", len(self.score.utterances), self.score.wrong, self.score.words)

    def _spread(self, width: int) -> list[str]:
        """Mean, deviation and median over speakers, as sclite gives them."""
        columns = list(zip(*(_shares(group) for group in self.groups), strict=True))
        kinds = (
            ("Mean", statistics.mean),
            ("S.D.", statistics.stdev),
            ("Median", statistics.median),
        )
        return [
            f"{name:<{width}} | {'':>6} {'':>7} | "
            + " ".join(f"{of([float(v) for v in column]):>6.1f}" for column in columns)
            for name, of in kinds
        ]

    def _facts(self) -> list[str]:
        result, counts = self.score, self.score.characters
        span = _span(result.wer_interval)
        wer = f"WER {100 * result.wer:.2f} %" + (
            f" (95 %: {span}, by {self.drawn})" if span else ""
        )
        span = _span(result.cer_interval)
        cer = f"CER {100 * result.cer:.2f} %" + (f" (95 %: {span})" if span else "")
        lines = [
            wer,
            f"{cer} of {counts.reference} characters",
            f"empty hypotheses {result.empty}; normalizer {result.normalizer}",
        ]
        if self.against is not None:
            lines.append(sentence(self.against))
        return lines

    def _lengths(self, width: int) -> list[str]:
        return [_sclite(group, width) for group in by_length(self.score)]


def _shares(group: Group) -> tuple[float, ...]:
    """Corr, Sub, Del, Ins, Err, S.Err in per cent of words and of utterances."""
    words = group.words
    total = max(words.reference, 1)
    counts = (words.hits, words.substitutions, words.deletions, words.insertions, words.edits)
    return (*(100 * n / total for n in counts), 100 * group.wrong / max(group.utterances, 1))


def _cells(group: Group) -> list[str]:
    numbers = [str(group.utterances), str(group.words.reference)]
    return [_md(group.name), *numbers, *(f"{share:.1f}" for share in _shares(group))]


def _sclite(group: Group, width: int) -> str:
    shares = " ".join(f"{share:>6.1f}" for share in _shares(group))
    return f"{group.name:<{width}} | {group.utterances:>6} {group.words.reference:>7} | {shares}"


def _plain(group: Group) -> dict[str, Any]:
    counts: ErrorCounts = group.words
    numbers = {"utterances": group.utterances, "wrong": group.wrong, "wer": counts.rate}
    return {"name": group.name, **numbers, "reference": counts.reference, **asdict(counts)}


def _span(interval: Any) -> str:
    return "" if interval is None else f"{100 * interval.low:.2f} - {100 * interval.high:.2f}"


def _pipes(cells: Sequence[str], *more: str) -> str:
    return f"| {' | '.join((*cells, *more))} |"


def _md(text: str) -> str:
    return text.replace("|", "\\|")


def sentence(against: Comparison, than: str = "--against") -> str:
    """How a system compares with an older one, called `than`."""
    span = f"{100 * against.interval.low:+.1f} to {100 * against.interval.high:+.1f}"
    return (
        f"WER {100 * against.relative:+.1f} % relative to {than} (95 %: {span}), "
        f"better in {100 * against.improvement:.1f} % of the draws"
    )


def finite(value: Any) -> Any:
    """The same numbers for JSON, which has no infinity."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and abs(value) == float("inf") else value
