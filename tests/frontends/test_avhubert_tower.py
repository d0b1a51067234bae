"""AV-HuBERT as a tower: what goes in, what comes out, its files, and what a folder is opened as."""

import json

import pytest
import torch

from frontends.avhubert import normalise
from frontends.avhubert_tower import AvHubertTower
from frontends.errors import AvsrError
from frontends.filterbank import stacked_filterbank
from frontends.towers import (
    Features,
    audio_features,
    open_audio_tower,
    open_video_tower,
    video_features,
)
from frontends.video_tower import LipEncoder, LipShape
from tests.frontends.avhuberts import tiny

LENGTHS = [6, 2, 0]
SAMPLES = [3900, 640, 0]


@pytest.fixture(scope="module")
def net():
    return tiny()


def crops(filling=0, extra=0):
    made = torch.full((3, max(LENGTHS) + extra, 96, 96), filling, dtype=torch.uint8)
    for row, n in enumerate(LENGTHS):
        random = torch.Generator().manual_seed(n)
        made[row, :n] = torch.randint(0, 256, (n, 96, 96), generator=random, dtype=torch.uint8)
    return made, torch.tensor(LENGTHS)


def waves(filling=0.0, extra=0):
    made = torch.full((3, max(SAMPLES) + extra), filling)
    for row, n in enumerate(SAMPLES):
        made[row, :n] = torch.randn(n, generator=torch.Generator().manual_seed(row)) * 0.1
    return made, torch.tensor(SAMPLES)


def test_grey_values_are_those_it_was_trained_on():
    crop = torch.zeros(1, 96, 96, dtype=torch.uint8)
    crop[0, 4, 4] = 255
    made = normalise(crop)
    assert made.shape == (1, 88, 88)
    assert made[0, 0, 0].item() == pytest.approx((1 - 0.421) / 0.165)
    assert made[0, 1, 1].item() == pytest.approx(-0.421 / 0.165)


def test_padding_changes_nothing_and_frames_out_are_frames_in(net):
    tower = AvHubertTower(net)
    features, counts = tower(*crops())
    assert counts.tolist() == LENGTHS
    assert features.shape == (3, 6, 16)
    longer, _ = tower(*crops(filling=255, extra=5))
    assert torch.equal(longer, features)
    assert not features[1, 2:].any()
    assert not features[2].any()
    assert not features.requires_grad


def test_sound_has_25_frames_a_second(net):
    tower = AvHubertTower(net, modality="audio")
    features, counts = tower(*waves())
    assert counts.tolist() == [6, 1, 1]
    assert torch.equal(tower(*waves(filling=0.5, extra=700))[0], features)


def test_both_is_the_network_on_both(net):
    pictures, frames = crops()
    sound, samples = waves()
    features, counts = AvHubertTower(net).both(pictures[:2], frames[:2], sound[:2], samples[:2])
    assert counts.tolist() == LENGTHS[:2]
    heard = [stacked_filterbank(sound[0, :3900]), torch.zeros(2, 104)]
    heard[1][:1] = stacked_filterbank(sound[1, :640])  # shorter than its pictures: zeros follow
    rows = [normalise(pictures[k, :n]) for k, n in enumerate(LENGTHS[:2])]
    assert torch.equal(features, net(video=rows, audio=heard))


def test_no_frame_at_all(net):
    features, counts = AvHubertTower(net)(crops()[0][2:], torch.tensor([0]))
    assert features.shape == (1, 0, 16)
    assert counts.tolist() == [0]


def test_what_is_written_is_read_back(net, tmp_path):
    AvHubertTower(net).save(tmp_path / "a", dtype=torch.float32, source="made here")
    again = open_video_tower(tmp_path / "a")
    assert isinstance(again, AvHubertTower)
    assert torch.equal(again(*crops())[0], AvHubertTower(net)(*crops())[0])
    assert not again.train().training
    sound = open_audio_tower(tmp_path / "a")
    assert torch.equal(sound(*waves())[0], AvHubertTower(net, modality="audio")(*waves())[0])
    assert audio_features(tmp_path / "a") == video_features(tmp_path / "a") == Features(25.0, 16)
    assert again.width == 16


def test_other_folders_are_other_towers(tmp_path):
    LipEncoder(LipShape(stem=2, trunk=(4,), width=8, dilations=(1,))).save(tmp_path)
    assert isinstance(open_video_tower(tmp_path), LipEncoder)
    assert video_features(tmp_path) == Features(25.0, 8)
    (tmp_path / "config.json").write_text(json.dumps({"d_model": 12}))
    assert audio_features(tmp_path) == Features(50.0, 12)
    (tmp_path / "config.json").write_text(json.dumps({"d_model": "12"}))
    with pytest.raises(AvsrError, match="not a tower"):
        audio_features(tmp_path)


def change(**changes):
    def spoil(folder):
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return spoil


SPOILS = {
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "another width": change(width=32),
    "a width that is none": change(width="16"),
    "an unknown size": change(depth=3),
    "another kind": change(model_type="whisper"),
    "cut weights": lambda folder: (folder / "model.safetensors").write_bytes(b"\x05" * 90),
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
def test_a_folder_without_an_avhubert_is_refused(net, tmp_path, spoil):
    AvHubertTower(net).save(tmp_path)
    spoil(tmp_path)
    with pytest.raises(AvsrError, match="not an AV-HuBERT model") as caught:
        AvHubertTower.from_folder(tmp_path)
    assert caught.value.where == str(tmp_path)
    assert "\n" not in str(caught.value)
