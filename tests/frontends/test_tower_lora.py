"""Low-rank layers in a tower: identity at first, the only thing that learns, refused elsewhere."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import HubertConfig, HubertModel, WavLMConfig, WavLMModel

from frontends.audio_tower import WhisperShape, WhisperTower
from frontends.avhubert_tower import AvHubertTower
from frontends.errors import AvsrError
from frontends.speech_tower import SpeechTower
from frontends.tower_lora import TowerLora, attach
from frontends.video_tower import LipEncoder, LipShape
from tests.frontends.avhuberts import tiny

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 24, "conv_dim": [8] * 7, "num_conv_pos_embeddings": 8,
         "num_conv_pos_embedding_groups": 2}  # fmt: skip
SIZES = TowerLora(rank=2, alpha=4.0)


def whisper():
    torch.manual_seed(0)
    return WhisperTower(WhisperShape(16, 2, 2, 24, 80, 1500))


def speech(config, model):
    torch.manual_seed(0)
    return SpeechTower(model(config(**SMALL)).eval())


TOWERS = {
    "Whisper": whisper,
    "AV-HuBERT, lips": lambda: AvHubertTower(tiny()),
    "AV-HuBERT, sound": lambda: AvHubertTower(tiny(), modality="audio"),
    "HuBERT": lambda: speech(HubertConfig, HubertModel),
}


def inputs(tower):
    random = torch.Generator().manual_seed(1)
    if getattr(tower, "modality", "") == "video":
        crops = torch.randint(0, 256, (2, 5, 96, 96), generator=random, dtype=torch.uint8)
        return crops, torch.tensor([5, 3])
    return torch.randn(2, 4000, generator=random) * 0.1, torch.tensor([4000, 2500])


@pytest.mark.parametrize("name", TOWERS)
def test_nothing_changes_until_the_layers_learn(name):
    tower = TOWERS[name]()
    given = inputs(tower)
    before, counts = tower(*given)
    assert not before.requires_grad
    state = copy.deepcopy(tower.state_dict())
    layers = attach(tower, SIZES)
    after, again = tower(*given)
    assert torch.equal(after, before)
    assert torch.equal(counts, again)

    optimiser = torch.optim.SGD(layers.parameters(), lr=0.5)
    wish = torch.randn(before.shape, generator=torch.Generator().manual_seed(2))
    for _ in range(2):  # the first step moves the up-projections, the second all
        optimiser.zero_grad()
        (tower(*given)[0] * wish).sum().backward()
        optimiser.step()
    fresh = attach(TOWERS[name](), SIZES).state_dict()
    assert all(not torch.equal(value, fresh[key]) for key, value in layers.state_dict().items())
    assert set(tower.state_dict()) == set(state)
    assert all(torch.equal(value, state[key]) for key, value in tower.state_dict().items())
    assert all(parameter.grad is None for parameter in tower.parameters())
    changed, _ = tower(*given)
    assert not torch.equal(changed, before)
    assert not changed[1, int(counts[1]) :].any()  # padding stays zero

    other = TOWERS[name]()
    attach(other, SIZES, seed=5).load_state_dict(layers.state_dict())
    assert torch.equal(other(*given)[0], changed)


def test_it_is_the_low_rank_sum():
    tower = whisper()
    projection = tower.layers[0].self_attn.q_proj
    layers = attach(tower, SIZES)
    assert len(layers.layers) == 2 * 2
    torch.nn.init.normal_(layers.layers[0].up)
    x = torch.randn(3, 16)
    pair = layers.layers[0]
    wanted = x @ (projection.weight + 2.0 * pair.up @ pair.down).T + projection.bias
    torch.testing.assert_close(projection(x), wanted)


def test_what_cannot_take_it_is_refused_by_name():
    with pytest.raises(AvsrError, match="LipEncoder has no projection q_proj, v_proj"):
        attach(LipEncoder(LipShape(stem=2, trunk=(4,), width=8, dilations=(1,))), SIZES)
    with pytest.raises(AvsrError, match="WavLM takes no low-rank layers"):
        attach(speech(WavLMConfig, WavLMModel), SIZES)
    with pytest.raises(AvsrError, match="no projection w_proj"):
        attach(whisper(), TowerLora(targets=("q_proj", "w_proj")))
    tower = whisper()
    attach(tower, SIZES)
    with pytest.raises(AvsrError, match="already"):
        attach(tower, SIZES)


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"rank": 1.5}, {"alpha": 0}, {"targets": ()}])
def test_sizes_that_make_no_layer(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TowerLora(**wrong)
