"""D7: argparse's `type=bool` makes `--flag False` true; 20 such flags in Omni-AVSR alone."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [p for part in ("avsr", "tools", "recipes") for p in sorted((ROOT / part).rglob("*.py"))]


def truths(source):
    """Lines that make a flag of `bool`, or of a number's truth."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.keyword)
        and node.arg == "type"
        and isinstance(node.value, ast.Name)
        and node.value.id == "bool"
    ]


def test_no_flag_is_of_type_bool():
    told = {p: text for p in SOURCES if "bool" in (text := p.read_text()) and "type=" in text}
    assert {str(p): found for p, text in told.items() if (found := truths(text))} == {}


def test_one_would_be_found():
    assert truths("p.add_argument('--x', type=bool)\n") == [1]


@pytest.mark.parametrize("word", ["False", "no", "0"])
def test_a_switch_takes_no_word(word, capsys):
    from avsr.cli import main

    assert main(["transcribe", "a.mp4", f"--quiet={word}"]) == 2
    assert "quiet" in capsys.readouterr().err
