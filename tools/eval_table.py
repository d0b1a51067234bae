"""Turn reports of `avsr eval --output-json` into the Markdown table of a model card.

    python tools/eval_table.py "GRID s1 test=s1.json" "LibriSpeech test=libri.json"

Data: reports -> one table on stdout, a row a condition. Figures come from the reports alone.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

TASKS = {"a": "ASR", "v": "VSR", "av": "AVSR"}
HEAD = "| clips | system | task | rates (A,V) | SNR | WER % | 95 % | CER % | tokens/s | RTF |"
RULE = "|---|---|---|---|---|---|---|---|---|---|"


def cell(row: dict[str, Any], label: str) -> str:
    """One row of the table."""
    rates = row["rates"]
    pair = "-" if rates is None else ",".join(str(r or "-") for r in rates.values())
    noise = "clean" if row["snr_db"] is None else f"{row['snr_db']:g} dB"
    noise += f", {row['damage']}" if row.get("damage") else ""
    span = row["wer_interval"]
    interval = "-" if span is None else f"{100 * span['low']:.1f}-{100 * span['high']:.1f}"
    tokens, rtf = row["tokens_per_second"], row["rtf"]
    cells = [
        f"{label} ({row['clips']})",
        "ours" if row["system"] == "avsr" else "Whisper's decoder",
        TASKS[row["task"]],
        pair,
        noise,
        f"{100 * row['wer']:.1f}",
        interval,
        f"{100 * row['cer']:.1f}",
        "-" if tokens is None else f"{tokens:.1f}",
        "-" if rtf is None else f"{rtf:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("reports", nargs="+", metavar="LABEL=FILE.json")
    args = parser.parse_args()
    print(HEAD, RULE, sep="\n")
    for word in args.reports:
        label, _, file = word.partition("=")
        report = json.loads(Path(file).read_text(encoding="utf-8"))
        for row in report["rows"]:
            print(cell(row, label))


if __name__ == "__main__":
    main()
