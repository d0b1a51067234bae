"""WavLM and HuBERT as towers: rows, padding, rate and width, on tiny random models."""

import json

import pytest
import torch

from frontends.errors import AvsrError
from frontends.speech_tower import SpeechTower
from frontends.towers import Features, audio_features, open_audio_tower

LENGTHS = [4000, 1234, 100]
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}


@pytest.fixture(scope="module", params=["wavlm", "hubert"])
def folder(request, tmp_path_factory):
    from transformers import HubertConfig, HubertModel, WavLMConfig, WavLMModel

    config, model = {"wavlm": (WavLMConfig, WavLMModel), "hubert": (HubertConfig, HubertModel)}[
        request.param
    ]
    home = tmp_path_factory.mktemp(request.param)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model(config(**SIZES)).save_pretrained(home)
    return home


def waves(filling=0.0, extra=0):
    made = torch.full((3, max(LENGTHS) + extra), filling)
    for row, n in enumerate(LENGTHS):
        made[row, :n] = torch.randn(n, generator=torch.Generator().manual_seed(row))
    return made, torch.tensor(LENGTHS)


def test_padding_changes_nothing_and_a_batch_is_its_rows(folder):
    tower = open_audio_tower(folder)
    assert isinstance(tower, SpeechTower)
    features, counts = tower(*waves())
    assert counts.tolist() == [12, 3, 1]
    assert features.shape == (3, 12, 16)
    assert torch.equal(tower(*waves(filling=0.7, extra=900))[0], features)
    for row, n in enumerate(LENGTHS):
        alone, count = tower(waves()[0][row : row + 1, :n], torch.tensor([n]))
        assert torch.equal(alone[0], features[row, : count[0]])
        assert not features[row, count[0] :].any()
    assert audio_features(folder) == Features(50.0, 16) == Features(tower.hz, tower.width)


def test_frozen_also_while_training(folder):
    tower = SpeechTower.from_folder(folder)
    first = tower(*waves())[0]
    holder = torch.nn.Sequential(tower).train()
    assert holder.training
    assert torch.equal(tower(*waves())[0], first)  # no dropout, no masked spans
    assert not any(p.requires_grad for p in tower.parameters())


def test_sound_is_levelled_where_the_model_says_so(folder):
    plain = SpeechTower.from_folder(folder)
    quiet = waves()[0] * 0.1, waves()[1]
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True}))
    level = SpeechTower.from_folder(folder)
    (folder / "preprocessor_config.json").unlink()
    assert (plain.level, level.level) == ("as is", "utterance")
    torch.testing.assert_close(level(*quiet)[0], level(*waves())[0], rtol=1e-3, atol=1e-3)


def test_what_is_none_is_refused(folder, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wavlm"}))
    with pytest.raises(AvsrError, match="not a model of speech"):
        open_audio_tower(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "whisper"}))
    with pytest.raises(AvsrError, match="none of wavlm, hubert"):
        SpeechTower.from_folder(tmp_path)
