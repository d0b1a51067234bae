"""Checkpoints: JSON and safetensors of what was trained, and a fingerprint of what was not.

Data: AvsrModel <-> folder with `config.json`, `model.safetensors` and, where lips are used,
`lip_encoder.*`; `alignment.safetensors` where the projectors were aligned by CTC.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from avsr.compress.pair import build_pair
from avsr.config import AvsrConfig
from avsr.ctc import EmbeddingCtc
from avsr.errors import AvsrError, ModelError
from avsr.fingerprint import check_towers, llm_fingerprint, tower_fingerprints
from avsr.language_model import load_llm, load_skeleton
from avsr.model import AvsrModel
from avsr.weights import resolve
from avsr.writers import write_atomic
from experts import widen
from frontends.towers import (
    AudioTower,
    LipTower,
    audio_features,
    open_audio_tower,
    open_video_tower,
    video_features,
)

FORMAT = 1
ALIGNMENT = "alignment.safetensors"
PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl")


def read_config(folder: Path | str) -> tuple[AvsrConfig, Mapping[str, Any]]:
    """Configuration of a checkpoint folder, and the facts stored beside it.

    Raises:
        ModelError: not a checkpoint of ours.
    """
    folder = Path(folder)
    if folder.suffix in PICKLES and folder.is_file():
        raise ModelError(
            "this is a pickle, which can run code when it is read",
            where=str(folder),
            todo="Convert it with a tool of its own project to safetensors first.",
        )
    try:
        facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            "not a model folder: no readable config.json",
            where=str(folder),
            todo="Name a folder written by `avsr train`, or leave --model out.",
        ) from error
    known = isinstance(facts, dict) and isinstance(facts.get("model"), dict)
    if not known or type(facts.get("avsr_format")) is not int:
        raise ModelError(
            "config.json is not one of this package's models: it needs avsr_format and model",
            where=str(folder),
            todo="Name a folder written by `avsr train`, or leave --model out.",
        )
    if facts["avsr_format"] > FORMAT:
        raise ModelError(
            f"model format {facts['avsr_format']} is newer than this package knows ({FORMAT})",
            where=str(folder),
            todo="Update the package.",
        )
    return AvsrConfig.from_dict(facts["model"]), facts


def tower_widths(config: AvsrConfig, folder: Path | None) -> tuple[int, int | None]:
    """Feature widths of the configured towers, read from their configurations alone."""
    audio = audio_features(resolve(config.audio_tower)).width
    if config.video_tower is None:
        return audio, None
    try:
        return audio, video_features(lip_folder(config, folder)).width
    except AvsrError as error:
        raise ModelError(error.what, where=error.where, todo=error.todo) from error


def lip_folder(config: AvsrConfig, folder: Path | None) -> Path:
    """Where the video tower of a configuration lies."""
    assert config.video_tower is not None
    if config.video_tower != ".":
        return video_folder(config.video_tower)
    if folder is None:
        raise ModelError(
            'video_tower is ".", but the model has no folder yet',
            todo="Name the folder of the lip encoder.",
        )
    return folder


def video_folder(name: str) -> Path:
    """Folder of a video tower by path, pinned name or hub id."""
    path = Path(name).expanduser()
    if path.exists() or "/" not in name or path.is_absolute() or name.startswith("."):
        return path  # a lip encoder's folder has no config.json, which `resolve` asks for
    return Path(resolve(name))


def load_towers(
    config: AvsrConfig, folder: Path | None = None, stored: Mapping[str, str] | None = None
) -> tuple[AudioTower, LipTower | None]:
    """The frozen towers of a configuration.

    Args:
        config: names them.
        folder: the model's own folder, for a lip encoder that lies there.
        stored: fingerprints of those that the model was trained with.

    Raises:
        AvsrError: they cannot be had.
        ModelError: they are others.
    """
    audio = open_audio_tower(resolve(config.audio_tower))
    lips = config.video_tower
    video = None if lips is None else open_video_tower(lip_folder(config, folder))
    towers = {"audio_tower": audio, "video_tower": video}
    check_towers(stored or {}, towers, str(folder or config.audio_tower))
    return audio, video


def build_model(
    config: AvsrConfig,
    *,
    folder: Path | None = None,
    dtype: torch.dtype = torch.bfloat16,
    seed: int = 0,
    device: Literal["cpu", "meta"] = "cpu",
) -> AvsrModel:
    """A model with fresh trained parts.

    Args:
        config: sizes and names of frozen parts.
        folder: the model's own folder, for a lip encoder that lies there.
        dtype: of the frozen LLM.
        seed: of the fresh parts.
        device: "meta" leaves the trained parts without memory, for weights that are assigned.

    Raises:
        ModelError: the method does not fit the LLM, or the compressor the towers; said before the
            LLM's weights are read.
    """
    if device == "cpu":
        _try_method(config)
    audio_width, video_width = tower_widths(config, folder)
    if device == "cpu":
        _try_compressors(config, audio_width, video_width)
    llm, tokenizer = load_llm(resolve(config.language_model), dtype)
    with torch.device(device):
        model = AvsrModel(
            config, llm, tokenizer, audio_width=audio_width, video_width=video_width, seed=seed
        )
    if config.tower_lora:
        towers = load_towers(config, folder)
        with torch.device(device):
            model.adapt_towers(*towers, seed=seed)
    return model


def _try_method(config: AvsrConfig) -> None:
    """Attach the method to the LLM's modules without weights, which takes no time."""
    skeleton = load_skeleton(config.language_model)
    try:
        with torch.device("meta"):
            widen(skeleton, config.method, config.sizes, scales=config.scales)
    except ValueError as error:
        raise ModelError(
            f"method {config.method!r} does not fit {config.language_model}: {error}",
            todo="Correct the method's settings, or choose a Llama- or Qwen-type LLM.",
        ) from error


