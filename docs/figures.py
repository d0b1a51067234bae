"""Draw the figure and write the table of `docs/rates.md` from the default model's card.

    python docs/figures.py [--check]

Data: the table under "Figures" of avsr/models/default/README.md -> docs/rates.svg, and the part of
the page between its marks. `--check` writes nothing and ends with 1 where they are out of date.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avsr.writers import write_atomic

ROOT = Path(__file__).resolve().parents[1]
CARD = ROOT / "avsr" / "models" / "default" / "README.md"
PAGE, FIGURE = ROOT / "docs" / "rates.md", ROOT / "docs" / "rates.svg"
CLIPS = "GRID s1 test"  # the speaker that the model knows best, clean
TASKS = {"ASR": "a", "VSR": "v", "AVSR": "av"}
MARK = re.compile(r"(<!-- rates -->\n).*?(<!-- end of rates -->)", re.DOTALL)


def measured(card: str) -> list[dict[str, Any]]:
    """Our rows of the clips above, as `avsr eval` would report them.

    Args:
        card: text of a model card whose table was made by tools/eval_table.py.

    Raises:
        ValueError: the card has no such rows.
    """
    rows = []
    for line in card.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) < 10 or not re.fullmatch(rf"{CLIPS} \(\d+\)", cells[0]):
            continue
        if cells[1] != "ours" or cells[4] != "clean":
            continue
        audio, video = (None if cell == "-" else int(cell) for cell in cells[3].split(","))
        rows.append(
            {
                "clips": cells[0],
                "system": "avsr",
                "task": TASKS[cells[2]],
                "rates": {"audio": audio, "video": video},
                "snr_db": None,
                "wer": float(cells[5]) / 100,
                "interval": cells[6],
                "tokens_per_second": float(cells[8]),
            }
        )
    if not rows:
        raise ValueError(f"the card has no clean rows of {CLIPS}")
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The same rows for the page."""
    names = {"a": "sound", "v": "lips", "av": "sound and lips"}
    lines = [
        "| reads | rates (audio, video) | tokens a second | WER % | 95 % |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        pair = ", ".join(str(rate or "-") for rate in row["rates"].values())
        numbers = f"{row['tokens_per_second']:.1f} | {100 * row['wer']:.1f} | {row['interval']}"
        lines.append(f"| {names[row['task']]} | {pair} | {numbers} |")
    return "\n".join(lines)


def drawn(rows: Sequence[Mapping[str, Any]]) -> str:
    """The figure, drawn by tools/eval_plots.py."""
    spec = importlib.util.spec_from_file_location("eval_plots", ROOT / "tools" / "eval_plots.py")
    assert spec is not None
    assert spec.loader is not None
    plots = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plots)
    figure: str = plots.plots(rows)["wer_by_tokens.svg"]
    return figure


def filled(page: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The page with its table made anew.

    Raises:
        ValueError: its marks are missing.
    """
    if not MARK.search(page):
        raise ValueError("the page has no marks for its table")
    return MARK.sub(lambda found: f"{found[1]}{table(rows)}\n{found[2]}", page)


def main(argv: Sequence[str] | None = None) -> int:
    """Write both, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say whether they are up to date")
    args = parser.parse_args(argv)
    rows = measured(CARD.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    made = {PAGE: filled(page, rows), FIGURE: drawn(rows)}
    old = [p for p, text in made.items() if not p.is_file() or p.read_text("utf-8") != text]
    if not args.check:
        for path in old:
            write_atomic(path, made[path])
    elif old:
        names = " and ".join(path.name for path in old)
        sys.stderr.write(f"{names}: out of date, run python docs/figures.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
