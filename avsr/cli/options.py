"""How the subcommands spell their options and read numbers and lists."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

__all__ = ["add_option", "commas", "count", "whole"]


def add_option(parser: argparse._ActionsContainer, *names: str, **settings: Any) -> None:
    """Add an option that also answers, unseen in --help, to its spelling with underscores.

    Args:
        parser: the subcommand's, or a group of it.
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
