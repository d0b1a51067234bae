"""Small wheels made on the spot, and the pin of a package that lies in two of them."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

from avsr.pins import Member, Pinned, Wheel

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
