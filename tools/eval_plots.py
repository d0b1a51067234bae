"""Plots of an evaluation, as SVG, from its report alone; `avsr eval --plots DIR` draws the same.

    avsr eval MANIFEST --output-json report.json --snr=-5,0,5,10,20,clean --noise babble.wav
    python tools/eval_plots.py report.json --output-dir plots

Data: report of `avsr eval --output-json` -> the files of `avsr.eval_plots.PLOTS`. A plot for which
the report has too few rows is left out, and said.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from avsr.cli.outcome import guarded
from avsr.eval_plots import PLOTS, plots
from avsr.writers import write_atomic


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
    for name in PLOTS:
        if name not in made:
            print(f"{name}: too few rows in the report", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
