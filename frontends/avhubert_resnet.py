"""The picture half of AV-HuBERT: a 3D convolution and an 18-layer residual trunk.

Data: normalised grey frames, one [T, 88, 88] a clip -> [sum T, 8 * stem].  Parameters carry the
names of the official checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["LipResNet"]

CONTEXT = 5  # frames under the 3D convolution
CHUNK = 100  # frames whose wide maps are held at once: 50 MB in all


class _Block(nn.Module):
    """Residual block of two 3x3 convolutions with PReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.PReLU(outputs)
        self.relu2 = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        out: Tensor = self.relu2(y + (x if self.downsample is None else self.downsample(x)))
        return out


class _Trunk(nn.Module):
    """Four stages of two blocks, then the mean over the picture."""

    def __init__(self, stem: int) -> None:
        super().__init__()
        widths = (stem, stem, 2 * stem, 4 * stem, 8 * stem)
        for stage in range(1, 5):
            inputs, outputs = widths[stage - 1], widths[stage]
            first = _Block(inputs, outputs, 1 if stage == 1 else 2)
            self.add_module(f"layer{stage}", nn.Sequential(first, _Block(outputs, outputs, 1)))

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.children():
            x = stage(x)
        return x.mean(dim=(2, 3))


class LipResNet(nn.Module):
    """Frame features of mouth crops (arXiv 2201.02184, section 3.2), for inference.

    Args:
        stem: channels after the 3D convolution; 64 in every released model.
    """

    def __init__(self, stem: int = 64) -> None:
        super().__init__()
        self.width = 8 * stem
        self.frontend3D = nn.Sequential(
            nn.Conv3d(1, stem, (5, 7, 7), stride=(1, 2, 2), padding=(2, 3, 3), bias=False),
            nn.BatchNorm3d(stem),
            nn.PReLU(stem),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
        )
        self.trunk = _Trunk(stem)

    def forward(self, rows: Sequence[Tensor]) -> Tensor:
        """Encode the frames of some clips.

        The 3D convolution has one input channel and stride 1 over time, so it is a 2D convolution
        over five neighbouring frames: clips of any length go through in equal parts.

        Args:
            rows: normalised frames [T, 88, 88] of each clip; beyond its ends it sees zeros.

        Returns:
            Frame features of all clips, one after the other [sum T, width].
        """
        edge = CONTEXT // 2
        parts = []
        for row in rows:
            padded = F.pad(row, (0, 0, 0, 0, edge, edge))
            for first in range(0, len(row), CHUNK):
                parts.append(self._encode(padded[first : first + CHUNK + 2 * edge]))
        return torch.cat(parts)

    def _encode(self, frames: Tensor) -> Tensor:
        """[n + 4, 88, 88] -> [n, width]."""
        near = frames.unfold(0, CONTEXT, 1).permute(0, 3, 1, 2)  # [n, 5, 88, 88]
        convolution, *rest = self.frontend3D
        assert isinstance(convolution, nn.Conv3d)
        near = near.contiguous(memory_format=torch.channels_last)
        x = F.conv2d(near, convolution.weight[:, 0], stride=2, padding=3)[:, :, None]
        for layer in rest:
            x = layer(x)
        out: Tensor = self.trunk(x[:, :, 0])
        return out
