"""`avsr doctor`: is everything here that transcribing needs, and if not, what to do."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Literal

from avsr import __version__
from avsr.cli.model import offline
from avsr.cli.options import add_option
from avsr.cli.outcome import OK, SETUP, guarded, one_line
from avsr.errors import AvsrError

__all__ = ["SCHEMA", "Finding", "add_arguments", "examine", "run"]

SCHEMA = "avsr.doctor/1"
_ROOM = 10**9  # bytes that a full cache and its making need
_SEEN = ("AVSR_HOME", "AVSR_MODEL", "AVSR_DEVICE", "HF_HUB_OFFLINE", "OMP_NUM_THREADS")
_DEFAULT = ("whisper-tiny.en", "smollm2-135m-instruct", "face-models")
_STOLEN = ("2.6.2", "2.6.3")


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Args:
        name: what.
        state: a fault keeps something from working; a warning may.
        told: what was found.
        todo: what to do about it; empty where all is well.
    """

    name: str
    state: Literal["ok", "warning", "fault"]
    told: str
    todo: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `avsr doctor`."""
    parser.description = (
        "Check versions, devices, weights and media libraries, and say what to do about each fault."
        " Nothing is downloaded. Exit status 3 where there is a fault."
    )
    add_option(parser, "--json", action="store_true", help="as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Do what `avsr doctor` was asked, and return its exit status."""
    return guarded(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    found = []
    for finding in examine():
        found.append(finding)
        if not args.json:
            print(_line(finding), flush=True)
    faults = sum(finding.state == "fault" for finding in found)
    if args.json:
        report = {"schema": SCHEMA, "faults": faults, "findings": [asdict(f) for f in found]}
        print(json.dumps(report, indent=2))
    else:
        print(f"{faults} faults" if faults else "no fault")
    return SETUP if faults else OK


def _line(finding: Finding) -> str:
    todo = f"\n{'':<19}{finding.todo}" if finding.todo else ""
    return f"{finding.state:<8} {finding.name:<9} {one_line(finding.told)}{todo}"


def examine() -> Iterator[Finding]:
    """Look at everything, one by one; a check that itself fails is a fault and stops no other."""
    for name, check in _CHECKS.items():
        try:
            yield from check()
        except Exception as error:  # whatever an installation can come up with
            told = f"cannot be looked at: {type(error).__name__}: {error}"
            yield Finding(name, "fault", told, "Install the package again in a new environment.")


def _system() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    told = f"avsr {__version__}, Python {python}, {platform.platform(terse=True)}"
    yield Finding("system", "ok", f"{told}, {os.cpu_count()} processors")
    known = [f"{name}={os.environ[name]}" for name in _SEEN if os.environ.get(name)]
    if known:
        yield Finding("settings", "ok", ", ".join(known))
    if offline():
        todo = "Unset HF_HUB_OFFLINE to let weights be fetched."
        yield Finding("network", "warning", "the environment forbids it", todo)


def _packages() -> Iterator[Finding]:
    """Each declared dependency, in a version that was declared."""
    from packaging.requirements import Requirement

    versions = []
    for text in metadata.requires("avsr") or []:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        install = f"Run: pip install '{wanted.name}{wanted.specifier}'"
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            yield Finding("packages", "fault", f"{wanted.name} is not installed", install)
            continue
        if not wanted.specifier.contains(version, prereleases=True):
            told = f"{wanted.name} is {version}, not {wanted.specifier}"
            if wanted.name == "lightning" and version in _STOLEN:
                told += ": a stolen release that steals credentials"
            yield Finding("packages", "fault", told, install)
        versions.append(f"{wanted.name} {version}")
    yield Finding("packages", "ok", ", ".join(versions))
    kinds = [name for name in _OPENCV if _installed(name)]
    if len(kinds) > 1:
        told = f"{' and '.join(kinds)} overwrite each other's files"
        todo = f"Run: pip uninstall -y {' '.join(kinds)} && pip install opencv-python"
        yield Finding("opencv", "warning", told, todo)


_OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _torch() -> Iterator[Finding]:
    """torch and its devices; torchaudio, which may be built for another torch."""
    import torch

    devices = [f"cpu ({torch.get_num_threads()} threads)"]
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        devices += [f"cuda:{k} ({torch.cuda.get_device_name(k)})" for k in range(count)]
    if torch.backends.mps.is_available():
        devices.append("mps")
    yield Finding("devices", "ok", ", ".join(devices))
    if devices[1:] == [] and torch.version.cuda is not None and shutil.which("nvidia-smi"):
        told = f"torch is built for CUDA {torch.version.cuda} but finds no device"
        yield Finding("devices", "warning", told, "Check the driver with: nvidia-smi")
    try:
        loaded = import_module("torchaudio")
    except Exception as error:
        told = f"does not load beside torch {torch.__version__}: {error or type(error).__name__}"
        todo = "Transcription works without it; training needs a torchaudio built for this torch."
        yield Finding("torchaudio", "warning", told, todo)
    else:
        yield Finding("torchaudio", "ok", f"{loaded.__version__} loads")


def _media() -> Iterator[Finding]:
    """The media libraries, by reading the packaged clip."""
    import av

    from avsr.cli.demo import CLIP
    from frontends.media import open_clip

    av_version = ".".join(map(str, av.library_versions["libavcodec"]))
    if not CLIP.is_file():
        yield Finding("media", "fault", f"{CLIP} is missing", "Install the package again.")
        return
    clip = open_clip(CLIP)
    pictures = sum(1 for _ in clip.frames())
    sound = 0 if clip.audio is None else len(clip.audio)
    told = f"PyAV {av.__version__} (libavcodec {av_version}) reads the packaged clip"
    if pictures and sound:
        yield Finding("media", "ok", f"{told}: {pictures} pictures, {sound / 16000:.1f} s of sound")
    else:
        yield Finding("media", "fault", f"{told} without its picture or sound", "Reinstall av.")


def _weights() -> Iterator[Finding]:
    """The cache: room, and each pinned part of the default model."""
    from avsr.pins import PINS
    from avsr.weights import cache_folder, damage

    home = cache_folder()
    there = next(folder for folder in (home, *home.parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if not os.access(there, os.W_OK):
        todo = "Set AVSR_HOME to a folder you may write to."
        yield Finding("cache", "warning", f"{home} cannot be written to", todo)
    elif free < _ROOM:
        told = f"{home} has {free / 1e6:.0f} MB left"
        yield Finding("cache", "warning", told, "Free some, or set AVSR_HOME to another folder.")
    else:
        yield Finding("cache", "ok", f"{home}, {free / 1e9:.1f} GB free")
    for name in _DEFAULT:
        fault = damage(home / name, PINS[name])
        if fault is None:
            yield Finding("weights", "ok", f"{name} is in the cache")
        else:
            todo = f"Run: avsr pull {name}  (the first transcription does so by itself)"
            yield Finding("weights", "warning", f"{name}: {fault}", todo)
    more = [name for name in PINS if name not in _DEFAULT and (home / name).is_dir()]
    for name in more:
        fault = damage(home / name, PINS[name])
        told = f"{name} is in the cache, for other models" if fault is None else f"{name}: {fault}"
        todo = "" if fault is None else f"Run: avsr pull {name}, or remove its folder"
        yield Finding("weights", "ok" if fault is None else "warning", told, todo)


def _model() -> Iterator[Finding]:
    """The model that a command without --model takes."""
    from avsr.checkpoint import read_config
    from avsr.loading import model_folder

    name = os.environ.get("AVSR_MODEL") or "default"
    try:
        folder = model_folder(name, local_files_only=True)
        config, _ = read_config(folder)
    except AvsrError as error:
        yield Finding("model", "fault", f"{name}: {error.what}", error.todo)
        return
    if not (Path(folder) / "model.safetensors").is_file():
        yield Finding("model", "fault", f"{name}: no weights", "Copy its folder again, whole.")
        return
    told = f"{name}: audio rates {list(config.audio_rates)}, video rates {list(config.video_rates)}"
    yield Finding("model", "ok", told)


_CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "system": _system,
    "packages": _packages,
    "torch": _torch,
    "media": _media,
    "weights": _weights,
    "model": _model,
}
