"""Low-rank layers in a tower: trained in the step, saved, read back; never beside a cache."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from avsr.checkpoint import load_checkpoint
from avsr.cli import main
from avsr.config import AvsrConfig
from avsr.errors import ConfigError
from avsr.loading import load_model
from avsr.manifest import read_manifest
from avsr.train.data import Fresh
from avsr.train.features import FeatureStore, Variant
from avsr.train.module import AvsrTask
from avsr.train.objective import Objective
from frontends.audio_tower import WhisperTower
from frontends.avhubert_tower import AvHubertTower
from frontends.tower_lora import TowerLora
from frontends.towers import audio_features
from tests.avsr.train.test_ddp import part
from tests.frontends.avhuberts import tiny
from tests.frontends.clips import tone


@pytest.fixture(scope="module")
def trained(home, tmp_path_factory):
    """The folder that `avsr train fit` wrote after a few steps, and the features it cached."""
    recipe = home.recipe("lora", max_steps=4, limit_val_batches=1)
    text = yaml.safe_load(recipe.read_text())
    text["model"]["model"]["tower_lora"] = {"audio": {"rank": 2, "alpha": 4}}
    out = recipe.parent / "made"
    text["trainer"]["callbacks"].append(
        {"class_path": "avsr.train.app.Export", "init_args": {"folder": str(out)}}
    )
    text["data"]["cache"] = str(tmp_path_factory.mktemp("none"))
    recipe.write_text(yaml.safe_dump(text))
    assert main(["train", "fit", "-c", str(recipe)]) == 0
    return out, text["data"]["cache"]


def features(tower):
    wave = torch.from_numpy(tone(0.5, 16_000))
    return tower(wave, torch.tensor([wave.shape[1]]))[0]


def test_what_was_trained_is_read_back(home, trained):
    folder, _ = trained
    facts = json.loads((folder / "config.json").read_text())
    assert facts["model"]["tower_lora"] == {
        "audio": {"rank": 2, "alpha": 4, "targets": ["q_proj", "v_proj"]}
    }
    assert facts["training"] == {"steps": 4, "seed": 0, "tasks": ["a"]}
    assert "audio_tower" not in facts["frozen"]  # it is no longer the one of its folder
    model, _ = load_checkpoint(folder, dtype=torch.float32)
    assert all(layer.up.abs().max() > 0 for layer in model.tower_lora["audio"].layers)
    recogniser = load_model(folder, dtype="float32")
    assert recogniser.facts["trained_tasks"] == ["a"]
    with torch.inference_mode():
        plain = features(WhisperTower.from_folder(home.whisper))
        adapted = features(recogniser.audio_tower)
    assert (adapted - plain).abs().max() > 1e-4
    assert torch.equal(adapted, features(model.towers[0]))


def test_no_features_are_cached_of_it(trained):
    assert not list(Path(trained[1]).rglob("*.npy"))


def test_at_first_it_is_the_model_without(home):
    tasks = [
        AvsrTask(home.config(tower_lora=lora), Objective(), dtype="float32")
        for lora in ({}, {"audio": TowerLora(rank=2)})
    ]
    states = [task.model.state_dict() for task in tasks]
    assert all(torch.equal(states[1][key], value) for key, value in states[0].items())
    extra = {key.split(".")[0] for key in states[1].keys() - states[0].keys()}
    assert extra == {"tower_lora"}
    trained = {id(p) for group in tasks[1].configure_optimizers()["optimizer"].param_groups
               for p in group["params"]}  # fmt: skip
    assert {id(p) for p in tasks[1].model.tower_lora.parameters()} <= trained


def test_features_made_without_it_are_refused(home):
    task = AvsrTask(home.config(tower_lora={"audio": TowerLora(rank=2)}), dtype="float32")
    with pytest.raises(ConfigError, match="trains the towers"):
        task.training_step(part([0, 1], lips=1), 0)


def test_lips_run_through_their_tower_in_the_step(home, tmp_path):
    AvHubertTower(tiny()).save(tmp_path, dtype=torch.float32)
    config = home.config(video_tower=str(tmp_path), tower_lora={"video": TowerLora(rank=2)})
    task = AvsrTask(config, Objective(matryoshka="all"), dtype="float32")
    task.log = lambda *_, **__: None
    known = part([0, 1], lips=1)
    random = torch.Generator().manual_seed(0)
    crops = torch.randint(0, 256, (2, 15, 96, 96), generator=random, dtype=torch.uint8)
    lips = Fresh(crops, torch.tensor([15, 0]))  # the second clip has none
    batch = replace(known, features=replace(known.features, video=None), fresh={"video": lips})
    seen = task.encoded(batch).features.video
    assert seen.lengths.tolist() == [15, 0]
    assert torch.equal(seen.x[0], task.model.towers[1](crops[:1], torch.tensor([15]))[0][0])
    task.training_step(batch, 0).backward()
    layers = task.model.tower_lora["video"].layers
    assert all(layer.up.grad.abs().max() > 0 for layer in layers)
    assert not any(p.requires_grad for p in task.model.towers[1].parameters())
    none = replace(batch, fresh={"video": Fresh(crops[:, :0], torch.tensor([0, 0]))})
    assert task.encoded(none).features.video is None


@pytest.mark.parametrize(
    "wrong", [{"video": {"rank": 2}}, {"sound": {"rank": 2}}, {"audio": {"rank": 0}},
              {"audio": {"depth": 2}}, [2]]
)  # fmt: skip
def test_a_configuration_that_makes_none(home, wrong):
    config = home.config(video_tower=None, video_rates=()).to_dict()
    with pytest.raises(ConfigError, match="tower_lora"):
        AvsrConfig.from_dict({**config, "tower_lora": wrong})


def test_noise_is_heard_by_a_tower_that_runs_in_the_step(home, tmp_path):
    noise = {"a": np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)}
    store = FeatureStore(tmp_path, audio_features(home.whisper), noise=noise)
    item = read_manifest(home.manifest)[0]
    clean, noisy = (store.get(item, v).audio for v in (Variant(), Variant("n", snr_db=(0.0, 0.0))))
    assert clean.shape == noisy.shape == (round(item.duration * 16_000),)
    power = [float(np.square(w, dtype=np.float64).mean()) for w in (clean, noisy - clean)]
    assert 10 * np.log10(power[0] / power[1]) == pytest.approx(0.0, abs=0.5)
    assert not list(tmp_path.rglob("*.npy"))
