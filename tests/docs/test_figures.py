"""The figure and the table of rates are those of the default model's card."""

import importlib.util
import xml.etree.ElementTree as ElementTree

import pytest

from tests.test_readme import ROOT

CIRCLE = "{http://www.w3.org/2000/svg}circle"


@pytest.fixture
def figures():
    """The script as a module of its own."""
    spec = importlib.util.spec_from_file_location("figures", ROOT / "docs" / "figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_figure_and_table_are_what_the_command_makes(figures):
    assert figures.main(["--check"]) == 0


def test_a_dot_a_row_of_the_card(figures):
    card = figures.CARD.read_text(encoding="utf-8")
    rows = figures.measured(card)
    dots = list(ElementTree.fromstring(figures.drawn(rows)).iter(CIRCLE))
    assert len(dots) == len(rows) == 6
    for row in rows:
        line = f"| {100 * row['wer']:.1f} | {row['interval']} |"
        assert line in card
        assert line in figures.table(rows)


def test_a_card_or_page_that_changed_is_found(figures, tmp_path, monkeypatch, capsys):
    card = figures.CARD.read_text(encoding="utf-8")
    (changed := tmp_path / "card.md").write_text(card.replace("| 7.7 |", "| 8.8 |"), "utf-8")
    monkeypatch.setattr(figures, "CARD", changed)
    assert card != changed.read_text("utf-8")
    assert figures.main(["--check"]) == 1
    assert "rates.md and rates.svg: out of date" in capsys.readouterr().err
    with pytest.raises(ValueError, match="no clean rows"):
        figures.measured("nothing")
    with pytest.raises(ValueError, match="no marks"):
        figures.filled("nothing", figures.measured(card))
