"""Rows of an evaluation as tables for a page or a spreadsheet, and beside an earlier report.

Data: `Row`s -> Markdown, CSV; an earlier `avsr eval --output-json` -> `Comparison` of each row.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avsr import bootstrap
from avsr.bootstrap import Comparison
from avsr.errors import AvsrError
from avsr.evaluate import Condition, Row

__all__ = ["compared", "csv_table", "markdown_table", "read_report"]

_TODO = "Give a file that `avsr eval --output-json` wrote."
_HEAD = (
    "| system | task | rates | SNR | damage | clips | WER % | 95 % | S | D | I | CER % | tokens/s "
    "| RTF | empty % | cut % |"
)


def markdown_table(rows: Sequence[Row]) -> str:
    """One table, a row a condition, and what its figures mean."""
    lines = [_HEAD, f"|---|---|---|---|---{'|---:' * 11}|"]
    for row in rows:
        span = row.score.wer_interval
        interval = "-" if span is None else f"{100 * span.low:.1f} - {100 * span.high:.1f}"
        words = row.score.words
        cells = [
            *_names(row.condition),
            str(len(row.heard)),
            f"{100 * row.score.wer:.1f}",
            interval,
            *(str(n) for n in (words.substitutions, words.deletions, words.insertions)),
            f"{100 * row.score.cer:.1f}",
            _number(row.tokens_per_second, 1),
            _number(row.rtf, 3),
            f"{100 * row.score.empty / len(row.heard):.1f}",
            f"{100 * row.truncated / len(row.heard):.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if rows:
        lines += ["", f"Normalizer {rows[0].score.normalizer}; intervals by bootstrap."]
    return "\n".join(lines)


def csv_table(rows: Sequence[Row]) -> str:
    """One line a condition; rates from 0 to 1, times in seconds of work a second of clip."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    stages = sorted({stage for row in rows for stage in row.rtf_by_stage})
    numbers = ("clips", "failed", "wer", "wer_low", "wer_high", "cer", "substitutions")
    more = ("deletions", "insertions", "reference_words", "empty_share", "truncated_share")
    speed = ("tokens_per_second", "rtf")
    fields = ("system", "task", "rates", "snr", "damage", *numbers, *more, *speed)
    writer.writerow([*fields, *(f"rtf_{stage}" for stage in stages)])
    for row in rows:
        score, span, words = row.score, row.score.wer_interval, row.score.words
        ends = ("", "") if span is None else (span.low, span.high)
        counts = (words.substitutions, words.deletions, words.insertions, words.reference)
        writer.writerow(
            [
                *_names(row.condition),
                len(row.heard),
                len(row.failed),
                score.wer,
                *ends,
                score.cer,
                *counts,
                score.empty / len(row.heard),
                row.truncated / len(row.heard),
                row.tokens_per_second,
                row.rtf,
                *(row.rtf_by_stage.get(stage) for stage in stages),
            ]
        )
    return out.getvalue()


def read_report(path: Path) -> Mapping[str, Any]:
    """Read an earlier report.

    Raises:
        AvsrError: not one.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        if not str(report["schema"]).startswith("avsr.eval/") or not report["rows"]:
            raise ValueError("not a report of an evaluation")
        return dict(report)
    except OSError as error:
        raise AvsrError(f"cannot be read: {error.strerror}", where=str(path), todo=_TODO) from error
    except (ValueError, KeyError, TypeError) as error:
        raise AvsrError("is no report of avsr eval", where=str(path), todo=_TODO) from error


def compared(
    rows: Sequence[Row],
    older: Mapping[str, Any],
    *,
    samples: int,
    seed: int,
    by: str = "utterance",
) -> list[Comparison | None]:
    """Compare each row with the earlier one of its condition, on the same clips.

    Args:
        rows: the system in question.
        older: from `read_report`; the system compared with.
        samples: bootstrap draws.
        seed: of the draws.
        by: "utterance" or "speaker", what is drawn.

    Returns:
        One for each row; None where the earlier report has no such condition.

    Raises:
        AvsrError: the clips or their references are others.
    """
    found: list[Comparison | None] = []
    for row in rows:
        theirs = next((old for old in older["rows"] if _same(row, old)), None)
        if theirs is None:
            found.append(None)
            continue
        texts = [(str(one["id"]), one["text"]) for one in theirs["hypotheses"]]
        same = texts == [(one.item.id, one.item.text) for one in row.heard]
        if not same or theirs["normalizer"] != row.score.normalizer:
            what = "the earlier report is of other clips, or of another normalizer"
            raise AvsrError(what, todo="Evaluate both on the same clips with one normalizer.")
        pairs = row.score.utterances
        speakers = [one.item.speaker for one in row.heard]
        found.append(
            bootstrap.compare(
                [one["word_errors"] for one in theirs["hypotheses"]],
                [pair.words.edits for pair in pairs],
                [pair.words.reference for pair in pairs],
                samples=max(samples, 1),
                seed=seed,
                clusters=speakers if by == "speaker" else None,
            )
        )
    return found


def _same(row: Row, old: Mapping[str, Any]) -> bool:
    condition = row.condition
    rates = None if condition.rates is None else condition.rates.to_dict()
    ours = (condition.system, condition.task, rates, condition.snr, condition.damage)
    return ours == tuple(map(old.get, ("system", "task", "rates", "snr_db", "damage")))


def _names(condition: Condition) -> list[str]:
    """System, task, rates, noise level and damage."""
    pair = condition.rates
    rates = "-" if pair is None else ",".join(str(r or "-") for r in (pair.audio, pair.video))
    snr = "clean" if condition.snr is None else f"{condition.snr:g}"
    return [condition.system, condition.task, rates, snr, condition.damage or "-"]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
