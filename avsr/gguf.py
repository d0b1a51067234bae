"""A language model from GGUF to safetensors: the quantised file -> a bf16 transformers folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import avsr.torchaudio_guard  # noqa: F401

__all__ = ["convert"]


def convert(source: Path, target: Path) -> None:
    """Write a transformers folder from a GGUF file.

    Args:
        source: the `.gguf` file of a causal language model with its tokenizer inside.
        target: an existing folder to write into; weights are bfloat16, tied ones stored once.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    place, name = str(source.parent), source.name
    with _silent():
        # Without `dequantize` transformers keeps the packed blocks, which nothing of ours can use.
        model = AutoModelForCausalLM.from_pretrained(
            place,
            gguf_file=name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
        )
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.save_pretrained(target)
        AutoTokenizer.from_pretrained(place, gguf_file=name).save_pretrained(target)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep transformers from writing to stderr: its bars, its advice, its GGUF reader's bar.

    That last one is made of tqdm itself and asks none of transformers' switches.
    """
    from transformers.utils import logging

    reader: Any = import_module("transformers.modeling_gguf_pytorch_utils")
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    drawn = getattr(reader, "tqdm", None)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    if drawn is not None:
        reader.tqdm = partial(drawn, disable=True)
    try:
        yield
    finally:
        if drawn is not None:
            reader.tqdm = drawn
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
