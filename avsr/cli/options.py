"""Command-line options the subcommands share: spelling, types and the ones for a model."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

__all__ = ["add_model", "add_option", "commas", "count", "whole"]


def add_option(parser: argparse.ArgumentParser, *names: str, **settings: Any) -> None:
    """Add an option that also answers, unseen in --help, to its spelling with underscores.

    Args:
        parser: the subcommand's.
        names: as for `add_argument`; `--output-dir` brings `--output_dir`, as Whisper spells it.
        settings: as for `add_argument`.
    """
    action = parser.add_argument(*names, **settings)
    for name in names:
        twin = f"--{name[2:].replace('-', '_')}"
        if name.startswith("--") and twin != name:
            settings = {key: value for key, value in settings.items() if key != "required"}
            settings |= {"dest": action.dest, "help": argparse.SUPPRESS}
            parser.add_argument(twin, **settings | {"default": argparse.SUPPRESS})


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a model and where it runs."""
    add_option(
        parser,
        "-m",
        "--model",
        default="default",
        help="'default', a folder with a checkpoint, or a hub id (default: %(default)s)",
    )
    add_option(
        parser,
        "--device",
        default="auto",
        help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)",
    )
    add_option(
        parser,
        "--dtype",
        default="auto",
        choices=["auto", "float32", "bfloat16", "float16"],
        help="numbers of the frozen parts (default: %(default)s)",
    )
    add_option(
        parser,
        "--local-files-only",
        action="store_true",
        help="never touch the network; fail if something is not in the cache",
    )


def count(text: str) -> int:
    """Read a whole number of at least 1."""
    value = whole(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not at least 1")
    return value


def whole(text: str) -> int:
    """Read a whole number of at least 0."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return value


def commas(*allowed: str) -> Callable[[str], tuple[str, ...]]:
    """Make a reader of comma lists.

    Args:
        allowed: the words that may stand in the list; none for any.

    Returns:
        A function for `type=`; it gives the words in the order written, without repeats.
    """

    def read(text: str) -> tuple[str, ...]:
        words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
        wrong = [word for word in words if word not in allowed] if allowed else []
        if wrong or not words:
            listed = f"a comma list of {', '.join(allowed)}" if allowed else "a comma list"
            raise argparse.ArgumentTypeError(f"{text!r} is not {listed}")
        return words

    return read
