"""Every method in the whole recogniser: rates reach it in training and in decoding."""

import json
from pathlib import Path

import pytest
import torch

import avsr
from avsr.checkpoint import build_model, read_config
from avsr.config import AvsrConfig
from avsr.decode import DecodeOptions, decode
from avsr.errors import ConfigError, ModelError
from avsr.projector import ProjectorConfig
from avsr.rates import Rates
from avsr.views import View
from experts import METHODS, LoraConfig, Row
from tests.tiny import ByteTokenizer, awaken, tiny_llm, tiny_model

SMOP = ProjectorConfig(width=6, dropout=0.0, experts=4, top_k=2)  # whose experts are projectors
CASES = [*((name, {}) for name in METHODS), ("mome", {"routers": "scale", "placement": "task"})]
CASES += [("lora", {"smop": "smop"})]


@pytest.fixture(params=CASES, ids=lambda case: "-".join([case[0], *case[1].values()]))
def model(request):
    method, settings = request.param
    model = tiny_model(
        method=method,
        settings={k: v for k, v in settings.items() if k != "smop"},
        projector=SMOP if "smop" in settings else ProjectorConfig(width=6, dropout=0.0),
        lora=LoraConfig(rank=3, alpha=6),
        audio_rates=(4, 16),
        video_rates=(2, 5),
    )
    awaken(model.adapter)
    return model


def test_training_reads_each_view_by_its_rates(model, clips, views):
    texts = [torch.tensor(ByteTokenizer().encode(word)) for word in ("set", "lay", "bin blue")]
    together = model(clips, views, texts).per_view
    singles = [model(clips, [view], texts).per_view[0] for view in views]
    torch.testing.assert_close(together, torch.stack(singles), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("beams", [1, 2])
def test_decoding_reads_each_view_by_its_rates(model, clips, views, beams):
    options = DecodeOptions(beams, max_new_tokens=4)
    heard = decode(model, clips, views, [1.0] * len(views), options)
    for view, hypothesis in zip(views, heard, strict=True):
        [alone] = decode(model, clips, [view], [1.0], options)
        assert hypothesis.token_ids == alone.token_ids
        assert hypothesis.logprobs == pytest.approx(alone.logprobs, abs=1e-3)


def test_a_rate_that_was_not_trained_is_refused_before_the_llm_runs(model, clips):
    with pytest.raises(ModelError, match="audio rate 8"):
        decode(model, clips, [View(0, Rates(8, 2))], [1.0])


def test_scales_are_every_rate_pair_of_every_task():
    config = AvsrConfig(audio_rates=(4, 16), video_rates=(5,))
    wanted = [(4, None), (16, None), (None, 5), (4, 5), (16, 5)]
    assert config.scales == tuple(Row(*pair) for pair in wanted)


@pytest.mark.parametrize("method", METHODS)
def test_the_method_is_one_word(method):
    config = AvsrConfig.from_dict(json.loads(json.dumps(AvsrConfig(method=method).to_dict())))
    assert config.method == method
    assert config.sizes == METHODS[method].sizes(_common(), {})


def _common():
    from experts import Common

    return Common()


def test_configurations_written_before_the_registry_are_read():
    shipped = Path(avsr.__file__).parent / "models" / "default"
    config, _ = read_config(shipped)
    assert (config.method, config.sizes) == ("mome", config.mome)
    old = {"method": "lora", "lora": {"rank": 5, "alpha": 7}, "mome": {"rank": 2}}
    assert AvsrConfig.from_dict(old).sizes == LoraConfig(5, 7)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"method": "moem"}, r"moem.*mome, dense"),
        ({"method": 3}, "3"),
        ({"method": "dense", "settings": {"rank": 0}}, "rank=0"),
        ({"method": "mtsk-ss", "settings": {"rank": 0}}, "rank=0"),
        ({"settings": {"top_k": 30}}, r"top_k=30.*routed=23"),
        ({"settings": {"colour": 1}}, r"colour.*placement"),
        ({"settings": [1]}, "settings"),
    ],
    ids=str,
)
def test_methods_that_make_no_model_are_refused(data, message):
    with pytest.raises(ConfigError, match=message):
        AvsrConfig.from_dict(data)


def test_absent_targets_are_refused_before_the_weights_are_read(tmp_path, monkeypatch):
    tiny_llm().save_pretrained(tmp_path)

    def never(*_):
        raise AssertionError("the weights were read")

    monkeypatch.setattr("avsr.checkpoint.load_llm", never)
    config = AvsrConfig(
        language_model=str(tmp_path), method="lora", settings={"targets": ["q_proj", "c_attn"]}
    )
    with pytest.raises(ModelError, match=r"lora.*layer 0 of 2 has no c_attn.*k_proj"):
        build_model(config)
