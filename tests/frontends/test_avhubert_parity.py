"""AV-HuBERT beside plain modules of PyTorch that take a padded batch and a mask, as fairseq's do.

Written from the description of the official encoder: its names, its order, where it pads and masks.
What differs from ours: one 3D convolution over the whole padded batch, torch's weight norm,
attention over time-first rows with the padded keys at minus infinity, padded frames computed too.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from frontends.avhubert import BASE, LARGE, AvHubert
from tests.frontends.avhuberts import TINY, tiny


class Block(nn.Module):
    def __init__(self, before, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1, self.relu1 = nn.BatchNorm2d(width), nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2, self.relu2 = nn.BatchNorm2d(width), nn.PReLU(width)
        self.downsample = None
        if stride > 1:
            step = nn.Conv2d(before, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(step, nn.BatchNorm2d(width))

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(y + (self.downsample(x) if self.downsample else x))


class Resnet(nn.Module):
    def __init__(self, stem):
        super().__init__()
        self.frontend3D = nn.Sequential(
            nn.Conv3d(1, stem, (5, 7, 7), (1, 2, 2), (2, 3, 3), bias=False),
            nn.BatchNorm3d(stem),
            nn.PReLU(stem),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        )
        self.trunk, before = nn.Module(), stem
        for stage in range(4):
            width = stem * 2**stage
            blocks = Block(before, width, 2 if stage else 1), Block(width, width, 1)
            self.trunk.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            before = width

    def forward(self, video):
        """[B, 1, T, 88, 88] -> [B, T, 8 stem]."""
        x = self.frontend3D(video)
        rows, channels, frames, high, wide = x.shape
        x = x.permute(0, 2, 1, 3, 4).reshape(rows * frames, channels, high, wide)
        for stage in self.trunk.children():
            x = stage(x)
        return nn.functional.adaptive_avg_pool2d(x, 1).reshape(rows, frames, -1)


class Extractor(nn.Module):
    def __init__(self, inputs, width, resnet=None):
        super().__init__()
        self.proj = nn.Linear(inputs, width)
        self.resnet = resnet

    def forward(self, x):
        return self.proj(x if self.resnet is None else self.resnet(x))


class Layer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.heads, self.self_attn = shape.heads, nn.Module()
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            self.self_attn.add_module(name, nn.Linear(shape.width, shape.width))
        self.self_attn_layer_norm = nn.LayerNorm(shape.width)
        self.fc1 = nn.Linear(shape.width, shape.hidden)
        self.fc2 = nn.Linear(shape.hidden, shape.width)
        self.final_layer_norm = nn.LayerNorm(shape.width)

    def forward(self, x, padded):
        """[T, B, D], as fairseq holds it."""
        y = self._attend(self.self_attn_layer_norm(x), padded)
        x = x + y
        return x + self.fc2(nn.functional.gelu(self.fc1(self.final_layer_norm(x))))

    def _attend(self, y, padded):
        own, (frames, rows, width) = self.self_attn, y.shape
        size = width // self.heads

        def split(z):
            return z.reshape(frames, rows * self.heads, size).transpose(0, 1)

        q = split(own.q_proj(y) * size**-0.5)
        k, v = split(own.k_proj(y)), split(own.v_proj(y))
        weights = torch.bmm(q, k.transpose(1, 2)).view(rows, self.heads, frames, frames)
        weights = weights.masked_fill(padded[:, None, None], float("-inf")).softmax(-1)
        z = torch.bmm(weights.view(rows * self.heads, frames, frames), v)
        return own.out_proj(z.transpose(0, 1).reshape(frames, rows, width))


class Plain(nn.Module):
    """The official encoder's names, on a padded batch."""

    def __init__(self, shape):
        super().__init__()
        width = shape.width
        self.feature_extractor_audio = Extractor(shape.audio_features, width)
        self.feature_extractor_video = Extractor(8 * shape.stem, width, Resnet(shape.stem))
        self.layer_norm = nn.LayerNorm(2 * width)
        self.post_extract_proj = nn.Linear(2 * width, width)
        conv = nn.Conv1d(width, width, shape.kernel, padding=shape.kernel // 2, groups=shape.groups)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the official files were written by this one
            conv = nn.utils.weight_norm(conv, dim=2)
        self.encoder = nn.Module()
        self.encoder.pos_conv = nn.Sequential(conv)
        self.encoder.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.encoder.layer_norm = nn.LayerNorm(width)
        self.cut = 1 - shape.kernel % 2
        self.eval()

    def forward(self, audio, video, padded):
        """Audio [B, T, 104], video [B, 1, T, 88, 88], true where padded [B, T]."""
        rows, frames = padded.shape
        nothing = torch.zeros(rows, frames, self.post_extract_proj.out_features)
        heard = nothing if audio is None else self.feature_extractor_audio(audio)
        seen = nothing if video is None else self.feature_extractor_video(video)
        x = self.post_extract_proj(self.layer_norm(torch.cat([heard, seen], dim=2)))
        x[padded] = 0
        y = self.encoder.pos_conv(x.transpose(1, 2))
        y = y[:, :, : y.shape[2] - self.cut]
        x = (x + nn.functional.gelu(y).transpose(1, 2)).transpose(0, 1)
        for layer in self.encoder.layers:
            x = layer(x, padded)
        return self.encoder.layer_norm(x.transpose(0, 1))


def parity(net, lengths, mode):
    plain = Plain(net.shape)
    plain.load_state_dict(net.state_dict(), strict=True)
    random = torch.Generator().manual_seed(3)
    video = [torch.randn(n, 88, 88, generator=random) for n in lengths]
    audio = [torch.randn(n, net.shape.audio_features, generator=random) for n in lengths]
    padded = torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]
    with torch.no_grad():
        ours = net(video=video if "v" in mode else None, audio=audio if "a" in mode else None)
        theirs = plain(
            pad_sequence(audio, batch_first=True) if "a" in mode else None,
            pad_sequence(video, batch_first=True)[:, None] if "v" in mode else None,
            padded,
        )
    real = ~padded
    assert theirs[real].std() > 0.1
    assert (ours[real] - theirs[real]).abs().max() <= 1e-4
    assert not ours[padded].any()


@pytest.mark.parametrize("mode", ["v", "a", "av"])
@pytest.mark.parametrize("lengths", [[9], [7, 3, 1]], ids=["one", "several"])
@pytest.mark.parametrize("kernel", [6, 5])
def test_tiny(mode, lengths, kernel):
    parity(tiny(replace(TINY, kernel=kernel)), lengths, mode)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [BASE, LARGE], ids=["base", "large"])
def test_official_sizes(shape):
    """Random weights as PyTorch draws them, and batch statistics as after training."""
    torch.manual_seed(0)
    net = AvHubert(shape)
    for name, value in net.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif name.endswith("running_mean"):
            value.normal_(0.0, 0.2)
    parity(net, [11, 6], "av")
