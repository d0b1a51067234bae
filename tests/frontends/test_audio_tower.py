"""Whisper's encoder: parity with transformers when padded; rows, padding and mode when not."""

import json
from pathlib import Path

import pytest
import torch

from frontends.audio_tower import WhisperShape, WhisperTower
from frontends.errors import AvsrError

RATE = 16_000
LENGTHS = [16_000, 10_100, 4_801, 1]  # 63 mel frames in the second: its last pair is half


def waves(lengths=LENGTHS, filling=0.0):
    made = torch.full((len(lengths), max(lengths)), filling)
    for row, n in enumerate(lengths):
        random = torch.Generator().manual_seed(n)
        made[row, :n] = 0.1 * torch.randn(n, generator=random)
    return made, torch.tensor(lengths)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A transformers Whisper of random weights, two layers."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=60,
        d_model=32,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        init_std=0.2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    path = tmp_path_factory.mktemp("whisper")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        WhisperForConditionalGeneration(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def tower(folder):
    return WhisperTower.from_folder(folder)


@torch.no_grad()
def theirs(folder, batch, lengths):
    """Transformers' features of each row [1500, D], each in its own window of 30 s."""
    from transformers import WhisperFeatureExtractor, WhisperModel

    bands = json.loads((folder / "config.json").read_text())["num_mel_bins"]
    sound = [row[:n].numpy() for row, n in zip(batch, lengths.tolist(), strict=True)]
    extractor = WhisperFeatureExtractor(feature_size=bands)
    mels = extractor(sound, sampling_rate=RATE, return_tensors="pt").input_features
    encoder = WhisperModel.from_pretrained(folder, dtype=torch.float32).get_encoder().eval()
    return encoder(mels).last_hidden_state


def test_padded_to_30_s_equals_transformers(folder):
    """Tolerance 1e-4 on features of deviation about 1."""
    batch, lengths = waves([16_000, 4_801])
    wanted = theirs(folder, batch, lengths)
    features, counts = WhisperTower.from_folder(folder, pad="30s")(batch, lengths)
    assert counts.tolist() == [50, 16]  # what was heard, not the silence behind it
    for row, n in enumerate(counts.tolist()):
        torch.testing.assert_close(features[row, :n], wanted[row, :n], rtol=1e-4, atol=1e-4)
        assert not features[row, n:].any()
    assert features.std() > 0.3


def test_a_full_window_is_the_same_padded_or_not(folder, tower):
    """30 s of sound need no padding: the un-padded encoder is then transformers' own."""
    batch, lengths = waves([30 * RATE])
    features, counts = tower(batch, lengths)
    assert counts.tolist() == [1500]
    wanted = theirs(folder, batch, lengths)
    torch.testing.assert_close(features, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.weights
def test_the_pinned_whisper_equals_transformers():
    from avsr.weights import pull

    try:
        pinned = pull("whisper-tiny.en", local_files_only=True)
    except AvsrError as error:
        pytest.skip(f"no weights: {error}")
    batch, lengths = waves([24_000])
    wanted = theirs(pinned, batch, lengths)
    features, counts = WhisperTower.from_folder(pinned, pad="30s")(batch, lengths)
    assert counts.tolist() == [75]
    torch.testing.assert_close(features[0], wanted[0, :75], rtol=1e-3, atol=1e-3)
    plain = WhisperTower.from_folder(pinned)(batch, lengths)[0]
    assert plain.shape == (1, 75, 384)
    likeness = torch.nn.functional.cosine_similarity(plain[0], wanted[0, :75])
    assert likeness.mean() > 0.6  # the true length hears the same sound


@pytest.mark.parametrize("pad", ["none", "30s"])
def test_batch_is_single(folder, pad):
    tower = WhisperTower.from_folder(folder, pad=pad)
    batch, lengths = waves()
    features, counts = tower(batch, lengths)
    for row, n in enumerate(LENGTHS):
        alone, count = tower(batch[row : row + 1, :n], lengths[row : row + 1])
        assert count.tolist() == counts[row : row + 1].tolist()
        torch.testing.assert_close(features[row, : int(count)], alone[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("filling", [float("nan"), float("inf"), 1e30])
def test_what_lies_beyond_a_row_does_not_matter(tower, filling):
    features, counts = tower(*waves())
    again, same = tower(*waves(filling=filling))
    assert torch.equal(again, features)
    assert torch.equal(same, counts)
    for row, n in enumerate(counts.tolist()):
        assert not features[row, n:].any()
        assert features[row, :n].any()


def test_more_padding_changes_nothing(tower):
    batch, lengths = waves()
    features, counts = tower(batch, lengths)
    again, same = tower(torch.nn.functional.pad(batch, (0, 7_777)), lengths)
    assert torch.equal(again, features)
    assert torch.equal(same, counts)


@pytest.mark.parametrize(
    ("samples", "frames"),
    [(1, 1), (320, 1), (479, 1), (480, 2), (640, 2), (799, 2), (800, 3), (16_000, 50)],
)
def test_a_frame_is_320_samples(tower, samples, frames):
    features, counts = tower(*waves([samples]))
    assert counts.tolist() == [frames]
    assert features.shape == (1, frames, 32)
    assert features.isfinite().all()


@pytest.mark.parametrize("pad", ["none", "30s"])
def test_a_clip_of_one_sample_works(folder, pad):
    features, counts = WhisperTower.from_folder(folder, pad=pad)(*waves([1]))
    assert counts.tolist() == [1]
    assert features.isfinite().all()


@pytest.mark.parametrize("pad", ["none", "30s"])
def test_a_clip_that_is_too_long_is_refused(folder, pad):
    tower = WhisperTower.from_folder(folder, pad=pad)
    with pytest.raises(AvsrError, match="30 s") as caught:
        tower(torch.zeros(2, 30 * RATE + 1), torch.tensor([100, 30 * RATE + 1]))
    assert caught.value.todo


def test_frozen_also_while_training(tower):
    holder = torch.nn.Sequential(tower).train()
    assert holder.training
    assert not any(module.training for module in tower.modules())
    assert not any(p.requires_grad for p in tower.parameters())
    batch, lengths = waves([4_000])
    features = tower(batch.requires_grad_(), lengths)[0]
    assert not features.requires_grad
    tower.eval()
    assert torch.equal(tower(batch, lengths)[0], features)


def test_sizes_are_read_from_the_folder(tower):
    assert tower.shape == WhisperShape(
        d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=48
    )
    assert (tower.width, tower.hz, tower.max_seconds) == (32, 50.0, 30.0)


def spoil_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x05\x00\x00\x00\x00\x00\x00\x00damage")


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:2_000])


def change_config(**changes):
    def spoil(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))

    return spoil


SPOILS = {
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "no config": lambda folder: (folder / "config.json").unlink(),
    "damaged weights": spoil_weights,
    "cut weights": cut_weights,
    "config is no object": lambda folder: (folder / "config.json").write_text("[]"),
    "config is no JSON": lambda folder: (folder / "config.json").write_text("{"),
    "config of another model": lambda folder: (folder / "config.json").write_text('{"a": 1}'),
    "a layer too many": change_config(encoder_layers=3),
    "a layer too few": change_config(encoder_layers=1),
    "another width": change_config(d_model=64),
    "a width that is no number": change_config(d_model="wide"),
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
def test_a_folder_without_a_whisper_is_refused(folder, tmp_path, spoil):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    WhisperTower.from_folder(tmp_path)
    spoil(tmp_path)
    with pytest.raises(AvsrError, match="not a Whisper model") as caught:
        WhisperTower.from_folder(tmp_path)
    assert caught.value.where == str(tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
