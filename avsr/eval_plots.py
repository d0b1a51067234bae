"""Plots of an evaluation, as SVG.

Rows of a report, as `Row.to_dict` gives them -> name of each file -> SVG.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from avsr.svg import bars, curves

__all__ = ["PLOTS", "plots"]

PLOTS = ("wer_by_tokens.svg", "wer_by_snr.svg", "wer_by_task.svg", "wer_by_damage.svg")
NAMES = {"a": "sound", "v": "lips", "av": "sound and lips"}
Rows = Sequence[Mapping[str, Any]]


def plots(rows: Rows) -> dict[str, str]:
    """Draw every plot for which there are rows.

    Args:
        rows: of a report.

    Returns:
        Some of `PLOTS`: WER by tokens per second (no noise; a line a task), by SNR (a line a task
        and rate pair), by task (a bar each, at its finest rates) and by damage (a bar a task and
        damage). The first three are of the rows that met what the first row of the report met:
        nothing, unless every row is damaged.
    """
    first = rows[0].get("damage") if rows else None
    plain = [row for row in rows if row.get("damage") == first]
    under = "" if first is None else f", {first}"
    ours = [row for row in plain if row["snr_db"] is None and row["system"] == "avsr"]
    read = [row for row in ours if row["tokens_per_second"] is not None]  # not all clips failed
    by_tokens = _lines(read, _task, lambda row: float(row["tokens_per_second"]))
    noisy = [row for row in plain if row["snr_db"] is not None]
    by_snr = _lines(noisy, _name, lambda row: float(row["snr_db"]))
    found = {}
    if any(len(points) > 1 for points in by_tokens.values()):
        found[PLOTS[0]] = curves(
            by_tokens,
            title=f"Word error rate by tokens{under}",
            across="tokens per second",
            up="WER, %",
        )
    if any(len(points) > 1 for points in by_snr.values()):
        title = f"Word error rate in noise{under}"
        found[PLOTS[1]] = curves(by_snr, title=title, across="SNR, dB", up="WER, %")
    if ours:
        found[PLOTS[2]] = bars(
            _finest(ours, _task), title=f"Word error rate by task{under}", unit="WER, %"
        )
    swept = [row for row in rows if row["snr_db"] is None and row["system"] == "avsr"]
    if len({row.get("damage") for row in swept}) > 1:
        by_damage = _finest(swept, lambda row: f"{row['task']}: {row.get('damage') or 'none'}")
        title = "Word error rate by damage (a sound, v lips)"
        found[PLOTS[3]] = bars(by_damage, title=title, unit="WER, %")
    return found


def _finest(rows: Rows, name: Callable[[Mapping[str, Any]], str]) -> dict[str, float]:
    """WER in per cent of the first row of each name, which is that of its finest rates."""
    found: dict[str, float] = {}
    for row in rows:
        found.setdefault(name(row), 100 * row["wer"])
    return found


def _lines(
    rows: Rows,
    name: Callable[[Mapping[str, Any]], str],
    across: Callable[[Mapping[str, Any]], float],
) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        found.setdefault(name(row), []).append((across(row), 100 * row["wer"]))
    return {key: sorted(points) for key, points in found.items()}


def _task(row: Mapping[str, Any]) -> str:
    return NAMES[row["task"]]


def _name(row: Mapping[str, Any]) -> str:
    if row["rates"] is None:
        return f"{row['system']} {_task(row)}"
    return f"{_task(row)} {','.join(str(rate or '-') for rate in row['rates'].values())}"
