"""The figures of `avsr eval` for people to read.

Data: rows of an evaluation -> lines of a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from avsr.rates import Rates

if TYPE_CHECKING:
    from avsr.conditions import Condition
    from avsr.evaluate import Row

__all__ = ["listing", "pair", "title"]

_HEAD = (
    "system  task  rates  snr  clips    WER         95 %     CER     S     D     I"
    "  tok/s    RTF  empty   cut"
)
_STAGES = ("media", "lips", "towers", "language_model")


def listing(rows: Sequence[Row]) -> str:
    """Set figures below each other, a line a condition."""
    damaged = any(row.condition.damage is not None for row in rows)
    lines = [f"{_HEAD}  damage" if damaged else _HEAD]
    lines += [
        f"{_line(row)}  {row.condition.damage or '-'}" if damaged else _line(row) for row in rows
    ]
    if rows:
        lines.append(f"normalizer {rows[0].score.normalizer}")
        lines += _speed(rows[0])
    if any(row.condition.system == "whisper" for row in rows):
        lines.append("whisper: its own decoder on the same sound, greedy, digits spelled out")
    return "\n".join(lines)


def _speed(row: Row) -> list[str]:
    """Where the time of a row went."""
    shares = row.rtf_by_stage
    known = [name for name in _STAGES if name in shares]
    told = ", ".join(f"{name.replace('_', ' ')} {shares[name]:.3f}" for name in known)
    return [f"RTF of the first row: {told}"] if told else []


def _line(row: Row) -> str:
    condition, score, clips = row.condition, row.score, len(row.heard)
    snr = "clean" if condition.snr is None else f"{condition.snr:g}"
    span = score.wer_interval
    interval = "" if span is None else f"{100 * span.low:.1f} - {100 * span.high:.1f}"
    words = score.words
    return (
        f"{condition.system:7} {condition.task:4} {pair(condition.rates):>6} {snr:>5} {clips:5}"
        f" {100 * score.wer:5.1f}% {interval:>12} {100 * score.cer:6.1f}%"
        f" {words.substitutions:5} {words.deletions:5} {words.insertions:5}"
        f" {_number(row.tokens_per_second, 1):>6} {_number(row.rtf, 3):>6}"
        f" {100 * score.empty / clips:5.1f}% {100 * row.truncated / clips:4.1f}%"
    )


def pair(rates: Rates | None) -> str:
    """A rate pair as it is written in tables: "4,2", "4,-", "-" for the baseline."""
    if rates is None:
        return "-"
    return ",".join("-" if rate is None else str(rate) for rate in (rates.audio, rates.video))


def title(condition: Condition) -> str:
    """A condition in a line's beginning: "avsr av 4,2 at -5 dB under rain"."""
    name = f"{condition.system} {condition.task} {pair(condition.rates)}"
    name += "" if condition.snr is None else f" at {condition.snr:g} dB"
    return name if condition.damage is None else f"{name} under {condition.damage}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
