"""`avsr pull`: weights into the cache, ahead of time and checked."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Literal

from avsr.cli.model import offline
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
    return guarded(lambda: _list(args) if args.list else _pull(args))


def _pull(args: argparse.Namespace) -> int:
    """Pull each name; one that fails is a line on stderr and does not stop the others."""
    from avsr.weights import pull, resolve

    code = OK
    for name in dict.fromkeys(args.names or DEFAULT):
        cached = args.local_files_only or offline()
        folder: Path | str
        try:
            if name in PINS:
                folder = pull(name, verify=args.verify, local_files_only=cached)
            else:
                folder = resolve(name, local_files_only=cached)
        except AvsrError as error:
            print(f"{_shown(name)}: error: {one_line(error)}", file=sys.stderr)
            code = SETUP
        else:
            print(f"{_shown(name)}: {folder}")
    return code


def _list(args: argparse.Namespace) -> int:
    """Print the pinned weights, all or the named ones, and whether they are in the cache."""
    from avsr.weights import cache_folder, damage

    check: Literal["sizes", "hashes"] = "hashes" if args.verify else "sizes"
    code, width = OK, max(len(name) for name in PINS)
    for name in args.names:
        if name not in PINS:
            known = ", ".join(PINS)
            print(f"{_shown(name)}: error: unknown weights. Known: {known}", file=sys.stderr)
            code = SETUP
    print(f"cache: {cache_folder()}")
    for name, pinned in PINS.items():
        if args.names and name not in args.names:
            continue
        fault = damage(cache_folder() / name, pinned, check=check)
        size = sum(wheel.size for wheel in pinned.wheels) / 1e6
        state = "in the cache" if fault is None else fault
        print(f"{name:<{width}}  {size:4.0f} MB  {pinned.licence}  [{state}]")
        print(f"{'':<{width}}  {pinned.about}")
    return code


def _shown(name: str) -> str:
    """Return a name as a line of output can hold it; one of nothing but blanks in quotes."""
    return one_line(name) or repr(name)
