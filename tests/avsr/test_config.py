"""A model's configuration: through JSON and back, the paper's prompts, wrong values refused."""

import json

import pytest

from avsr.config import PROMPTS, AvsrConfig
from avsr.errors import ConfigError
from avsr.projector import ProjectorConfig
from experts import LoraConfig, MomeConfig
from frontends.tower_lora import TowerLora


def through_json(config):
    return AvsrConfig.from_dict(json.loads(json.dumps(config.to_dict())))


def test_the_default_is_read_back():
    assert through_json(AvsrConfig()) == AvsrConfig()


def test_every_setting_is_read_back():
    config = AvsrConfig(
        language_model="org/llm",
        audio_tower="./whisper",
        video_tower=None,
        audio_rates=(1, 25),
        video_rates=(),
        compress={"name": "stack"},
        projector=ProjectorConfig(width=12, context=5, dropout=0.0),
        method="lora",
        lora=LoraConfig(rank=3, alpha=5),
        mome=MomeConfig(routed=5, shared=0, top_k=2, rank=3, placement="mhsa", alpha=0.5),
        settings={"rank": 2},
        prompts={"a": "Write.", "v": "Read.", "av": "Both."},
        ctc_weights={"audio_25": 0.2},
        tower_lora={"audio": TowerLora(rank=4, alpha=8.0, targets=("k_proj",))},
    )
    again = through_json(config)
    assert again == config
    assert isinstance(again.audio_rates, tuple)
    changed = [k for k, v in config.to_dict().items() if v == AvsrConfig().to_dict()[k]]
    assert changed == []  # every field was given another value than its default


def test_what_is_left_out_takes_its_default():
    assert AvsrConfig.from_dict({}) == AvsrConfig()
    assert AvsrConfig.from_dict({"video_rates": [3]}).video_rates == (3,)


def test_prompts_are_the_papers():
    assert PROMPTS == {
        "a": "Transcribe speech to text.",
        "v": "Transcribe video to text.",
        "av": "Transcribe speech and video to text.",
    }
    assert AvsrConfig().prompts == PROMPTS


def test_defaults_are_the_papers_experts_and_the_default_models_rates():
    config = AvsrConfig()
    assert (config.audio_rates, config.video_rates) == ((4, 16), (2, 5))
    assert (config.mome.routed, config.mome.shared, config.mome.top_k) == (23, 1, 4)


def test_two_configurations_share_no_dictionary():
    assert AvsrConfig().prompts is not AvsrConfig().prompts
    assert AvsrConfig().compress is not AvsrConfig().compress


@pytest.mark.parametrize("rates", [(0,), (-4,), (4, 4)])
@pytest.mark.parametrize("name", ["audio_rates", "video_rates"])
def test_rates_that_make_no_model_are_refused(name, rates):
    with pytest.raises(ConfigError, match=name):
        AvsrConfig(**{name: rates})


def test_unknown_keys_are_named():
    with pytest.raises(ConfigError, match="colour"):
        AvsrConfig.from_dict({"colour": "red"})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"projector": {"colour": 1}}, "colour"),
        ({"projector": {"context": 2}}, "context"),
        ({"mome": {"colour": 1}}, "colour"),
        ({"mome": {"routed": 2, "top_k": 3}}, "top_k"),
        ({"mome": {"rank": 8.5}}, "rank=8.5 must be a whole number"),
        ({"mome": {"top_k": 2.0}}, "top_k=2.0 must be a whole number"),
        ({"mome": {"shared": True}}, "shared=True must be a whole number"),
        ({"mome": {"rank": "8"}}, "rank='8' must be a whole number"),
        ({"lora": {"rank": 2.5}}, "rank=2.5 must be a whole number"),
        ({"lora": {"targets": "q_proj"}}, "targets='q_proj' must be a list"),
        ({"projector": {"experts": 2.0}}, "experts=2.0 must be a whole number"),
        ({"tower_lora": {"audio": {"targets": "q_proj"}}}, "targets='q_proj' must be a list"),
        ({"audio_rates": 4}, "audio_rates"),
        ({"audio_rates": ["4"]}, "audio_rates"),
        ({"audio_rates": [4.0]}, "audio_rates"),
        ({"audio_rates": [True]}, "audio_rates"),
        ({"compress": {"nam": "pool"}}, "compress"),
        ({"prompts": {"a": "only this task"}}, "prompts"),
        ([], "configuration"),
    ],
    ids=str,
)
def test_values_that_make_no_model_are_refused(data, message):
    with pytest.raises(ConfigError, match=message):
        AvsrConfig.from_dict(data)


@pytest.mark.parametrize("part", ["projector", "mome", "lora"])
@pytest.mark.parametrize("given", [None, "wide", 3])
def test_parts_that_are_no_sizes_are_refused(part, given):
    with pytest.raises(ConfigError, match=f"{part} must name sizes"):
        AvsrConfig.from_dict({part: given})


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({"mome": {"alpha": "1"}}, "mome .*alpha='1' must be a finite number"),
        ({"mome": {"alpha": True}}, "alpha=True"),
        ({"mome": {"balance_step": "a"}}, "balance_step='a'"),
        ({"projector": {"dropout": "0"}}, "projector .*dropout='0'"),
        ({"tower_lora": {"audio": {"alpha": "2"}}}, "tower_lora .*alpha='2'"),
    ],
)
def test_text_for_a_number_is_refused_by_its_name(sizes, told):
    with pytest.raises(ConfigError, match=told):
        AvsrConfig.from_dict(sizes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"audio_rates": (16, 4)}, "audio_rates go from the finest"),
        ({"video_rates": (5, 2)}, "video_rates go from the finest"),
        ({"audio_rates": (), "video_rates": ()}, "needs audio_rates or video_rates"),
        ({"video_tower": None}, r"video_rates=\(2, 5\) need a video_tower"),
    ],
)
def test_rates_that_nothing_can_be_read_at_are_refused(changes, told):
    with pytest.raises(ConfigError, match=told):
        AvsrConfig(**changes)
