"""Every fenced block of the README is run, in a copy of the checkout where it may write.

`pip install` alone is left out, as the package under test is the installed one: `.ci/run` does it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

from avsr.cli import COMMANDS, _parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DEFAULT = ROOT / "avsr" / "models" / "default" / "config.json"
DATA = Path(os.environ.get("AVSR_DATA", ROOT.parent / "shared" / "data")).resolve()
SCRIPTS = sysconfig.get_path("scripts")

INSTALL = "pip install -e '.[dev]'"
NEEDS_MODEL = ("avsr demo", "avsr transcribe", "avsr eval", "load_model()")
NEEDS_SECONDS = (*NEEDS_MODEL, "avsr train")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Args:
        line: of its fence in the README.
        language: word after the fence.
        text: what stands in it.
    """

    line: int
    language: str
    text: str

    def says(self, *words: str) -> bool:
        """Whether any of the words stands in it."""
        return any(word in self.text for word in words)


def blocks(markdown: str) -> list[Block]:
    """Fenced blocks of a text, in order."""
    found, opened = [], None
    for number, line in enumerate(markdown.splitlines(), start=1):
        fence = re.match(r"\s*(```+|~~~+)\s*(.*)", line)
        if fence and opened is None:
            opened = Block(number, fence[2].strip(), "")
        elif fence and opened is not None:
            assert not fence[2], f"line {number}: a block opens inside the one of {opened.line}"
            found.append(opened)
            opened = None
        elif opened is not None:
            opened = Block(opened.line, opened.language, f"{opened.text}{line}\n")
    assert opened is None, f"the block of line {opened.line if opened else 0} is not closed"
    return found


BLOCKS = blocks(README)


def commands(block: Block) -> list[list[str]]:
    """Words of each `avsr ...` command of a bash block."""
    parts = [part for line in block.text.splitlines() for part in re.split(r"&&|\||;", line)]
    words = [shlex.split(part, comments=True) for part in parts]
    return [line[1:] for line in words if line[:1] == ["avsr"]]


def run_bash(block: Block, checkout: Path) -> str:
    """Run a block as one script that ends at the first failure."""
    assert "pip " not in block.text.replace(INSTALL, ""), "an installation that .ci/run does not do"
    script = block.text.replace(f"{INSTALL} &&", "").replace(INSTALL, "")
    assert script.strip()
    if script.split() == ["pytest"]:  # this very run; that the command is there is what is left
        script = "pytest --version"
    return _run(["bash", "-euo", "pipefail", "-c", script], checkout)


def run_python(block: Block, checkout: Path) -> str:
    """Run a block as a program of its own."""
    return _run([sys.executable, "-W", "error::SyntaxWarning", "-c", block.text], checkout)


def run_tree(block: Block, checkout: Path) -> str:
    """A block without a language is the plan of the house: each folder in it must be there."""
    folders = re.findall(r"(?:^|\s)([a-z]+)/(?=\s)", block.text)
    assert len(folders) >= 3, "neither a plan of folders nor a known language"
    missing = [name for name in folders if not (checkout / name).is_dir()]
    assert missing == []
    return block.text


RUNNERS = {"bash": run_bash, "python": run_python, "": run_tree}


def _run(command: list[str], checkout: Path) -> str:
    path = os.pathsep.join([SCRIPTS, os.environ.get("PATH", "")])
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=checkout,
        env={**os.environ, "PATH": path},
        timeout=600,
    )
    if done.returncode == 3 and "cannot download" in done.stderr:
        pytest.skip(f"weights neither in the cache nor to be had: {done.stderr.strip()}")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like the checkout, with the data beside it, and may be written into."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for entry in ROOT.iterdir():
        if not entry.name.startswith(".") and entry.suffix != ".egg-info":
            (folder / entry.name).symlink_to(entry)
    if DATA.is_dir():
        (tmp_path / "shared").mkdir()
        (tmp_path / "shared" / "data").symlink_to(DATA)
    return folder


