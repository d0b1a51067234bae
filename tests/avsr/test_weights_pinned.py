"""The pinned weights as they lie in the real cache: complete, and doing what they are known for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from avsr.errors import SetupError
from avsr.language_model import load_llm
from avsr.pins import PINS
from avsr.weights import cache_folder, damage, pull

pytestmark = pytest.mark.weights


def cached(name: str) -> Path:
    try:
        return pull(name, local_files_only=True)
    except SetupError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", PINS)
def test_what_is_in_the_cache_is_what_was_put_there(name: str) -> None:
    cached(name)
    assert damage(cache_folder() / name, PINS[name], check="hashes") is None


def test_whisper_is_complete_and_its_positions_are_sinusoids() -> None:
    from transformers import WhisperForConditionalGeneration

    folder = cached("whisper-tiny.en")
    model, info = WhisperForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    c = model.config
    assert (c.d_model, c.encoder_layers, c.decoder_layers) == (384, 4, 4)
    assert (c.encoder_attention_heads, c.num_mel_bins, c.vocab_size) == (6, 80, 51864)
    # Known without the weights: the encoder's positions are sines, then cosines.
    steps = np.exp(-np.log(10000) / 191 * np.arange(192))
    angles = np.arange(1500)[:, None] * steps[None]
    wanted = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    got = model.model.encoder.embed_positions.weight.detach().numpy()
    assert np.abs(got - wanted).max() < 1e-3  # stored in float16


def test_the_language_model_is_complete_and_knows_a_capital() -> None:
    folder = cached("smollm2-135m-instruct")
    llm, tokenizer = load_llm(folder, torch.float32)
    assert sum(parameter.numel() for parameter in llm.parameters()) == 134_515_008
    assert llm.lm_head.weight is llm.model.embed_tokens.weight
    assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 2)
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    ids = torch.tensor([tokenizer.encode("The capital of France is")])
    with torch.inference_mode():
        best = int(llm(ids).logits[0, -1].argmax())
    assert tokenizer.decode([best]) == " Paris"
    text = "set white with p two now; naïve 日本"
    assert tokenizer.decode(tokenizer.encode(text)) == text
