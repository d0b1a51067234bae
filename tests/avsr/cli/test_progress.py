"""The progress line is for terminals only and never mixes with other output."""

import io
import sys
from contextlib import redirect_stderr

from avsr.cli.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_nothing_is_drawn_into_a_pipe(capsys):
    with Progress(2) as progress:
        progress.show("a")
        progress.print("text")
    assert capsys.readouterr() == ("text\n", "")


def test_nothing_is_drawn_when_told_so():
    with redirect_stderr(Terminal()) as terminal, Progress(2, show="never") as progress:
        progress.show("a")
    assert terminal.getvalue() == ""


def test_the_line_tells_stage_and_speed_and_results_go_past_it(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    with redirect_stderr(Terminal()) as terminal, Progress(2) as progress:
        progress.show("a.mp4")
        progress.advance()
        progress.print("text")
        progress.spent(1.0, 4.0)
        progress.show("b\n[red].mp4")  # a name is no markup and breaks no line
        assert sys.stdout is not terminal
    drawn = terminal.getvalue()
    assert "0/2 a.mp4" in drawn
    assert "1/2 b [red].mp4" in drawn
    assert "RTF 0.25" in drawn
    assert "text" not in drawn
    assert capsys.readouterr().out == "text\n"
    assert drawn.rstrip().endswith(("\x1b[2K", "\x1b[?25h"))  # the line is taken away


def test_rich_is_left_alone_where_nobody_looks(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with Progress(1) as progress:
        progress.show("a")
