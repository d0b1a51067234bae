"""AV-HuBERT: names and shapes of the official files, and its arithmetic by a plain reference."""

import math

import pytest
import torch
import torch.nn.functional as F

from frontends.avhubert import BASE, LARGE, AvHubert, AvHubertShape, encoder_state, shape_of
from tests.frontends.avhuberts import TINY, finetuned, official, pretrained, tiny

LENGTHS = [7, 3, 1]


@pytest.fixture(scope="module")
def net():
    return tiny()


def frames(lengths=LENGTHS):
    random = torch.Generator().manual_seed(1)
    return [torch.randn(n, 88, 88, generator=random) for n in lengths]


def sounds(lengths=LENGTHS):
    random = torch.Generator().manual_seed(2)
    return [torch.randn(n, 104, generator=random) for n in lengths]


def given(mode, lengths=LENGTHS):
    """Inputs of a mode: "v", "a" or "av"."""
    rows = {"v": ("video", frames(lengths)), "a": ("audio", sounds(lengths))}
    return dict(rows[kind] for kind in mode)


@pytest.mark.parametrize(
    ("shape", "millions"), [(TINY, 0), (BASE, 103), (LARGE, 325)], ids=["tiny", "base", "large"]
)
def test_names_shapes_and_sizes_are_the_official_ones(shape, millions):
    with torch.device("meta"):
        made = AvHubert(shape)
    assert {k: tuple(v.shape) for k, v in made.state_dict().items()} == official(shape)
    assert round(sum(p.numel() for p in made.parameters()) / 1e6) == millions


def reference(net, video=None, audio=None):
    """One clip, by the layers that PyTorch has and in the order of the paper's code."""
    state, shape = net.state_dict(), net.shape
    names = {k: v for k, v in state.items() if "resnet" in k}

    def norm(x, name, prefix="feature_extractor_video.resnet."):
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(names[f"{prefix}{name}.{k}"] for k in keys))

    def resnet(x):
        at = "feature_extractor_video.resnet."
        x = F.conv3d(x, names[f"{at}frontend3D.0.weight"], stride=(1, 2, 2), padding=(2, 3, 3))
        x = F.prelu(norm(x, "frontend3D.1"), names[f"{at}frontend3D.2.weight"])
        x = F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))[0].transpose(0, 1)  # [T, C, 22, 22]
        for stage in range(1, 5):
            for block in (0, 1):
                name, step = f"trunk.layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
                y = F.conv2d(x, names[f"{at}{name}.conv1.weight"], stride=step, padding=1)
                y = F.prelu(norm(y, f"{name}.bn1"), names[f"{at}{name}.relu1.weight"])
                y = F.conv2d(y, names[f"{at}{name}.conv2.weight"], padding=1)
                if step == 2:
                    x = F.conv2d(x, names[f"{at}{name}.downsample.0.weight"], stride=2)
                    x = norm(x, f"{name}.downsample.1")
                y = norm(y, f"{name}.bn2") + x
                x = F.prelu(y, names[f"{at}{name}.relu2.weight"])
        return F.adaptive_avg_pool2d(x, 1).flatten(1)

    def linear(x, name):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def level(x, name):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    count = len(video if video is not None else audio)
    lips = sound = torch.zeros(count, shape.width)
    if video is not None:
        lips = linear(resnet(video[None, None]), "feature_extractor_video.proj")
    if audio is not None:
        sound = linear(audio, "feature_extractor_audio.proj")
    x = linear(level(torch.cat([sound, lips], 1), "layer_norm"), "post_extract_proj")
    conv = torch.nn.Conv1d(shape.width, shape.width, shape.kernel, padding=shape.kernel // 2,
                           groups=shape.groups)  # fmt: skip
    conv = torch.nn.utils.parametrizations.weight_norm(conv, dim=2)
    conv.parametrizations.weight.original0.data = state["encoder.pos_conv.0.weight_g"]
    conv.parametrizations.weight.original1.data = state["encoder.pos_conv.0.weight_v"]
    conv.bias.data = state["encoder.pos_conv.0.bias"]
    x = x + F.gelu(conv(x.T[None])[0, :, :-1].T)
    size = shape.width // shape.heads
    for layer in range(shape.layers):
        at = f"encoder.layers.{layer}"
        y = level(x, f"{at}.self_attn_layer_norm")
        q = linear(y, f"{at}.self_attn.q_proj") * size**-0.5
        k, v = linear(y, f"{at}.self_attn.k_proj"), linear(y, f"{at}.self_attn.v_proj")
        parts = []
        for head in range(shape.heads):
            own = slice(head * size, (head + 1) * size)
            parts.append(torch.softmax(q[:, own] @ k[:, own].T, -1) @ v[:, own])
        x = x + linear(torch.cat(parts, 1), f"{at}.self_attn.out_proj")
        y = linear(level(x, f"{at}.final_layer_norm"), f"{at}.fc1")
        y = 0.5 * y * (1 + torch.erf(y / math.sqrt(2)))
        x = x + linear(y, f"{at}.fc2")
    return level(x, "encoder.layer_norm")


