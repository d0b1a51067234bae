"""The lip encoder: rows, padding, size, files, and staying frozen."""

import json

import pytest
import torch

from frontends.errors import AvsrError
from frontends.video_tower import LipEncoder, LipShape

SMALL = LipShape(stem=4, trunk=(6, 8), width=16, dilations=(1, 2))
LENGTHS = [12, 5, 1]


def crops(lengths=LENGTHS, filling=0, extra=0):
    """Grey pictures [B, T, 96, 96]; `filling` lies beyond each row's end."""
    made = torch.full((len(lengths), max(lengths) + extra, 96, 96), filling, dtype=torch.uint8)
    for row, n in enumerate(lengths):
        random = torch.Generator().manual_seed(n)
        made[row, :n] = torch.randint(0, 256, (n, 96, 96), generator=random, dtype=torch.uint8)
    return made, torch.tensor(lengths)


def made(shape=SMALL):
    """An encoder of random weights whose batch statistics are not the initial ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = LipEncoder(shape)
        for module in encoder.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0.0, 0.2)
                module.running_var.uniform_(0.5, 2.0)
                module.num_batches_tracked.fill_(7)
            if isinstance(module, torch.nn.LayerNorm):
                torch.nn.init.normal_(module.bias, std=0.5)  # what it makes of zeros is not zero
    return encoder


@pytest.fixture
def encoder():
    return made().freeze()


def test_the_default_is_small():
    encoder = LipEncoder()
    assert sum(p.numel() for p in encoder.parameters()) <= 6_000_000
    assert encoder.width == 320
    assert encoder.hz == 25.0


@torch.no_grad()
def test_batch_is_single(encoder):
    batch, lengths = crops()
    features, counts = encoder(batch, lengths)
    assert features.shape == (3, 12, 16)
    assert counts.tolist() == LENGTHS
    for row, n in enumerate(LENGTHS):
        alone, count = encoder(batch[row : row + 1, :n], lengths[row : row + 1])
        assert count.tolist() == [n]
        torch.testing.assert_close(features[row, :n], alone[0], rtol=1e-4, atol=1e-5)
        assert not features[row, n:].any()
    assert features[0].std() > 0.3


@torch.no_grad()
def test_a_row_without_frames_harms_no_other(encoder):
    pictures, lengths = crops([12, 0, 5])
    with torch.no_grad():
        together, _ = encoder(pictures, lengths)
        alone, _ = encoder(pictures[:1], lengths[:1])
    torch.testing.assert_close(together[0], alone[0])
    assert not together[1].any()


def test_padding_changes_nothing(encoder):
    features, _ = encoder(*crops())
    assert torch.equal(encoder(*crops(filling=255))[0], features)
    longer, counts = encoder(*crops(filling=255, extra=6))
    assert counts.tolist() == LENGTHS
    torch.testing.assert_close(longer[:, :12], features, rtol=1e-5, atol=1e-6)
    assert not longer[:, 12:].any()


def test_padding_reaches_no_batch_statistic_while_pretraining():
    mine, other = made().train(), made().train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        mine(*crops())
        torch.manual_seed(1)
        other(*crops(filling=255, extra=6))
    for (name, a), (_, b) in zip(mine.named_buffers(), other.named_buffers(), strict=True):
        assert torch.equal(a, b), name
        assert not torch.equal(a, dict(made().named_buffers())[name]), name


@torch.no_grad()
def test_brightness_and_contrast_of_a_clip_do_not_matter(encoder):
    batch, lengths = crops()
    darker = (batch.float() / 2 + 20).round().to(torch.uint8)
    features = encoder(batch, lengths)[0]
    torch.testing.assert_close(encoder(darker, lengths)[0], features, rtol=0.05, atol=0.05)


@torch.no_grad()
def test_every_frame_is_seen_and_time_has_a_direction(encoder):
    batch, lengths = crops([8])
    features = encoder(batch, lengths)[0]
    backwards = encoder(batch.flip(1), lengths)[0]
    assert not torch.allclose(backwards.flip(1), features, atol=1e-2)
    for frame in range(8):
        other = batch.clone()
        other[:, frame] = 255 - other[:, frame]
        assert not torch.allclose(encoder(other, lengths)[0][:, frame], features[:, frame])


def test_the_2d_stem_is_a_3d_convolution(encoder):
    """5 x 7 x 7 over time and picture, as written in the class's summary."""
    from frontends.video_tower import _neighbourhoods

    frames = torch.randn(6, 64, 64, generator=torch.Generator().manual_seed(0))
    kernel = encoder.stem.weight[:, None]  # [C, 1, 5, 7, 7]
    wanted = torch.nn.functional.conv3d(
        frames[None, None], kernel, stride=(1, 4, 4), padding=(2, 3, 3)
    )[0].transpose(0, 1)
    torch.testing.assert_close(encoder.stem(_neighbourhoods(frames)), wanted, rtol=1e-4, atol=1e-5)


