"""A method in a file of one's own, named on a command line."""

from pathlib import Path

import pytest

from avsr.compress import compressors
from avsr.compress.outside import registered
from avsr.errors import ConfigError

METHOD = """
from avsr.compress import Card, Grouping, compressors
from avsr.compress.plans import windows


@compressors.register("of-my-own")
class OfMyOwn(Grouping):
    card = Card("of-my-own", "none", "pre-llm", "transformation", "uniform", "merge", True, False,
                frozenset({"rate"}), about="windows")

    def __init__(self, *, depth=1):
        super().__init__(depth=depth)

    def plan(self, s, b, g):
        return windows(s, b)
"""


@pytest.fixture(autouse=True)
def clean():
    yield
    compressors._classes.pop("of-my-own", None)


def test_a_file_registers_its_method_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(METHOD, encoding="utf-8")
    for _ in range(2):  # once run, it is not run again
        assert registered(f"{path}:of-my-own,depth=3") == "of-my-own,depth=3"
    assert "of-my-own" in list(compressors)
    assert compressors.build({"name": "of-my-own", "depth": 3}).to_dict()["depth"] == 3


def test_names_alone_stay_as_they_are() -> None:
    for text in ("cluster", "keyframe,fine=1", "mine.py"):
        assert registered(text) == text


def test_what_cannot_be_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        registered(f"{tmp_path}/none.py:x")
    path = tmp_path / "broken.py"
    path.write_text("1 / 0", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(ConfigError, match="ZeroDivisionError"):
            registered(f"{path}:x")