@torch.no_grad()
@pytest.mark.parametrize("mode", ["v", "a", "av"])
def test_it_computes_what_its_description_says(net, mode):
    inputs = given(mode)
    made = net(**inputs)
    assert made.shape == (3, 7, 16)
    for row, n in enumerate(LENGTHS):
        alone = {kind: rows[row] for kind, rows in inputs.items()}
        torch.testing.assert_close(made[row, :n], reference(net, **alone), rtol=1e-4, atol=1e-4)
        assert not made[row, n:].any()
    assert made[0].std() > 0.1


@torch.no_grad()
@pytest.mark.parametrize("mode", ["v", "a", "av"])
def test_batch_is_single(net, mode):
    inputs = given(mode)
    made = net(**inputs)
    for row, n in enumerate(LENGTHS):
        alone = net(**{kind: [rows[row]] for kind, rows in inputs.items()})
        torch.testing.assert_close(made[row, :n], alone[0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_long_clips_go_through_in_parts_unseen(net, monkeypatch):
    import frontends.avhubert_resnet

    clip = frames([23])
    whole = net(video=clip)
    monkeypatch.setattr(frontends.avhubert_resnet, "CHUNK", 5)
    torch.testing.assert_close(net(video=clip), whole, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_lips_sound_and_both_differ(net):
    read = [net(**given(mode, [5])) for mode in ("v", "a", "av")]
    assert all(not torch.allclose(read[i], read[j], atol=0.05) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_nothing_is_refused(net):
    for inputs in ({}, {"video": []}, {"video": frames([0])}):
        with pytest.raises(ValueError, match="at least one clip"):
            net(**inputs)
    with pytest.raises(ValueError, match="filterbanks"):
        net(video=frames([3]), audio=sounds([4]))


def test_frozen_also_while_training(net):
    holder = torch.nn.Sequential(net).train()
    assert holder.training
    assert not any(module.training for module in net.modules())
    assert not any(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("make", [pretrained, finetuned])
def test_the_encoder_is_found_in_either_layout(net, make):
    state = encoder_state(make(net))
    assert set(state) == set(net.state_dict())
    assert shape_of(state, heads=2) == TINY
    AvHubert(TINY).load_state_dict(state, strict=True)


@torch.no_grad()
def test_the_weight_norm_is_read_under_both_of_its_names(net):
    newer = {"weight_g": "parametrizations.weight.original0",
             "weight_v": "parametrizations.weight.original1"}  # fmt: skip
    state = net.state_dict()
    for old, new in newer.items():
        state[f"encoder.pos_conv.0.{new}"] = state.pop(f"encoder.pos_conv.0.{old}")
    again = AvHubert(TINY)
    again.load_state_dict(state, strict=True)
    assert torch.equal(again(**given("a")), net(**given("a")))
    assert set(encoder_state(state)) == set(net.state_dict())


def test_a_stranger_among_the_tensors_is_named(net):
    with pytest.raises(ValueError, match="lm_head"):
        encoder_state({**finetuned(net), "lm_head.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="not an AV-HuBERT"):
        shape_of({"weight": torch.zeros(1)})


@pytest.mark.parametrize("wrong", [{"heads": 3}, {"groups": 5}, {"layers": 0}, {"width": 1.5}])
def test_sizes_that_make_no_model(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AvHubertShape(**{**vars(TINY), **wrong})
