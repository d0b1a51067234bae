"""The picture of the house in CONTRIBUTING.md, read from the imports themselves.

    python tools/architecture.py            print it
    python tools/architecture.py --write    put it into CONTRIBUTING.md

Data: sources of avsr, experts, frontends -> one Mermaid graph: a box a part, an arrow from a part
to each that it imports, with the number of imports.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from avsr.writers import write_atomic

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
PARTS = ("avsr.cli", "avsr.train", "avsr.compress", "avsr", "experts", "frontends")
START, END = "<!-- architecture: tools/architecture.py --write -->", "<!-- end -->"


def part_of(name: str) -> str | None:
    """The part that a dotted name belongs to; None for what is not ours."""
    return next((part for part in PARTS if name == part or name.startswith(f"{part}.")), None)


def arrows(root: Path = ROOT) -> Counter[tuple[str, str]]:
    """How often each part imports each other one."""
    found: Counter[tuple[str, str]] = Counter()
    for path in sorted(file for top in PARTS[3:] for file in (root / top).rglob("*.py")):
        here = part_of(".".join(path.relative_to(root).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
                names = [node.module]
                if part_of(node.module) == node.module:  # from avsr import score
                    names = [f"{node.module}.{alias.name}" for alias in node.names]
            for there in map(part_of, names):
                if here is not None and there is not None and here != there:
                    found[here, there] += 1
    return found


def picture(root: Path = ROOT) -> str:
    """The graph as Mermaid text."""
    lines = ["```mermaid", "graph TD"]
    lines += [f"    {part.replace('.', '_')}[{part}]" for part in PARTS]
    for (here, there), count in sorted(arrows(root).items()):
        lines.append(f"    {here.replace('.', '_')} -->|{count}| {there.replace('.', '_')}")
    return "\n".join([*lines, "```"])


def placed(page: str, graph: str) -> str:
    """The page with the graph between its marks.

    Raises:
        ValueError: the page has no marks.
    """
    head, start, rest = page.partition(START)
    _, end, tail = rest.partition(END)
    if not start or not end:
        raise ValueError(f"no {START} ... {END}")
    return f"{head}{START}\n{graph}\n{END}{tail}"


def main(words: Sequence[str] | None = None) -> int:
    """Print or write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="into CONTRIBUTING.md")
    if parser.parse_args(words).write:
        write_atomic(PAGE, placed(PAGE.read_text(encoding="utf-8"), picture()))
    else:
        print(picture())
    return 0


if __name__ == "__main__":
    sys.exit(main())
