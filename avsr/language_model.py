"""The frozen language model and its tokenizer: a model folder -> logits over text tokens.

A folder of a usual architecture is read directly, past transformers' generic loader: the same
tensors in the same class, in a tenth of the time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

import avsr.torchaudio_guard  # noqa: F401
from avsr.errors import ModelError
from avsr.startup import scipy_deferred
from avsr.weights import resolve, weight_files

__all__ = ["TextTokenizer", "load_llm", "load_skeleton", "load_tokenizer", "scale_of"]

# model_type -> name of the classes in transformers.models.<model_type>
_DIRECT = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}
_CODE = ("auto_map", "quantization_config")  # asks for more than the plain class
_COMPUTED = ".rotary_emb.inv_freq"  # tables that older files store


class TextTokenizer:
    """Text to token ids and back, special tokens left out.

    Args:
        tokenizer: the fast tokenizer itself.
        bos_id: id that opens a sequence, None if the model has none.
        eos_id: id that ends a transcript.
    """

    def __init__(self, tokenizer: Tokenizer, *, bos_id: int | None, eos_id: int) -> None:
        tokenizer.no_truncation()  # some files carry the settings of a batch once made with them
        tokenizer.no_padding()
        self._tokenizer, self.bos_id, self.eos_id = tokenizer, bos_id, eos_id

    @property
    def vocab_size(self) -> int:
        """Number of tokens, added ones included; the model's table may have more rows."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, nothing added."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens skipped."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text


def load_llm(
    model: str | Path, dtype: torch.dtype = torch.bfloat16, *, local_files_only: bool = False
) -> tuple[Any, TextTokenizer]:
    """Load a causal language model, frozen and in eval mode, and its tokenizer.

    Args:
        model: pinned name, folder or hub id (`avsr.weights.resolve`).
        dtype: of its weights.
        local_files_only: never touch the network.

    Returns:
        A transformers causal language model on the CPU, and its tokenizer.

    Raises:
        ModelError: there is no such model, or it is not a causal language model.
        SetupError: its files are in no cache and cannot be fetched.
    """
    folder = Path(resolve(model, local_files_only=local_files_only))
    config = _json(folder / "config.json")
    direct = config.get("model_type") in _DIRECT and not any(config.get(key) for key in _CODE)
    llm = _load_direct(folder, config, dtype) if direct else _load_any(folder, dtype)
    return llm.requires_grad_(False).eval(), load_tokenizer(folder)


def load_skeleton(model: str | Path, *, local_files_only: bool = False) -> Any:
    """The modules of a language model without its weights, on the meta device.

    Args:
        model: pinned name, folder or hub id.
        local_files_only: never touch the network.

    Raises:
        ModelError: there is no such model, or it is not a causal language model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = Path(resolve(model, local_files_only=local_files_only))
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError) as error:
        raise ModelError(f"not a causal language model: {error}", where=str(folder)) from error


def load_tokenizer(folder: Path | str) -> TextTokenizer:
    """Load the tokenizer of a model folder.

    Args:
        folder: holds tokenizer.json, or older files that transformers can turn into one.

    Raises:
        ModelError: there is no tokenizer, or nothing says which token ends a text.
    """
    folder = Path(folder)
    tokenizer = _fast_tokenizer(folder)
    told, config = _json(folder / "tokenizer_config.json"), _json(folder / "config.json")

    def find(kind: str) -> int | None:
        if f"{kind}_token" in told:  # null means none, as for Qwen's bos
            token = told[f"{kind}_token"]
            token = token["content"] if isinstance(token, dict) else token
            found: int | None = None if token is None else tokenizer.token_to_id(token)
            return found
        if kind == "bos" and "eos_token" in told:
            return None  # transformers 5 leaves out what is none; Qwen's config.json has an id
        ids = config.get(f"{kind}_token_id")
        ids = ids if isinstance(ids, list) else [ids]
        return ids[0] if ids else None

    eos_id = find("eos")
    if eos_id is None:
        raise ModelError(
            "no end-of-text token",
            where=str(folder),
            todo="Give eos_token in tokenizer_config.json or eos_token_id in config.json",
        )
    return TextTokenizer(tokenizer, bos_id=find("bos"), eos_id=eos_id)


def _fast_tokenizer(folder: Path) -> Tokenizer:
    path = folder / "tokenizer.json"
    try:
        if path.is_file():
            return Tokenizer.from_file(str(path))
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
    except Exception as error:  # both libraries raise bare Exception for damaged files
        raise ModelError(f"unreadable tokenizer: {error}", where=str(folder)) from error


def _load_direct(folder: Path, config: dict[str, Any], dtype: torch.dtype) -> Any:
    """Build the class without memory and give it the file's tensors: no copy, no init."""
    kind = config["model_type"]
    package, name = f"transformers.models.{kind}", _DIRECT[kind]
    with ThreadPoolExecutor(1) as beside:  # torch reads while Python imports, which takes longer
        reading = beside.submit(_read_weights, folder, dtype)
        with scipy_deferred():
            settings_module = import_module(f"{package}.configuration_{kind}")
            model_module = import_module(f"{package}.modeling_{kind}")
        settings_class = getattr(settings_module, f"{name}Config")
        model_class = getattr(model_module, f"{name}ForCausalLM")
        settings = settings_class.from_pretrained(folder, local_files_only=True)
        settings.dtype = dtype
        with torch.device("meta"):
            llm = model_class(settings)
        state = reading.result()
    try:
        missing, unexpected = llm.load_state_dict(state, strict=False, assign=True)
    except RuntimeError as error:
        raise ModelError(f"unreadable weights: {error}", where=str(folder)) from error
    # Rotary tables are computed, not stored.
    llm.model.rotary_emb = type(llm.model.rotary_emb)(config=settings)
    if settings.tie_word_embeddings:
        llm.lm_head.weight = llm.model.embed_tokens.weight
        missing = [key for key in missing if key != "lm_head.weight"]
    if missing or unexpected:
        raise ModelError(
            f"the weights do not fit config.json: {len(missing)} tensors missing, "
            f"{len(unexpected)} not known",
            where=f"{folder}: {(missing + unexpected)[0]}",
        )
    return llm


def _read_weights(folder: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = {}
    try:
        for path in weight_files(folder):
            state |= {
                key: tensor.to(dtype)
                for key, tensor in load_file(path).items()
                if not key.endswith(_COMPUTED)
            }
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"unreadable weights: {error}", where=str(folder)) from error
    return state


def _load_any(folder: Path, dtype: torch.dtype) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"not a causal language model: {error}", where=str(folder)) from error


def _json(path: Path) -> dict[str, Any]:
    """Read a JSON object; a file that is not there is an empty one."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"unreadable {path.name}: {error}", where=str(path.parent)) from error
    if not isinstance(content, dict):
        raise ModelError(f"unreadable {path.name}: not an object", where=str(path.parent))
    return content


def scale_of(table: Tensor) -> tuple[float, float]:
    """Mean norm of the rows [V, H] of an embedding table, and the deviation of its numbers.

    By blocks of rows: a float32 copy of the whole would be most of the memory that loading touches.
    """
    norm = total = square = 0.0
    for rows in table.split(2048):
        values = rows.float()
        norms = values.norm(dim=1)
        norm += norms.sum().item()
        square += norms.square().sum().item()
        total += values.sum().item()
    mean = total / table.numel()
    return norm / table.shape[0], (square / table.numel() - mean**2) ** 0.5