def test_frozen_also_while_training(encoder):
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    first = encoder(*crops())[0]
    holder = torch.nn.Sequential(encoder).train()
    assert holder.training
    assert not any(module.training for module in encoder.modules())
    assert torch.equal(encoder(*crops())[0], first)  # no dropout
    assert not first.requires_grad
    after = encoder.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())  # no batch statistic moved


def test_an_encoder_that_is_not_frozen_does_train():
    encoder = made().train()
    assert encoder.stem_bn.training
    assert encoder(*crops())[0].requires_grad
    assert int(encoder.stem_bn.num_batches_tracked) == 8


def test_what_is_written_is_read_back(encoder, tmp_path):
    encoder.save(tmp_path / "new" / "folder", dtype=torch.float32)
    again = LipEncoder.from_folder(tmp_path / "new" / "folder")
    assert again.shape == SMALL
    assert torch.equal(again(*crops())[0], encoder(*crops())[0])
    assert again.frozen
    assert not any(m.training for m in again.train().modules())
    assert not any(p.requires_grad for p in again.parameters())


def test_half_precision_files_are_close_and_read_as_float32(encoder, tmp_path):
    encoder.save(tmp_path)
    again = LipEncoder.from_folder(tmp_path)
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    torch.testing.assert_close(again(*crops())[0], encoder(*crops())[0], rtol=0.02, atol=0.02)
    again.save(tmp_path / "second")  # nothing is lost from now on
    assert (tmp_path / "second/lip_encoder.safetensors").read_bytes() == (
        tmp_path / "lip_encoder.safetensors"
    ).read_bytes()


def change(**changes):
    def spoil(folder):
        path = folder / "lip_encoder.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return spoil


SPOILS = {
    "nothing": lambda folder: [path.unlink() for path in folder.iterdir()],
    "no weights": lambda folder: (folder / "lip_encoder.safetensors").unlink(),
    "no sizes": lambda folder: (folder / "lip_encoder.json").unlink(),
    "sizes are no JSON": lambda folder: (folder / "lip_encoder.json").write_text("{"),
    "sizes are no object": lambda folder: (folder / "lip_encoder.json").write_text("[1]"),
    "an unknown size": change(depth=3),
    "another width": change(width=20),
    "damaged weights": lambda folder: (folder / "lip_encoder.safetensors").write_bytes(
        b"\x05\x00\x00\x00\x00\x00\x00\x00damage"
    ),
    "cut weights": lambda folder: (folder / "lip_encoder.safetensors").write_bytes(
        (folder / "lip_encoder.safetensors").read_bytes()[:900]
    ),
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
def test_a_folder_without_a_lip_encoder_is_refused(encoder, tmp_path, spoil):
    encoder.save(tmp_path)
    LipEncoder.from_folder(tmp_path)
    spoil(tmp_path)
    with pytest.raises(AvsrError, match="not a lip encoder") as caught:
        LipEncoder.from_folder(tmp_path)
    assert caught.value.where == str(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(AvsrError, match="not a lip encoder"):
            LipEncoder.from_folder(path)
