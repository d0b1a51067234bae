"""`avsr completion SHELL`: the script that completes commands and options."""

from __future__ import annotations

import argparse

from avsr.cli.outcome import OK, guarded

__all__ = ["SHELLS", "add_arguments", "run"]

SHELLS = ("bash", "zsh", "tcsh")

_EPILOG = """\
For bash, once:   avsr completion bash > ~/.local/share/bash-completion/completions/avsr
For zsh, once:    avsr completion zsh > ~/.zfunc/_avsr       (with ~/.zfunc in $fpath)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `avsr completion`."""
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("shell", choices=SHELLS, help="which shell's script to print")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    return guarded(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    import shtab

    from avsr.cli import whole_parser

    print(shtab.complete(whole_parser(), shell=args.shell))
    return OK
