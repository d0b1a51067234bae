"""Laws of a pull that fails, is killed or is not alone: a folder is whole or not there."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from avsr.errors import AvsrError, SetupError
from avsr.weights import damage, pull
from tests.avsr.wheels import Index, check_whole, stand_in

ROOT = Path(__file__).parents[2]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    return stand_in(tmp_path, monkeypatch)


@pytest.mark.parametrize("before", [False, True], ids=["empty cache", "damaged cache"])
@pytest.mark.parametrize(
    "fault",
    [
        SetupError("cannot download it: no connection"),
        OSError(28, "No space left on device"),
        KeyboardInterrupt(),
    ],
    ids=["no network", "disk full", "Ctrl-C"],
)
def test_a_failed_pull_leaves_nothing_behind(
    index: Index, fault: BaseException, before: bool
) -> None:
    if before:
        (pull("sample") / "note.json").unlink()
    index.fault = fault  # type: ignore[assignment]
    expected = KeyboardInterrupt if isinstance(fault, KeyboardInterrupt) else SetupError
    with pytest.raises(expected):
        pull("sample")
    assert {path.name for path in index.home.iterdir()} - {"sample"} == {".sample.lock"}
    assert (index.home / "sample").exists() == before
    index.fault = None
    check_whole(pull("sample"))


# A child that stops where the first argument says, so that it can be killed there.
_CHILD = """
import os, shutil, sys, time
from pathlib import Path
import avsr.weights as w
from avsr.pins import PINS
from tests.avsr.wheels import sample

moment, place = sys.argv[1], Path(sys.argv[2])
PINS["sample"], wheels = sample(place / str(os.getpid()))
paths = {w.requirement: p for w, p in zip(PINS["sample"].wheels, wheels)}

def stop():
    print("here", flush=True)
    time.sleep(600)

def download(wheel, folder):
    place.mkdir(exist_ok=True)
    (place / f"asked-{os.getpid()}-{wheel.sha256[:4]}").touch()
    path = shutil.copy(paths[wheel.requirement], folder)
    if moment == "download":
        stop()
    if moment == "slow":
        time.sleep(0.05)
    return Path(path)

def replace(source, target, real=os.replace):
    into_place = Path(target).name == "sample"
    if into_place and moment == "before the rename":
        stop()
    real(source, target)
    if into_place and moment == "after the rename":
        stop()

w.download, os.replace = download, replace
print(w.pull("sample"), flush=True)
"""


def _child(moment: str, place: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, moment, str(place)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("before", [False, True], ids=["empty cache", "damaged cache"])
@pytest.mark.parametrize("moment", ["download", "before the rename", "after the rename"])
def test_kill_9_leaves_a_cache_that_works(
    index: Index, tmp_path: Path, moment: str, before: bool
) -> None:
    if before:
        (pull("sample") / "note.json").unlink()
    child = _child(moment, tmp_path / "child")
    assert child.stdout is not None
    assert child.stdout.readline() == "here\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert list(index.home.glob(".sample.*.tmp"))  # it had no time to clean up
    if moment == "after the rename":
        assert damage(index.home / "sample", index.pinned, check="hashes") is None
    else:
        assert damage(index.home / "sample", index.pinned) is not None
    check_whole(pull("sample"))


def test_many_pulls_at_once_download_once(index: Index, tmp_path: Path) -> None:
    place = tmp_path / "child"
    place.mkdir()
    children = [_child("slow", place) for _ in range(3)]
    for child in children:
        out, err = child.communicate(timeout=60)
        assert (out.strip(), err) == (str(index.home / "sample"), "")
    check_whole(index.home / "sample")
    assert len(list(place.glob("asked-*"))) == 2


def test_threads_that_pull_at_once_download_once(index: Index) -> None:
    faults: list[AvsrError] = []

    def run() -> None:
        try:
            check_whole(pull("sample"))
        except AvsrError as error:
            faults.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert index.asked == 2


def test_leftovers_of_a_pull_that_still_runs_are_left_alone(index: Index) -> None:
    from filelock import FileLock

    folder = pull("sample")
    busy = index.home / ".sample.busy.tmp"
    busy.mkdir()
    with FileLock(index.home / ".sample.lock"):
        assert pull("sample") == folder
        assert busy.exists()
    pull("sample")
    assert not busy.exists()
