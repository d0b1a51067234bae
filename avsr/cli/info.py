"""`avsr info MODEL`: what a model is, read from its files without loading it."""

from __future__ import annotations

import argparse
import json
import math
import struct
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import avsr
from avsr.cli.model import offline
from avsr.cli.options import add_option
from avsr.cli.outcome import OK, SETUP, guarded, one_line
from avsr.errors import AvsrError, ModelError
from avsr.fetch import sha256_of
from avsr.pins import PINS

__all__ = ["SCHEMA", "add_arguments", "parameters", "run"]

SCHEMA = "avsr.info/1"
_LARGEST = 100 * 2**20  # bytes of a safetensors header, as the format's own readers allow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `avsr info`."""
    parser.add_argument(
        "model",
        nargs="?",
        default="default",
        metavar="MODEL",
        help="'default', a folder with a checkpoint, a hub id, or the name of pinned weights",
    )
    add_option(
        parser,
        "--local-files-only",
        action="store_true",
        help="never touch the network; fail if something is not in the cache",
    )
    add_option(parser, "--json", action="store_true", help="as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Do what `avsr info` was asked, and return its exit status."""
    return guarded(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    try:
        told = _pinned(args.model) if args.model in PINS else _model(args)
    except AvsrError as error:
        error.exit_code = SETUP
        raise
    if args.json:
        print(json.dumps({"schema": SCHEMA, **told}, indent=2))
    else:
        print("\n".join(_lines(told)))
    return OK


def parameters(path: Path) -> int:
    """Count the numbers in a safetensors file from its header alone.

    Args:
        path: the file.

    Raises:
        ModelError: not such a file.
    """
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            if size > _LARGEST:
                raise ValueError("its header is too long")
            header = json.loads(file.read(size))
        return sum(math.prod(t["shape"]) for k, t in header.items() if k != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        todo = "Copy the folder again, whole."
        raise ModelError(f"cannot read {path.name}", where=str(path.parent), todo=todo) from error


def _model(args: argparse.Namespace) -> dict[str, Any]:
    """Facts of a model of ours."""
    from avsr.checkpoint import read_config
    from avsr.loading import model_folder

    folder = model_folder(args.model, args.local_files_only or offline())
    config, facts = read_config(folder)
    tasks: dict[str, dict[str, list[int]]] = {}
    audio, video = list(config.audio_rates), list(config.video_rates)
    if audio:
        tasks["a"] = {"audio": audio}
    if video:
        tasks["v"] = {"video": video}
    if audio and video:
        tasks["av"] = {"audio": audio, "video": video}
    trained = folder / "model.safetensors"
    frozen = [
        _part("language model", config.language_model),
        _part("audio tower", config.audio_tower),
    ]
    if config.video_tower is not None:
        home = folder if config.video_tower == "." else Path(config.video_tower)
        frozen.append(_part("video tower", str(home / "lip_encoder.safetensors")))
    return {
        "model": str(args.model),
        "folder": str(folder),
        "format": facts["avsr_format"],
        "method": config.method,
        "tasks": tasks,
        "compress": dict(config.compress),
        "parameters": {
            "trained": parameters(trained),
            "frozen": sum(part["parameters"] or 0 for part in frozen),
        },
        "trained_sha256": sha256_of(trained),
        "licence": _licence(folder),
        "fingerprint": dict(facts.get("frozen", {})),
        "frozen": frozen,
        "training": dict(facts.get("training", {})),
        "card": _card(folder),
    }


def _part(role: str, name: str) -> dict[str, Any]:
    """Facts of a frozen part: by its pin, or by the files of a folder; unknown ones are None."""
    from avsr.weights import cache_folder, weight_files

    pin = PINS.get(name)
    path = cache_folder() / name if pin is not None else Path(name)
    files = [path] if path.is_file() else weight_files(path) if path.is_dir() else []
    return {
        "role": role,
        "name": name,
        "licence": None if pin is None else pin.licence,
        "parameters": sum(map(parameters, files)) if files else None,
        "sha256": {file.name: sha256_of(file) for file in files},
        "wheels": {} if pin is None else {w.requirement: w.sha256 for w in pin.wheels},
    }


def _licence(folder: Path) -> str | None:
    """Licence of a model's own files: the package's, for a model that comes with it; or None."""
    if Path(avsr.__file__).resolve().parent not in folder.resolve().parents:
        return None
    told = metadata.metadata("avsr")
    known = [key for key in ("License-Expression", "License") if key in told]
    return told[known[0]] if known else None


def _card(folder: Path) -> dict[str, str]:
    """Sections of the model card that tell of data and licence."""
    try:
        lines = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    sections: dict[str, list[str]] = {}
    title = ""
    for line in lines:
        if line.startswith("## "):
            title = line.removeprefix("## ").strip()
        elif title:
            sections.setdefault(title, []).append(line)
    wanted = {title: "\n".join(text).strip() for title, text in sections.items()}
    return {title: text for title, text in wanted.items() if title.lower() in ("data", "licence")}


def _pinned(name: str) -> dict[str, Any]:
    """Facts of pinned weights, which are no model by themselves."""
    pin = PINS[name]
    part = _part("pinned weights", name)
    return {"model": name, "about": pin.about, "frozen": [part]}


def _lines(told: Mapping[str, Any]) -> list[str]:
    lines = [f"{'model':<12}{one_line(told['model'])}"]
    if "about" in told:
        lines.append(f"{'about':<12}{told['about']}")
    if "tasks" in told:
        lines += _of_ours(told)
    for part in told["frozen"]:
        count = part["parameters"]
        size = "not in the cache: avsr pull" if count is None else f"{count:,} parameters, frozen"
        licence = part["licence"] or "licence not told"
        lines.append(f"{part['role']:<15} {one_line(part['name'])}: {size}; {licence}")
        lines += [f"{'':<16}{file} {digest}" for file, digest in part["sha256"].items()]
    for title, text in told.get("card", {}).items():
        lines += ["", f"{title} (from the model card)", "", text]
    return lines


def _of_ours(told: Mapping[str, Any]) -> list[str]:
    names = {"a": "sound", "v": "lips", "av": "sound and lips"}
    lines = [
        f"{'folder':<12}{one_line(told['folder'])}",
        f"{'method':<12}{told['method']}, tokens by {told['compress']['name']}",
    ]
    for task, rates in told["tasks"].items():
        choice = ", ".join(f"{kind} rate {' or '.join(map(str, r))}" for kind, r in rates.items())
        lines.append(f"{'task ' + task:<12}{names[task]}: {choice}")
    lines.append(f"{'trained':<12}{told['parameters']['trained']:,} parameters")
    lines.append(f"{'':<12}model.safetensors {told['trained_sha256']}")
    lines.append(f"{'licence':<12}{told['licence'] or 'not told'}, of what was trained")
    training = ", ".join(
        f"{key} {' '.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in told["training"].items()
    )
    return [*lines, f"{'training':<12}{training}"] if training else lines
