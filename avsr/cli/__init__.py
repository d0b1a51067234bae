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
from importlib import import_module
from types import ModuleType

from avsr import __version__
from avsr.cli.outcome import guarded

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "transcribe": "write down what is said in clips",
    "demo": "transcribe the packaged clip at every rate",
    "serve": "open a local page that transcribes clips",
    "pull": "fetch the pinned weights into the cache",
    "score": "word error rate of two transcripts",
    "eval": "measure a model on a manifest of clips",
    "train": "fit, validate, test or predict from a recipe",
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

    def run() -> int:
        chosen = next((word for word in words if not word.startswith("-")), "")
        module = import_module(f"avsr.cli.{chosen}") if chosen in COMMANDS else None
        args = _parser(chosen, module).parse_args(words)
        if module is None:
            raise AssertionError("argparse lets no unknown command pass")
        with _log_lines(quiet=getattr(args, "quiet", False)):
            code: int = module.run(args)
        return code

    try:
        return guarded(run)
    except SystemExit as end:  # argparse, and whatever a subcommand calls that ends by itself
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0


def _parser(chosen: str, module: ModuleType | None) -> argparse.ArgumentParser:
    """Build the parser; only the chosen subcommand knows its options."""
    parser = argparse.ArgumentParser(
        prog="avsr",
        description="Audio-visual speech recognition: clips in, transcripts out, at any rate.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"avsr {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, about in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=about,
            description=f"{about[0].upper()}{about[1:]}.",
            epilog=_EPILOG,
            allow_abbrev=False,
        )
        if name == chosen and module is not None:
            module.add_arguments(sub)
    return parser


@contextmanager
def _log_lines(*, quiet: bool) -> Iterator[None]:
    """Show what the package logs as lines on stderr while a subcommand runs."""
    logger, handler = logging.getLogger("avsr"), logging.StreamHandler(sys.stderr)
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""  # a progress line may stand there
    handler.setFormatter(logging.Formatter(f"{clear}avsr: %(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR if quiet else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
