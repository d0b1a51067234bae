"""The cheapest tokens of a tuned run were those that equal pooling as shipped, not tuned pooling.

Its differences were from tuned pooling all the while: two columns of one row spoke of two models.
"""

import importlib
from pathlib import Path

import pytest

from tests.tools.test_bench_clips import long, whole

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def figures(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("compress_figures")


def row(figures, name, fine, coarse):
    """A run of two steps with so many errors in each utterance."""
    return whole(
        name, long(name, [fine] * 80, tokens=12.0), long(name, [coarse] * 80, step=1, tokens=4.0)
    )


def cheapest(figures, runs):
    lines = figures.table(runs, "av", "clean").splitlines()[2:]
    return {line.split(" | ")[0][2:]: line.split(" | ")[-1].rstrip(" |") for line in lines}


def test_each_is_held_to_its_own_kind(figures):
    runs = [row(figures, "none", 0, 0), row(figures, "pool", 1, 2)]
    tuned = [row(figures, "pool (tuned)", 2, 3), row(figures, "cif (tuned)", 2, 2)]
    found = cheapest(figures, runs + tuned)
    assert found == {"none": "4.0", "pool": "-", "pool (tuned)": "12.0", "cif (tuned)": "4.0"}
    assert cheapest(figures, runs + tuned[1:])["cif (tuned)"] == "-"  # no tuned pooling yet
