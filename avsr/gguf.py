"""A language model from GGUF to safetensors: the quantised file -> a bf16 transformers folder."""

from __future__ import annotations

from pathlib import Path

__all__ = ["convert"]


def convert(source: Path, target: Path) -> None:
    """Write a transformers folder from a GGUF file.

    Args:
        source: the `.gguf` file of a causal language model with its tokenizer inside.
        target: an existing folder to write into; weights are bfloat16, tied ones stored once.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    place, name = str(source.parent), source.name
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
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
    finally:
        if bars:
            logging.enable_progress_bar()
