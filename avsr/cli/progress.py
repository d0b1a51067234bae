"""One line that tells how far a command is, on a terminal only."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal, TextIO

from avsr.cli.outcome import one_line

if TYPE_CHECKING:
    import rich.progress

__all__ = ["Progress"]


class Progress:
    """A progress line on stderr that makes way for whatever else is printed.

    It shows steps done, the stage, time spent, and the real-time factor of the work so far.

    Args:
        total: steps there are.
        show: "auto" draws only where stderr is a terminal; "never" draws nothing.
    """

    def __init__(self, total: int, *, show: Literal["auto", "never"] = "auto") -> None:
        """See the class."""
        self._live = show == "auto" and sys.stderr.isatty()
        self._work, self._media = 0.0, 0.0  # seconds
        if self._live:
            self._bar, self._task = _bar(max(total, 1))

    def __enter__(self) -> Progress:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the line away."""
        self._clear()

    def show(self, doing: str) -> None:
        """Draw the line, with what is being done now."""
        if self._live:
            self._bar.update(self._task, description=one_line(doing))
            self._bar.start()
            self._bar.refresh()

    def advance(self, steps: int = 1) -> None:
        """Count finished steps."""
        if self._live:
            self._bar.advance(self._task, steps)

    def spent(self, work: float, media: float) -> None:
        """Count seconds of work that went into seconds of media."""
        self._work, self._media = self._work + work, self._media + media
        if self._live and self._media > 0:
            self._bar.update(self._task, rtf=f"RTF {self._work / self._media:.2f}")

    def print(self, line: str, file: TextIO | None = None) -> None:
        """Print a line in the progress line's place.

        Args:
            line: without its line end.
            file: standard output unless given.
        """
        drawn = self._clear()
        print(line, file=sys.stdout if file is None else file, flush=True)
        if drawn:
            self._bar.start()

    def _clear(self) -> bool:
        """Take the line away; say whether it stood there."""
        drawn = self._live and self._bar.live.is_started
        if drawn:
            self._bar.stop()
        return drawn


def _bar(total: int) -> tuple[rich.progress.Progress, rich.progress.TaskID]:
    """A bar that leaves nothing behind; rich is imported only where there is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    bar = Bar(
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
        ),
        TextColumn("{task.fields[rtf]}", markup=False),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        # Results belong on stdout, also while the line is there: rich would send them to stderr.
        redirect_stdout=False,
        redirect_stderr=False,
    )
    return bar, bar.add_task("", total=total, rtf="")
