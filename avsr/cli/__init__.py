"""The command `avsr`: words of the command line -> a subcommand's module -> an exit code.

A subcommand is a module of its own name with `add_arguments(parser)` and `run(args) -> int`; only
the one that is asked for is imported.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from avsr import __version__
from avsr.cli import report
from avsr.cli.outcome import USAGE, guarded
from avsr.errors import AvsrError

__all__ = ["COMMANDS", "main", "whole_parser"]

COMMANDS = {
    "transcribe": "write down what is said in clips",
    "roi": "show what is seen of a mouth, and how well it is followed",
    "demo": "transcribe the packaged clip at every rate",
    "serve": "open a local page that transcribes clips",
    "pull": "fetch the pinned weights into the cache",
    "score": "word error rate of two transcripts",
    "eval": "measure a model on a manifest of clips",
    "train": "fit, validate, test or predict from a recipe",
    "compress": "list the methods that cut token streams",
    "info": "what a model is: rates, parameters, hashes, licences",
    "doctor": "check the installation, and say what to do about each fault",
    "completion": "print a script that completes commands and options in a shell",
}

_EPILOG = (
    "exit status: 0 all done, 1 some inputs failed, 2 wrong usage, "
    "3 a model or package is missing, 130 interrupted"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: its words without the program's name; None for the process's own.

    Returns:
        The exit status: 0 all done, 1 some inputs failed, 2 wrong usage, 3 a model or a part of
        the installation is missing, 130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    style: report.Style = "json" if _wants_json(words) else "text"

    def run() -> int:
        chosen = next((word for word in words if not word.startswith("-")), "")
        module = import_module(f"avsr.cli.{chosen}") if chosen in COMMANDS else None
        args = _parser(chosen, module, style).parse_args(words)
        if module is None:
            raise AssertionError("argparse lets no unknown command pass")
        with _log_lines(style, quiet=getattr(args, "quiet", False)):
            code: int = module.run(args)
        return code

    try:
        return guarded(run, partial(report.say, style=style))
    except SystemExit as end:  # argparse, and whatever a subcommand calls that ends by itself
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0


def whole_parser() -> argparse.ArgumentParser:
    """Build the parser with the options of every subcommand, as completion needs it."""
    return _parser("", None, everything=True)


def _wants_json(words: Sequence[str]) -> bool:
    return "--json-errors" in words or "--json_errors" in words


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint may be a JSON object."""

    style: report.Style = "text"

    def error(self, message: str) -> NoReturn:
        """End with status 2."""
        if self.style == "json":
            report.say(AvsrError(message, where=self.prog, exit_code=USAGE), "json")
            raise SystemExit(USAGE)
        super().error(message)


def _parser(
    chosen: str,
    module: ModuleType | None,
    style: report.Style = "text",
    *,
    everything: bool = False,
) -> argparse.ArgumentParser:
    """Build the parser; only the chosen subcommand knows its options."""
    parser = _Parser(
        prog="avsr",
        description="Audio-visual speech recognition: clips in, transcripts out, at any rate.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"avsr {__version__}")
    parser.style = style
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, about in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=about,
            description=f"{about[0].upper()}{about[1:]}.",
            epilog=_EPILOG,
            allow_abbrev=False,
        )
        sub.style = style
        if everything:
            import_module(f"avsr.cli.{name}").add_arguments(sub)
        elif name == chosen and module is not None:
            module.add_arguments(sub)
    return parser


@contextmanager
def _log_lines(style: report.Style, *, quiet: bool) -> Iterator[None]:
    """Show what the package logs as lines on stderr while a subcommand runs."""
    logger, handler = logging.getLogger("avsr"), logging.StreamHandler(sys.stderr)
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""  # a progress line may stand there
    plain = logging.Formatter(f"{clear}avsr: %(message)s")
    handler.setFormatter(report.JsonLines() if style == "json" else plain)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR if quiet else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
