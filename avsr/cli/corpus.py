"""The command line that every corpus's prepare.py has: folder in, manifest and report out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from avsr.cli.outcome import FAILED, OK, guarded
from avsr.cli.progress import Progress

if TYPE_CHECKING:
    from avsr.corpus import Entry

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what every corpus takes."""
    parser.add_argument("corpus", type=Path, help="folder of the corpus")
    parser.add_argument("--out", type=Path, required=True, help="the manifest, .jsonl")
    parser.add_argument("--clips", type=Path, help="write mouth crops with their sound there")
    parser.add_argument(
        "--max-seconds", type=float, default=24.0, help="longest clip (default: %(default)s)"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--limit", type=int, help="the first so many clips alone")


def run(
    args: argparse.Namespace,
    corpus: str,
    entries: Callable[[], Iterable[Entry]],
    *,
    roi: Literal["auto", "given"] = "auto",
) -> int:
    """Build the manifest that the command line asks for.

    Args:
        args: of a parser that `add_arguments` made.
        corpus: its name in the manifest.
        entries: lists the corpus.
        roi: "given" where its pictures are mouth crops already.

    Returns:
        Exit status: 1 if an entry failed; those that did not are in the manifest all the same.
    """

    def work() -> int:
        from avsr.corpus_build import build
        from avsr.corpus_clip import Plan

        wanted = list(entries())[: args.limit]
        plan = Plan(corpus, args.clips, roi, args.max_seconds)
        with Progress(len(wanted)) as line:

            def step(clips: int) -> None:
                line.advance(clips)
                line.show(corpus)

            report = build(wanted, plan, args.out, workers=args.workers, progress=step)
        print(report, file=sys.stderr if report.failed else sys.stdout)
        return FAILED if report.failed else OK

    return guarded(work)
