"""Whisper from CTranslate2 to transformers: `model.bin` -> tensors by transformers' names.

Data: a CTranslate2 folder (model.bin, config.json, tokenizer.json) -> a transformers folder.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avsr.errors import ModelError

__all__ = ["convert", "read_variables", "to_transformers"]

Array = NDArray[Any]
Pairs = list[tuple[str, str]]

_VERSION = 6
_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
_BFLOAT16 = 5
_HEAD_SIZE = 64  # of every published Whisper
_ENGLISH_END = 50256  # id of <|endoftext|> in the English models; one more in the others


def read_variables(path: Path) -> dict[str, Array]:
    """Read the variables of a CTranslate2 `model.bin` (format version 6).

    Args:
        path: the file.

    Returns:
        Arrays by CTranslate2's names, views on one read-only map of the file.

    Raises:
        ModelError: the file is not one, is cut, or holds numbers of a kind we do not read.
    """
    try:
        return _read_variables(np.memmap(path, dtype=np.uint8, mode="r"))
    except (struct.error, UnicodeDecodeError, ValueError, OSError) as error:
        raise ModelError(f"not a CTranslate2 model: {error}", where=str(path)) from error


def _read_variables(data: NDArray[np.uint8]) -> dict[str, Array]:
    at = 0

    def number(code: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from(f"<{code}", data.data, at)
        at += struct.calcsize(code)
        return int(value)

    def string() -> str:
        nonlocal at
        length = number("H")
        text = bytes(data[at : at + length])
        at += length
        if not text.endswith(b"\0"):
            raise ValueError("a name is cut")
        return text[:-1].decode()

    version = number("I")
    if version != _VERSION:
        raise ValueError(f"format version {version}, not {_VERSION}")
    string(), number("I")  # the specification's name and revision
    variables: dict[str, Array] = {}
    for _ in range(number("I")):
        name = string()
        shape = [number("I") for _ in range(number("B"))]
        code, size = number("B"), number("I")
        if code != _BFLOAT16 and code not in _DTYPES:
            raise ValueError(f"{name} has number type {code}")
        if at + size > len(data):
            raise ValueError(f"{name} is cut")
        raw = data[at : at + size]
        if code == _BFLOAT16:  # the upper half of a float32, which NumPy has no name for
            array = (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            array = raw.view(_DTYPES[code])
        variables[name] = array.reshape(shape)
        at += size
    for _ in range(number("I")):
        alias, name = string(), string()
        if name not in variables:
            raise ValueError(f"{alias} stands for {name}, which is missing")
        variables[alias] = variables[name]
    return variables


def to_transformers(variables: Mapping[str, Array]) -> dict[str, Array]:
    """Rename and split the variables as `WhisperForConditionalGeneration` wants them.

    Args:
        variables: arrays by CTranslate2's names.

    Returns:
        Arrays by transformers' names; the tied `proj_out.weight` is left out.

    Raises:
        ModelError: a variable is missing, or one is left that no name takes.
    """
    left = {name: array for name, array in variables.items() if array.ndim}  # scalars: settings
    out: dict[str, Array] = {}

    def take(name: str) -> Array:
        if name not in left:
            raise ModelError("not a Whisper model of CTranslate2", where=f"{name} is missing")
        return left.pop(name)

    def move(source: str, target: str, renames: Pairs) -> None:
        for old, new in renames:
            out[f"model.{target}.{new}"] = take(f"{source}/{old}")

    def split(source: str, targets: list[str]) -> None:
        for part in ("weight", "bias"):
            array = take(f"{source}/{part}")
            if len(array) % len(targets):
                raise ModelError("not a Whisper model of CTranslate2", where=f"odd {source}/{part}")
            rows = np.split(array, len(targets))
            for target, block in zip(targets, rows, strict=True):
                out[f"model.{target}.{part}"] = block

    linear: Pairs = [("weight", "weight"), ("bias", "bias")]
    norm: Pairs = [("gamma", "weight"), ("beta", "bias")]
    for half in ("encoder", "decoder"):
        move(half, half, [("position_encodings/encodings", "embed_positions.weight")])
        move(f"{half}/layer_norm", f"{half}.layer_norm", norm)
        for index in range(_layers(variables, half)):
            here, there = f"{half}/layer_{index}", f"{half}.layers.{index}"
            attention = f"{there}.self_attn"
            projections = [f"{attention}.{x}_proj" for x in "qkv"]
            split(f"{here}/self_attention/linear_0", projections)
            move(f"{here}/self_attention/linear_1", f"{attention}.out_proj", linear)
            move(f"{here}/self_attention/layer_norm", f"{attention}_layer_norm", norm)
            if half == "decoder":
                attention = f"{there}.encoder_attn"
                move(f"{here}/attention/linear_0", f"{attention}.q_proj", linear)
                split(f"{here}/attention/linear_1", [f"{attention}.{x}_proj" for x in "kv"])
                move(f"{here}/attention/linear_2", f"{attention}.out_proj", linear)
                move(f"{here}/attention/layer_norm", f"{attention}_layer_norm", norm)
            move(f"{here}/ffn/linear_0", f"{there}.fc1", linear)
            move(f"{here}/ffn/linear_1", f"{there}.fc2", linear)
            move(f"{here}/ffn/layer_norm", f"{there}.final_layer_norm", norm)
    for name in ("conv1", "conv2"):
        move(f"encoder/{name}", f"encoder.{name}", linear)
    move("decoder/embeddings", "decoder.embed_tokens", [("weight", "weight")])

    keys = [name for name in out if name.endswith("k_proj.bias")]
    if any(out.pop(name).any() for name in keys):
        raise ModelError("not a Whisper model of CTranslate2", where="its keys have biases")
    # The output projection is the embedding again; CTranslate2 may list it by its own name.
    left.pop("decoder/projection/weight", None)
    if left:
        raise ModelError("not a Whisper model of CTranslate2", where=f"{sorted(left)[0]} is new")
    return out


def _layers(variables: Mapping[str, Array], half: str) -> int:
    """Count the layers of a half."""
    starts = {name.split("/")[1] for name in variables if name.startswith(f"{half}/layer_")}
    return len(starts - {"layer_norm"})


def convert(source: Path, target: Path) -> None:
    """Write a transformers folder from a CTranslate2 folder of Whisper.

    Args:
        source: holds model.bin, config.json and tokenizer.json.
        target: an existing folder to write into. Weights are stored as they were published
            (fp16) and load as float32, where they are exact.

    Raises:
        ModelError: `source` holds no Whisper model of CTranslate2.
    """
    from safetensors.numpy import save_file

    tensors = to_transformers(read_variables(source / "model.bin"))
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    save_file(arrays, target / "model.safetensors", metadata={"format": "pt"})
    tokens = _special_tokens(source / "tokenizer.json")
    settings = json.loads((source / "config.json").read_text(encoding="utf-8"))
    shutil.copyfile(source / "tokenizer.json", target / "tokenizer.json")
    for name, content in {
        "config.json": _config(tensors, tokens),
        "generation_config.json": _generation_config(settings, tokens, tensors),
        "preprocessor_config.json": _preprocessor_config(tensors),
        "tokenizer_config.json": _tokenizer_config(),
    }.items():
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        (target / name).write_text(text, encoding="utf-8")


def _special_tokens(path: Path) -> dict[str, int]:
    tokens = json.loads(path.read_text(encoding="utf-8"))["added_tokens"]
    return {token["content"]: int(token["id"]) for token in tokens}


def _config(tensors: Mapping[str, Array], tokens: Mapping[str, int]) -> dict[str, Any]:
    """Read the sizes off the tensors, as `WhisperConfig` names them."""
    vocabulary, width = tensors["model.decoder.embed_tokens.weight"].shape
    end = tokens["<|endoftext|>"]
    config: dict[str, Any] = {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "d_model": width,
        "vocab_size": vocabulary,
        "num_mel_bins": tensors["model.encoder.conv1.weight"].shape[1],
        "max_source_positions": len(tensors["model.encoder.embed_positions.weight"]),
        "max_target_positions": len(tensors["model.decoder.embed_positions.weight"]),
        "activation_function": "gelu",
        "scale_embedding": False,
        "tie_word_embeddings": True,
        "dtype": "float32",
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": tokens["<|startoftranscript|>"],
    }
    for half in ("encoder", "decoder"):
        layers = {name.split(".")[3] for name in tensors if f"{half}.layers." in name}
        config[f"{half}_layers"] = len(layers)
        config[f"{half}_attention_heads"] = max(1, width // _HEAD_SIZE)
        config[f"{half}_ffn_dim"] = len(tensors[f"model.{half}.layers.0.fc1.weight"])
    return config


def _generation_config(
    settings: Mapping[str, Any], tokens: Mapping[str, int], tensors: Mapping[str, Array]
) -> dict[str, Any]:
    """Greedy decoding with Whisper's own suppressed tokens."""
    end, start = tokens["<|endoftext|>"], tokens["<|startoftranscript|>"]
    config: dict[str, Any] = {
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": start,
        "no_timestamps_token_id": tokens["<|notimestamps|>"],
        "max_initial_timestamp_index": 50,
        "max_length": len(tensors["model.decoder.embed_positions.weight"]),
        "return_timestamps": False,
        "suppress_tokens": settings.get("suppress_ids", []),
        "begin_suppress_tokens": settings.get("suppress_ids_begin", []),
        "alignment_heads": settings.get("alignment_heads", []),
        "is_multilingual": end != _ENGLISH_END,
    }
    if "<|startofprev|>" in tokens:
        config["prev_sot_token_id"] = tokens["<|startofprev|>"]
    if config["is_multilingual"]:
        first, last = start + 1, tokens["<|translate|>"]
        languages = {t: i for t, i in tokens.items() if first <= i < last}
        config["lang_to_id"] = dict(sorted(languages.items(), key=lambda item: item[1]))
        config["task_to_id"] = {t: tokens[f"<|{t}|>"] for t in ("transcribe", "translate")}
    return config


def _preprocessor_config(tensors: Mapping[str, Array]) -> dict[str, Any]:
    """The log-mel of `WhisperFeatureExtractor`: 25 ms windows every 10 ms of 16 kHz sound."""
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": tensors["model.encoder.conv1.weight"].shape[1],
        "sampling_rate": 16000,
        "n_fft": 400,
        "hop_length": 160,
        "chunk_length": 30,
        "n_samples": 480000,
        "nb_max_frames": 3000,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }


def _tokenizer_config() -> dict[str, Any]:
    end = "<|endoftext|>"
    return {
        "tokenizer_class": "WhisperTokenizer",
        "processor_class": "WhisperProcessor",
        "bos_token": end,
        "eos_token": end,
        "pad_token": end,
        "unk_token": end,
        "model_max_length": 1024,
        "clean_up_tokenization_spaces": False,
    }
