"""Llama-AVSR and Omni-AVSR decode with the settings shipped beside their LLM, which sample.

Llama 3 ships do_sample=True, temperature 0.6, top_p 0.9: the same clip had a new transcript, and a
new error rate, at each run. Here no shipped setting may reach a transcript.
"""

import pytest
import torch
from transformers import GenerationConfig

from avsr.decode import DecodeOptions, decode

SHIPPED = {
    "do_sample": True,
    "temperature": 0.6,
    "top_p": 0.9,
    "top_k": 5,
    "repetition_penalty": 5.0,
    "no_repeat_ngram_size": 1,
    "suppress_tokens": list(range(100, 200)),
    "min_new_tokens": 5,
}


def read(tiny, beams):
    model, features, views = tiny
    return decode(model, features, views, [0.8, 0.4], DecodeOptions(beams, max_new_tokens=8))


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("setting", ["all of them", *SHIPPED])
def test_settings_shipped_with_the_language_model_change_nothing(tiny, beams, setting):
    plain = read(tiny, beams)
    shipped = SHIPPED if setting == "all of them" else {setting: SHIPPED[setting]}
    tiny[0].llm.generation_config = GenerationConfig(eos_token_id=2, **shipped)
    assert read(tiny, beams) == plain


@pytest.mark.parametrize("beams", [1, 3])
def test_six_runs_give_one_transcript_and_draw_no_random_number(tiny, beams):
    tiny[0].llm.generation_config = GenerationConfig(do_sample=True, temperature=0.6, top_p=0.9)
    before = torch.get_rng_state()
    first = read(tiny, beams)
    assert all(read(tiny, beams) == first for _ in range(5))
    assert torch.equal(torch.get_rng_state(), before)
