"""The options that say how long recordings are cut, and which part of one is wanted."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from avsr.cli.options import add_option

if TYPE_CHECKING:
    from avsr.chunks import Cutting

__all__ = ["add_cutting", "cutting"]


def add_cutting(parser: argparse._ActionsContainer) -> None:
    """Add the options that cut."""
    add_option(parser, "--start", type=float, default=0.0, metavar="S", help="begin S seconds in")
    add_option(parser, "--end", type=float, metavar="S", help="end S seconds in")
    add_option(
        parser,
        "--chunk-seconds",
        type=float,
        default=20.0,
        metavar="S",
        help="longer recordings are cut, at pauses, into parts of at most that (default: 20)",
    )
    add_option(
        parser,
        "--vad",
        default=True,
        action=argparse.BooleanOptionalAction,
        help="cut where no voice is; without it, where the sound is quiet",
    )


def cutting(args: argparse.Namespace) -> Cutting:
    """Read what `add_cutting` declared.

    Raises:
        AvsrError: the numbers make no sense.
    """
    from avsr.chunks import Cutting

    find = "voice" if args.vad else "energy"
    overlap = min(2.0, args.chunk_seconds / 4)
    return Cutting(args.chunk_seconds, overlap, find, args.start, args.end)
