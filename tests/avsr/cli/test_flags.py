"""Every option that --help shows is used by a test of its command, and answers to underscores."""

import argparse
from pathlib import Path

import pytest

from avsr.cli import COMMANDS, whole_parser

HERE = Path(__file__).parent
TESTS = "\n".join(
    path.read_text(encoding="utf-8") for path in HERE.glob("test_*.py") if path != Path(__file__)
)


def parsers():
    (commands,) = (
        action
        for action in whole_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return commands.choices


def shown(parser):
    return [
        (name, action)
        for action in parser._actions
        if action.help != argparse.SUPPRESS
        for name in action.option_strings
        if name.startswith("--") and name != "--help"
    ]


def test_every_command_is_there():
    assert list(parsers()) == list(COMMANDS)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "train"])
def test_every_option_is_tested(command):
    assert [name for name, _ in shown(parsers()[command]) if name not in TESTS] == []


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "train"])
def test_every_option_answers_to_underscores(command):
    parser = parsers()[command]
    for name, action in shown(parser):
        if "-" in name[2:] and not name.startswith("--no-vad"):
            twin = parser._option_string_actions[f"--{name[2:].replace('-', '_')}"]
            assert twin.dest == action.dest
