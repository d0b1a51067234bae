"""One line that tells how far a command is, on a terminal only."""

from __future__ import annotations

import shutil
import sys
from typing import Literal, TextIO

from avsr.cli.outcome import one_line

__all__ = ["Progress"]

_CELLS = 20


class Progress:
    """A progress line on stderr that makes way for whatever else is printed.

    Args:
        total: steps there are.
        show: "auto" draws only where stderr is a terminal; "never" draws nothing.
    """

    def __init__(self, total: int, *, show: Literal["auto", "never"] = "auto") -> None:
        """See the class."""
        self._total = max(total, 1)
        self._done = 0
        self._drawn = False
        self._live = show == "auto" and sys.stderr.isatty()

    def __enter__(self) -> Progress:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the line away."""
        self._clear()

    def show(self, doing: str) -> None:
        """Draw the line, with what is being done now."""
        if not self._live:
            return
        full = round(_CELLS * self._done / self._total)
        bar = "█" * full + "░" * (_CELLS - full)
        text = f"{bar} {self._done}/{self._total} {one_line(doing)}"
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r\x1b[K{text[:width]}")
        sys.stderr.flush()
        self._drawn = True

    def advance(self, steps: int = 1) -> None:
        """Count finished steps; they are drawn with the next `show`."""
        self._done = min(self._done + steps, self._total)

    def print(self, line: str, file: TextIO | None = None) -> None:
        """Print a line in the progress line's place.

        Args:
            line: without its line end.
            file: standard output unless given.
        """
        self._clear()
        print(line, file=sys.stdout if file is None else file, flush=True)

    def _clear(self) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._drawn = False
