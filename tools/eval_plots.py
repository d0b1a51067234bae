"""Plots of an evaluation, as SVG, from its report alone.

    avsr eval MANIFEST --output-json report.json --snr=-5,0,5,10,20,clean --noise babble.wav
    python tools/eval_plots.py report.json --output-dir plots

Data: report of `avsr eval --output-json` -> wer_by_tokens.svg (clean, a line a task),
wer_by_snr.svg (a line a task and rate pair) and wer_by_task.svg (a bar a task at its finest rates).
A plot for which the report has too few rows is left out, and said.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from avsr.svg import bars, curves
from avsr.writers import write_atomic

NAMES = {"a": "sound", "v": "lips", "av": "sound and lips"}
Rows = Sequence[Mapping[str, Any]]


def plots(rows: Rows) -> dict[str, str]:
    """Every plot for which there are rows: name of the file -> SVG."""
    clean = [row for row in rows if row["snr_db"] is None]
    ours = [row for row in clean if row["system"] == "avsr"]
    by_tokens = _lines(ours, _task, lambda row: row["tokens_per_second"])
    noisy = [row for row in rows if row["snr_db"] is not None]
    by_snr = _lines(noisy, _name, lambda row: row["snr_db"])
    found = {}
    if any(len(points) > 1 for points in by_tokens.values()):
        found["wer_by_tokens.svg"] = curves(
            by_tokens, title="Word error rate by tokens", across="tokens per second", up="WER, %"
        )
    if any(len(points) > 1 for points in by_snr.values()):
        found["wer_by_snr.svg"] = curves(
            by_snr, title="Word error rate in noise", across="SNR, dB", up="WER, %"
        )
    if ours:
        finest: dict[str, float] = {}
        for row in ours:  # rows of a task begin with its finest rates
            finest.setdefault(_task(row), 100 * row["wer"])
        found["wer_by_task.svg"] = bars(finest, title="Word error rate by task", unit="WER, %")
    return found


def _lines(rows: Rows, name: Any, across: Any) -> dict[str, list[tuple[float, float]]]:
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


def main(words: Iterable[str] | None = None) -> int:
    """Write the plots and return an exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("report", type=Path, help="of avsr eval --output-json")
    parser.add_argument("--output-dir", type=Path, required=True, help="made if it is missing")
    args = parser.parse_args(None if words is None else list(words))
    rows = json.loads(args.report.read_text(encoding="utf-8"))["rows"]
    args.output_dir.mkdir(parents=True, exist_ok=True)
    made = plots(rows)
    for name, text in made.items():
        write_atomic(args.output_dir / name, text)
        print(args.output_dir / name)
    for name in ("wer_by_tokens.svg", "wer_by_snr.svg", "wer_by_task.svg"):
        if name not in made:
            print(f"{name}: too few rows in the report", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
