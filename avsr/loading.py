"""The library's front door: the name of a model, or a file -> `Recogniser`, `Transcript`."""

from __future__ import annotations

import atexit
import gc
from pathlib import Path
from typing import Any

import torch

import avsr.torchaudio_guard  # noqa: F401
from avsr.api import Recogniser
from avsr.checkpoint import load_alignment, load_checkpoint, load_towers, read_config
from avsr.confidence import Calibration
from avsr.errors import AvsrError, ConfigError
from avsr.precision import choose_dtype
from avsr.startup import collector_paused
from avsr.transcript import Transcript
from avsr.weights import resolve

__all__ = ["load_model", "model_folder", "transcribe"]

# Else the collector walks over torch's million objects once more when the process ends, for a
# second, to free what the end frees anyway.
atexit.register(gc.freeze)


def load_model(
    model: str | Path = "default",
    *,
    device: str = "auto",
    dtype: str = "auto",
    local_files_only: bool = False,
) -> Recogniser:
    """Load a recogniser.

    Args:
        model: "default", a folder written by training, or a hub id.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        dtype: of the frozen LLM: "auto", "float32", "bfloat16", "float16".
        local_files_only: never ask the network.

    Raises:
        AvsrError: no such model, damaged, or its frozen parts cannot be had.
    """
    folder = model_folder(model, local_files_only)
    chosen = _device(device)
    config, _ = read_config(folder)
    calibration = Calibration.of(folder)
    for frozen in (config.language_model, config.audio_tower):
        resolve(frozen, local_files_only=local_files_only)  # here or fetched before the long work
    with collector_paused():
        loaded, facts = load_checkpoint(folder, dtype=choose_dtype(dtype, chosen))
        alignment = load_alignment(folder, loaded)
        audio_tower, video_tower = loaded.towers or load_towers(
            loaded.config, folder, facts.get("frozen")
        )
    told = facts.get("training", {})
    known = {"trained_tasks": list(told["tasks"])} if told.get("tasks") else {}
    audio_tower.to(chosen)
    for part in (video_tower, alignment):
        if part is not None:
            part.to(chosen)
    about = {
        "name": str(model),
        "language_model": loaded.config.language_model,
        "trained_rates": {k: list(v) for k, v in loaded.rates.items()},
        **known,
        "dtype": str(next(loaded.llm.parameters()).dtype).removeprefix("torch."),
        "format": facts["avsr_format"],
        "confidence": "raw" if calibration is None else "calibrated",
    }
    return Recogniser(
        loaded.to(chosen),
        audio_tower,
        video_tower,
        about,
        alignment=alignment,
        local_files_only=local_files_only,
        calibration=calibration,
    )


def transcribe(path: str | Path, *, model: str | Path = "default", **options: Any) -> Transcript:
    """Transcribe one file.

    Args:
        path: media file.
        model: see `load_model`.
        options: see `Recogniser.transcribe`.

    Raises:
        AvsrError: the file or the model cannot be read.
    """
    result = load_model(model).transcribe([path], **options)[0]
    if isinstance(result, AvsrError):
        raise result
    return result


def model_folder(model: str | Path, local_files_only: bool = False) -> Path:
    """Folder of a named model."""
    if str(model) == "default":
        return Path(__file__).parent / "models" / "default"
    return Path(resolve(str(model), local_files_only=local_files_only))


def _device(name: str) -> torch.device:
    """Turn a device option into a device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device {name!r} cannot be used: {reason}", todo="Use --device cpu."
        ) from error
    return device
