"""Every option that --help shows is used by a test of its command, and answers to underscores."""

import argparse
import re
from pathlib import Path

import pytest

from avsr.cli import COMMANDS, whole_parser

HERE = Path(__file__).parent
TESTS = {
    path.name: path.read_text(encoding="utf-8")
    for path in HERE.glob("test_*.py")
    if path != Path(__file__)
}
OURS = [name for name in COMMANDS if name != "train"]  # Lightning's own has its own tests


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
        if name not in ("-h", "--help")
    ]


def words_about(command):
    """Words of the test files that run a command."""
    texts = [text for text in TESTS.values() if f'"{command}"' in text]
    return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", "\n".join(texts)))


def test_every_command_is_there():
    assert list(parsers()) == list(COMMANDS)


@pytest.mark.parametrize("command", OURS)
def test_every_option_is_used_by_a_test_of_its_command(command):
    known = words_about(command)
    assert [name for name, _ in shown(parsers()[command]) if name not in known] == []


@pytest.mark.parametrize("command", OURS)
def test_every_option_answers_to_underscores(command):
    parser = parsers()[command]
    for name, action in shown(parser):
        if "-" in name[2:] and not name.startswith("--no-vad"):
            twin = parser._option_string_actions[f"--{name[2:].replace('-', '_')}"]
            assert twin.dest == action.dest


@pytest.mark.parametrize("command", OURS)
def test_every_option_is_read_by_the_code_of_its_command(command):
    """A destination that no line of the command line's code names could only do nothing."""
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for path in Path(HERE.parents[2], "avsr", "cli").glob("*.py")
    )
    for name, action in shown(parsers()[command]):
        read = f"args.{action.dest}" in code or f'"{action.dest}"' in code
        assert read or action.dest.startswith("output_"), name


def test_help_names_the_limits_that_hold() -> None:
    from avsr.cli import clip
    from frontends.container import Limits

    limits = Limits()
    assert (clip._SECONDS, clip._PIXELS) == (limits.max_seconds, limits.max_pixels)
    assert limits.max_frames == clip._FRAMES
