"""The progress line is for terminals only and never mixes with other output."""

import io
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


def test_the_line_makes_way_and_goes_at_the_end():
    with redirect_stderr(Terminal()) as terminal, Progress(2) as progress:
        progress.show("a.mp4")
        progress.advance()
        progress.print("text", terminal)
        progress.show("b\n.mp4")
    drawn = terminal.getvalue()
    assert drawn.count("\n") == 1
    assert "0/2 a.mp4\r\x1b[Ktext\n" in drawn
    assert drawn.endswith("1/2 b .mp4\r\x1b[K")