def _params() -> list[object]:
    made = []
    for block in BLOCKS:
        marks = []
        if block.says(*NEEDS_SECONDS):
            marks.append(pytest.mark.slow)
        if block.says(*NEEDS_MODEL):
            absent = "no default model in this checkout (avsr/models/default)"
            marks += [pytest.mark.weights, pytest.mark.skipif(not DEFAULT.is_file(), reason=absent)]
        if block.says("../shared/data"):
            absent = f"no clips at {DATA}"
            there = (DATA / "manifest.jsonl").is_file()
            marks += [pytest.mark.data, pytest.mark.skipif(not there, reason=absent)]
        name = f"line{block.line}-{block.language or 'plan'}"
        made.append(pytest.param(block, marks=marks, id=name))
    return made


@pytest.mark.parametrize("block", _params())
def test_a_block_works_as_it_stands(block: Block, checkout: Path) -> None:
    before = _visible(ROOT)
    told = RUNNERS[block.language](block, checkout)
    assert told.strip()
    for words in commands(block) if block.language == "bash" else []:
        if "--output-dir" in words:
            formats = words[words.index("--output-format") + 1].split(",")
            written = {
                p.name for p in (checkout / words[words.index("--output-dir") + 1]).iterdir()
            }
            assert written == {f"{Path(words[1]).stem}.{form}" for form in formats}
    if block.says("avsr demo"):
        assert "synthetic" in told
        table = [line.split(None, 4) for line in told.splitlines()]
        rates = [(row[0], row[1]) for row in table if row and row[0].isdigit()]
        facts = json.loads(DEFAULT.read_text(encoding="utf-8"))["model"]
        wanted = [(str(a), str(v)) for a in facts["audio_rates"] for v in facts["video_rates"]]
        assert rates == wanted
    assert _visible(ROOT) == before  # nothing fell into the real checkout


def _visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_every_block_has_a_runner() -> None:
    assert [block for block in BLOCKS if block.language not in RUNNERS] == []


def test_the_first_command_installs_and_shows_and_the_second_tests() -> None:
    first, second = BLOCKS[:2]
    assert first.text == f"{INSTALL} && avsr demo\n"
    assert second.text == "pytest\n"
    assert shutil.which("pytest", path=SCRIPTS)


@pytest.mark.parametrize("block", [b for b in BLOCKS if commands(b)], ids=lambda b: f"line{b.line}")
def test_every_command_is_understood(block: Block) -> None:
    """Also where the model is absent: subcommands, options and their values."""
    for words in commands(block):
        assert words[0] in COMMANDS
        module = __import__(f"avsr.cli.{words[0]}", fromlist=["add_arguments"])
        _parser(words[0], module).parse_args(words)  # ends with SystemExit where it is not


@pytest.mark.parametrize("target", re.findall(r"\]\((?!https?:)([^)#]+)\)", README))
def test_every_link_leads_somewhere(target: str) -> None:
    if not DEFAULT.is_file() and target.startswith("avsr/models/default/"):
        pytest.skip("no default model in this checkout (avsr/models/default)")
    assert (ROOT / target).is_file()


def test_recipes_that_are_named_are_there() -> None:
    named = set(re.findall(r"recipes/[\w/.-]+\.(?:yaml|md)", README))
    assert sorted(name for name in named if not (ROOT / name).is_file()) == []


@pytest.mark.parametrize(
    ("markdown", "fault"),
    [("```bash\nls\n", "not closed"), ("```bash\nls\n```bash\nls\n```\n", "opens inside")],
)
def test_a_broken_fence_is_found(markdown: str, fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        blocks(markdown)


def test_a_failing_or_unknown_block_is_found(checkout: Path) -> None:
    with pytest.raises(AssertionError):
        run_bash(Block(1, "bash", "false\ntrue\n"), checkout)
    with pytest.raises(AssertionError):
        run_python(Block(1, "python", "import avsr\navsr.no_such_name\n"), checkout)
    with pytest.raises(AssertionError):
        run_tree(Block(1, "", "avsr/  one  experts/  two  nowhere/  three\n"), checkout)
    assert [b.language for b in blocks("~~~ruby\nputs 1\n~~~\n")] == ["ruby"]
