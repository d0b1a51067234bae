"""What starts quickly leaves the interpreter as it was, whatever happens."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator

import pytest

from avsr.startup import collector_paused


@pytest.fixture(params=["on", "off"])
def before(request: pytest.FixtureRequest) -> Iterator[bool]:
    """The collector's state when loading begins; that of the test run comes back."""
    found = gc.isenabled()
    (gc.enable if request.param == "on" else gc.disable)()
    yield request.param == "on"
    (gc.enable if found else gc.disable)()


def test_it_is_off_inside_and_then_as_it_was(before: bool) -> None:
    with collector_paused():
        assert not gc.isenabled()
    assert gc.isenabled() == before


def test_an_error_passes_and_it_is_as_it_was(before: bool) -> None:
    with pytest.raises(KeyError, match="lost"), collector_paused():
        raise KeyError("lost")
    assert gc.isenabled() == before


def test_a_pause_inside_a_pause_does_not_end_it(before: bool) -> None:
    with collector_paused():
        with collector_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled() == before


def test_it_pauses_each_time_that_it_is_called(before: bool) -> None:
    @collector_paused()
    def load() -> bool:
        return gc.isenabled()

    assert [load(), load()] == [False, False]
    assert gc.isenabled() == before


def test_what_is_made_meanwhile_is_still_collected_afterwards() -> None:
    class Node:
        pass

    with collector_paused():
        node = Node()
        node.itself = node  # type: ignore[attr-defined]
        told: list[str] = []
        watch = weakref.finalize(node, told.append, "gone")
        del node
        assert watch.alive
    gc.collect()
    assert told == ["gone"]


def test_a_public_name_is_imported_without_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    import avsr

    seen: list[bool] = []
    real = avsr.import_module
    monkeypatch.delitem(avsr.__dict__, "Rates", raising=False)
    monkeypatch.setattr(avsr, "import_module", lambda n: (seen.append(gc.isenabled()), real(n))[1])
    assert avsr.Rates.__name__ == "Rates"
    assert seen == [False]


SCIPY = """
import sys
from avsr.startup import scipy_deferred
with scipy_deferred():
    from transformers.loss import loss_for_object_detection as loss
    inside = sys.modules["scipy.optimize"]
assert "scipy.optimize" not in sys.modules
rows, columns = loss.linear_sum_assignment([[4, 1], [2, 3]])
assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])
import scipy.optimize
assert scipy.optimize is not inside
with scipy_deferred():
    import scipy.optimize as again
assert again is scipy.optimize is sys.modules["scipy.optimize"]
"""


def test_scipy_is_imported_when_it_is_called_and_not_before():
    subprocess.run([sys.executable, "-c", SCIPY], check=True, timeout=120)


def test_a_process_that_loads_models_ends_without_a_last_walk() -> None:
    code = (
        "import atexit, gc\n"
        "atexit.register(lambda: print('kept', gc.get_freeze_count() > 0))\n"  # runs last
        "import avsr.loading\n"
        "assert gc.get_freeze_count() == 0\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "kept True\n"
