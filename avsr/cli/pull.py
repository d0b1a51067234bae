"""`avsr pull`: weights into the cache, ahead of time and checked."""

from __future__ import annotations

import argparse
import sys

from avsr.cli.options import add_option
from avsr.cli.outcome import OK, SETUP, guarded, one_line
from avsr.errors import AvsrError
from avsr.pins import PINS

__all__ = ["add_arguments", "run"]

DEFAULT = ("whisper-tiny.en", "smollm2-135m-instruct", "face-models")
"""What the default model is built on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `avsr pull`."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"{', '.join(PINS)}, or a hub id (default: {', '.join(DEFAULT)})",
    )
    add_option(
        parser,
        "--verify",
        action="store_true",
        help="check every byte of what is in the cache, and pull again what has changed",
    )
    add_option(
        parser,
        "--local-files-only",
        action="store_true",
        help="never touch the network; fail if something is not in the cache",
    )
    add_option(parser, "--list", action="store_true", help="say what there is, and pull nothing")
    add_option(parser, "-q", "--quiet", action="store_true", help="print the folders only")


def run(args: argparse.Namespace) -> int:
    """Do what `avsr pull` was asked, and return its exit status."""
    return guarded(lambda: _list() if args.list else _pull(args))


def _pull(args: argparse.Namespace) -> int:
    """Pull each name; one that fails is a line on stderr and does not stop the others."""
    from avsr.weights import pull, resolve

    code = OK
    for name in args.names or DEFAULT:
        offline = args.local_files_only
        try:
            if name in PINS:
                folder = pull(name, verify=args.verify, local_files_only=offline)
            else:
                folder = resolve(name, local_files_only=offline)
        except AvsrError as error:
            print(f"{one_line(name)}: error: {one_line(error)}", file=sys.stderr)
            code = SETUP
        else:
            print(f"{one_line(name)}: {folder}")
    return code


def _list() -> int:
    """Print the pinned weights and whether they are in the cache."""
    from avsr.weights import cache_folder, damage

    width = max(len(name) for name in PINS)
    print(f"cache: {cache_folder()}")
    for name, pinned in PINS.items():
        fault = damage(cache_folder() / name, pinned)
        size = sum(wheel.size for wheel in pinned.wheels) / 1e6
        state = "in the cache" if fault is None else fault
        print(f"{name:<{width}}  {size:4.0f} MB  {pinned.licence}  [{state}]")
        print(f"{'':<{width}}  {pinned.about}")
    return OK
