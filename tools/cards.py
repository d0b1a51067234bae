"""Write the tables of `docs/compressors.md` that come from the compressors' cards.

    python tools/cards.py [--check]

Data: registry of compressors -> the parts of the page between its marks. `--check` writes nothing
and says whether the page is up to date.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from avsr.compress.taxonomy import preset_table, taxonomy
from avsr.writers import write_atomic

PAGE = Path(__file__).parents[1] / "docs" / "compressors.md"
TABLES = {"taxonomy": taxonomy, "presets": preset_table}


def filled(page: str) -> str:
    """The page with each table made anew.

    Raises:
        ValueError: a mark is missing.
    """
    for name, make in TABLES.items():
        mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        if not mark.search(page):
            raise ValueError(f"no mark for {name}")
        table = make()
        page = mark.sub(lambda found, table=table: f"{found[1]}{table}\n{found[2]}", page)
    return page


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    args = parser.parse_args(argv)
    before = PAGE.read_text(encoding="utf-8")
    after = filled(before)
    if not args.check:
        write_atomic(PAGE, after)
        return 0
    if after != before:
        print(f"{PAGE} is out of date: run python tools/cards.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
