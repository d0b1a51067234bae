"""Every block of the documentation does what its page says.

The blocks of a page run in order in one folder. The default run leaves out the slow ones; `-m slow`
runs them all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from avsr.cli import COMMANDS, _parser
from avsr.compress import compressors
from experts.registry import METHODS
from frontends.towers import AUDIO_KINDS, VIDEO_KINDS
from tests.docs.pages import PAGES, Step, run, steps, understood
from tests.docs.stand_ins import MAKERS
from tests.test_readme import DATA, DEFAULT, ROOT, Block, _visible, checkout

__all__ = ["checkout"]  # a fixture

STEPS = {page: steps(page.read_text(encoding="utf-8")) for page in PAGES}
LEFT_OUT = [(page, step) for page, found in STEPS.items() for step in found if step.skip]


def label(page: Path) -> str:
    """Name of a page in the list of tests."""
    return page.relative_to(ROOT / "docs").with_suffix("").as_posix()


def some(*, slow: bool) -> list[object]:
    """Pages that have a block for the default run, or for the slow one."""
    chosen = []
    for page, found in STEPS.items():
        wanted = [step for step in found if not step.skip and bool(step.needs) == slow]
        if not wanted:
            continue
        marks = [pytest.mark.slow] if slow else []
        needs = {word for step in wanted for word in step.needs}
        if "weights" in needs:
            absent = "no default model in this checkout (avsr/models/default)"
            marks += [pytest.mark.weights, pytest.mark.skipif(not DEFAULT.is_file(), reason=absent)]
        if "data" in needs:
            there = (DATA / "manifest.jsonl").is_file()
            marks.append(pytest.mark.data)
            marks.append(pytest.mark.skipif(not there, reason=f"no clips at {DATA}"))
        chosen.append(pytest.param(page, marks=marks, id=label(page)))
    return chosen


@pytest.fixture
def folder(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder of a page; what its blocks register is forgotten again."""
    monkeypatch.chdir(checkout)
    monkeypatch.syspath_prepend(str(checkout))
    tables = (compressors._classes, METHODS, AUDIO_KINDS, VIDEO_KINDS)
    before, modules = [dict(table) for table in tables], set(sys.modules)
    yield checkout
    for table, was in zip(tables, before, strict=True):
        table.clear()
        table.update(was)
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(f"{checkout}/{name}.py"):
            del sys.modules[name]


def follow(page: Path, wanted: Sequence[Step], folder: Path) -> None:
    """Run blocks of a page."""
    before, names = _visible(ROOT), {"__name__": "page"}
    for step in wanted:
        if step.stand_in is not None:
            MAKERS[step.stand_in](folder)
        try:
            run(step, folder, names)
        except Exception as error:
            raise AssertionError(f"{page}, line {step.block.line}: {error}") from error
    assert _visible(ROOT) == before  # nothing fell into the real checkout


@pytest.mark.parametrize("page", some(slow=False))
def test_quick_blocks_work(page: Path, folder: Path) -> None:
    follow(page, [step for step in STEPS[page] if not step.needs and not step.skip], folder)


@pytest.mark.parametrize("page", some(slow=True))
def test_all_blocks_work(page: Path, folder: Path) -> None:
    follow(page, [step for step in STEPS[page] if not step.skip], folder)


@pytest.mark.parametrize(
    ("page", "step"), LEFT_OUT, ids=[f"{label(p)}-line{s.block.line}" for p, s in LEFT_OUT]
)
def test_what_is_not_run_says_why(page: Path, step: Step) -> None:
    assert step.skip is not None
    assert len(step.skip.split()) > 2
    pytest.skip(step.skip)


COMMANDED = [(page, step) for page, found in STEPS.items() for step in found if understood(step)]


@pytest.mark.parametrize(
    ("page", "step"), COMMANDED, ids=[f"{label(p)}-line{s.block.line}" for p, s in COMMANDED]
)
def test_every_command_is_understood(page: Path, step: Step) -> None:
    """Also where it is not run."""
    for words in understood(step):
        assert words[0] in COMMANDS
        module = __import__(f"avsr.cli.{words[0]}", fromlist=["add_arguments"])
        _parser(words[0], module).parse_args(words)


def test_there_are_pages() -> None:
    names = set(map(label, PAGES))
    assert names >= {"index", "first-transcript", "rates", "train", "paper", "compare", "security"}
    assert names >= {"compressors", "extend/tower", "extend/expert", "extend/compressor"}
    assert names >= {"extend/corpus", "reference/avsr"}


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ("```text\nx\n```\n", "output of no block"),
        ("<!-- test: fast -->\n```bash\nls\n```\n", "fast"),
        ('```python tilte="x"\n1\n```\n', "a fence of"),
    ],
)
def test_a_page_that_is_not_understood_is_found(page: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        steps(page)


def test_a_block_that_prints_something_else_is_found(folder: Path) -> None:
    (step,) = steps("```python\nprint(1)\n```\n\n```text\n1\n```\n")
    run(step, folder, {})
    (wrong,) = steps("```python\nprint(1)\n```\n\n```text\n2\n```\n")
    with pytest.raises(AssertionError):
        run(wrong, folder, {})
    failing = Step(Block(1, "bash", "false\ntrue\n"))
    with pytest.raises(AssertionError):
        run(failing, folder, {})
    with pytest.raises(ZeroDivisionError):
        run(Step(Block(1, "python", "1 / 0\n")), folder, {})