def _try_compressors(config: AvsrConfig, audio: int, video: int | None) -> None:
    """Build the compressors without memory, for what they refuse."""
    rates = {"audio": config.audio_rates, "video": config.video_rates}
    with torch.device("meta"):
        build_pair(config.compress, {"audio": audio, "video": video}, rates)


def save_model(
    model: AvsrModel,
    folder: Path | str,
    *,
    lip_encoder: Path | str | None = None,
    dtype: torch.dtype = torch.float16,
    training: Mapping[str, Any] | None = None,
    towers: Mapping[str, object] | None = None,
) -> None:
    """Write a checkpoint folder.

    Args:
        model: the trained model.
        folder: where to; made if it is not there.
        lip_encoder: folder of the lip encoder to store beside it; the configuration then says ".".
        dtype: of the stored numbers.
        training: facts for `avsr info` and the model card.
        towers: "audio_tower" and "video_tower", to be known again.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().to(dtype).contiguous() for k, v in model.state_dict().items()}
    _replace(folder / "model.safetensors", lambda part: save_file(state, part))
    config = model.config.to_dict()
    if lip_encoder is not None:
        for name in ("lip_encoder.json", "lip_encoder.safetensors"):
            _replace(folder / name, partial(shutil.copyfile, Path(lip_encoder) / name))
        config["video_tower"] = "."
    facts = {
        "avsr_format": FORMAT,
        "model": config,
        "frozen": {
            "language_model": llm_fingerprint(model.llm),
            **tower_fingerprints(towers or {}),
        },
        "training": dict(training or {}),
    }
    text = json.dumps(facts, indent=2, sort_keys=True) + "\n"
    write_atomic(folder / "config.json", text)


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write beside a file and then put it in its place: a killed run leaves no half checkpoint."""
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(part)
        part.chmod(0o644)  # safetensors makes files that only their owner reads
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_checkpoint(
    folder: Path | str, *, dtype: torch.dtype = torch.bfloat16
) -> tuple[AvsrModel, Mapping[str, Any]]:
    """Read a checkpoint folder for inference.

    Args:
        folder: written by `save_model`.
        dtype: of the frozen LLM.

    Returns:
        The model in eval mode, and the stored facts.

    Raises:
        ModelError: not a checkpoint, damaged, or made with another LLM than the one it names.
    """
    folder = Path(folder)
    config, facts = read_config(folder)
    try:
        state = load_file(folder / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"cannot read model.safetensors: {error}",
            where=str(folder),
            todo="Copy the folder again, whole.",
        ) from error
    model = build_model(config, folder=folder, dtype=dtype, device="meta")
    wanted = facts.get("frozen", {}).get("language_model")
    if wanted is not None and wanted != llm_fingerprint(model.llm):
        raise ModelError(
            f"the experts were trained inside another LLM than {config.language_model} is here",
            where=str(folder),
            todo="Use the LLM that config.json names, in the version that it was trained with.",
        )
    try:
        model.load_state_dict({k: v.float() for k, v in state.items()}, assign=True)
    except RuntimeError as error:
        raise ModelError(
            f"the weights do not fit the configuration: {str(error).splitlines()[0]}",
            where=str(folder),
            todo="Copy the folder again, whole; config.json and model.safetensors belong together.",
        ) from error
    return model.eval().requires_grad_(False), facts


def save_alignment(alignment: EmbeddingCtc, folder: Path | str) -> None:
    """Write the CTC of a checkpoint's projectors beside it."""
    _replace(Path(folder) / ALIGNMENT, alignment.save)


def load_alignment(folder: Path | str, model: AvsrModel) -> EmbeddingCtc | None:
    """CTC of a checkpoint's projectors, None if they were not aligned.

    Args:
        folder: of the checkpoint.
        model: what `load_checkpoint` read from there.

    Raises:
        ModelError: the file is damaged, or the configuration wants one that is not there.
    """
    path = Path(folder) / ALIGNMENT
    if not path.is_file():
        if model.config.ctc_weights:
            raise ModelError(
                f"the configuration has ctc_weights, but there is no {ALIGNMENT}",
                where=str(folder),
                todo="Copy the folder again, whole.",
            )
        return None
    try:
        alignment = EmbeddingCtc.load(path, model.llm.get_input_embeddings().weight)
    except (OSError, KeyError, IndexError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"cannot read {ALIGNMENT}: {str(error).splitlines()[0]}",
            where=str(folder),
            todo="Copy the folder again, whole.",
        ) from error
    return alignment.eval().requires_grad_(False)
