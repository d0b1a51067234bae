"""MACs by the formulas agree with figures worked out by hand, and with what they must do."""

import types

import pytest


def test_figures_of_known_models(tool):
    macs = tool("macs")
    llama = macs.Llm(layers=16, width=2048, inner=8192, keys=512)  # Llama-3.2-1B
    for seconds, rates, want in ((2, (4, 2), 68), (10, (4, 2), 265), (10, (1, 1), 769)):
        tokens = sum(-(-hz * seconds // rate) for hz, rate in zip((50, 25), rates, strict=True))
        assert llama.prefill(tokens + 20) / 1e9 == pytest.approx(want, abs=0.6)
    medium = macs.Whisper(layers=24, width=1024)
    assert medium.encode(1500) / 1e9 == pytest.approx(569, abs=0.6)
    assert medium.encode(100) / 1e9 == pytest.approx(31, abs=0.6)


def test_sizes_are_read_from_configurations(tool):
    macs = tool("macs")
    sizes = {"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    assert macs.Llm.of(types.SimpleNamespace(**sizes, **heads)) == macs.Llm(2, 32, 64, 16)
    wide = types.SimpleNamespace(**sizes, **heads, head_dim=16)
    assert macs.Llm.of(wide).keys == 32
    tiny = types.SimpleNamespace(encoder_layers=4, d_model=384, num_mel_bins=80)
    assert macs.Whisper.of(tiny) == macs.Whisper(4, 384)


def test_half_the_tokens_are_less_than_half_the_work_of_attention(tool):
    llm = tool("macs").Llm(2, 32, 64, 16)
    assert llm.prefill(200) > 2 * llm.prefill(100)
