"""The documentation's pages as programs: their blocks, and how each kind of block is run.

Page (Markdown) -> Step list -> run in one folder and one namespace, in order, as a reader would.

A comment before a fence says what its block needs: `<!-- test: slow -->` (too long for the default
run), `weights` (the default model), `data` (the corpora), `make=NAME` (a folder that
`tests/docs/stand_ins.py` puts there first, in place of what a reader has), or, last and to the end
of the comment, `skip=REASON`. A block with `title="name.py"` is written into the folder too. A
`text` block is what the block before it prints.
"""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.test_readme import ROOT, Block, blocks, commands, run_bash

PAGES = sorted((ROOT / "docs").rglob("*.md"))
WORDS = ("slow", "weights", "data")
MARK = re.compile(r"<!-- test: (.*?) -->")
TITLE = re.compile(r'^(\w*)(?: title="([\w./-]+)")?$')


@dataclass(frozen=True)
class Step:
    """A block and what its page says of it.

    Args:
        block: language, text and line of its fence.
        title: file that it is written to, None for none.
        needs: words of its comment.
        stand_in: what is put there first, None for nothing.
        skip: why it is not run, None where it is.
        prints: what it must print, None where nothing is said.
    """

    block: Block
    title: str | None = None
    needs: frozenset[str] = frozenset()
    stand_in: str | None = None
    skip: str | None = None
    prints: str | None = None


def steps(page: str) -> list[Step]:
    """The blocks of a page, in order.

    Raises:
        ValueError: a comment or a fence that nobody understands, or output of nothing.
    """
    lines = page.splitlines()
    found: list[Step] = []
    for block in blocks(page):
        fence = TITLE.match(block.language)
        if fence is None:
            raise ValueError(f"line {block.line}: a fence of {block.language!r}")
        mark = MARK.fullmatch(lines[block.line - 2].strip()) if block.line > 1 else None
        told = _told(mark[1], block.line) if mark else {}
        if fence[1] != "text":
            found.append(Step(Block(block.line, fence[1], block.text), fence[2], **told))
        elif not found or found[-1].prints is not None:
            raise ValueError(f"line {block.line}: output of no block")
        else:
            last = found.pop()
            found.append(
                Step(last.block, last.title, last.needs, last.stand_in, last.skip, block.text)
            )
    return found


def _told(comment: str, line: int) -> dict[str, Any]:
    words, _, skip = comment.partition("skip=")
    needs, stand_in = set(), None
    for word in words.split():
        if word.startswith("make="):
            stand_in = word.removeprefix("make=")
        elif word in WORDS:
            needs.add(word)
        else:
            raise ValueError(f"line {line}: a comment of {word!r}")
    return {"needs": frozenset(needs), "stand_in": stand_in, "skip": skip.strip() or None}


def run(step: Step, folder: Path, names: dict[str, Any]) -> None:
    """Run one block.

    Args:
        step: not one to skip.
        folder: the current folder, which looks like a checkout and may be written into.
        names: of the page's Python blocks so far.
    """
    if step.title is not None:
        (folder / step.title).write_text(step.block.text, encoding="utf-8")
        printed = ""
    elif step.block.language == "bash":
        printed = run_bash(step.block, folder)
    elif step.block.language == "python":
        printed = _python(step.block, names)
    else:
        assert step.block.language == "yaml", f"no way to run {step.block.language!r}"
        assert isinstance(yaml.safe_load(step.block.text), dict | list)
        printed = ""
    if step.prints is not None:
        assert printed == step.prints, f"it prints\n{printed}"


def _python(block: Block, names: dict[str, Any]) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile("\n" * block.line + block.text, "page", "exec"), names)
    return out.getvalue()


def understood(step: Step) -> list[list[str]]:
    """Words of each `avsr` command that begins a line, also in a block that is not run."""
    if step.block.language != "bash":
        return []
    joined = step.block.text.replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line.startswith("avsr ")]
    return commands(Block(step.block.line, "bash", "\n".join(lines)))
