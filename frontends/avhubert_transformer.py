"""The transformer of AV-HuBERT: convolutional positions and pre-norm layers.

Data: fused features [B, T, D], true where a frame is real [B, T] -> [B, T, D].  Parameters carry
the names of the official checkpoints.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["AvHubertTransformer"]

# The weight norm's names in `torch.nn.utils.weight_norm`, and in its successor.
PARAMETRIZED = {
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}


class _Positions(nn.Module):
    """Grouped convolution over time with weight norm over all but the kernel's axis (dim=2)."""

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.bias = nn.Parameter(torch.zeros(width))
        self.weight_g = nn.Parameter(torch.ones(1, 1, kernel))
        self.weight_v = nn.Parameter(torch.empty(width, width // groups, kernel))
        nn.init.normal_(self.weight_v, std=(4.0 / (kernel * width)) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """[B, D, T] -> [B, D, T]: an even kernel makes one frame more, and the last is dropped."""
        kernel = self.weight_v.shape[2]
        size = self.weight_v.norm(dim=(0, 1), keepdim=True)
        weight = self.weight_g * self.weight_v / size
        y = F.conv1d(x, weight, self.bias, padding=kernel // 2, groups=self.groups)
        return F.gelu(y[..., : x.shape[2]])

    def _load_from_state_dict(
        self, state_dict: MutableMapping[str, Tensor], prefix: str, *rest: Any
    ) -> None:
        """Take the weight norm under either of its names."""
        for own, other in PARAMETRIZED.items():
            if prefix + other in state_dict and prefix + own not in state_dict:
                state_dict[prefix + own] = state_dict.pop(prefix + other)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class _Attention(nn.Module):
    """Self-attention, all four projections with a bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        q, k, v = (self._split(part(x)) for part in (self.q_proj, self.k_proj, self.v_proj))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=keep)
        out: Tensor = self.out_proj(y.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, heads, T, D / heads]."""
        rows, frames, width = x.shape
        return x.view(rows, frames, self.heads, width // self.heads).transpose(1, 2)


class _Layer(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.self_attn = _Attention(width, heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x), keep)
        out: Tensor = x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))
        return out


class AvHubertTransformer(nn.Module):
    """Encoder of fused features (arXiv 2201.02184).

    Args:
        width: of the features, D.
        hidden: width inside the feed-forward parts.
        heads: attention heads.
        layers: how many.
        kernel: frames under the positional convolution.
        groups: of the positional convolution.
    """

    def __init__(
        self, *, width: int, hidden: int, heads: int, layers: int, kernel: int, groups: int
    ) -> None:
        super().__init__()
        self.pos_conv = nn.Sequential(_Positions(width, kernel, groups))
        self.layers = nn.ModuleList(_Layer(width, hidden, heads) for _ in range(layers))
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """[B, T, D], true for real frames [B, T] -> [B, T, D], zero beyond each row's end."""
        ragged = not bool(real.all())
        if ragged:
            x = x * real[..., None]  # the positional convolution must see zeros beyond the end
        x = x + self.pos_conv(x.transpose(1, 2)).transpose(1, 2)
        keep = None
        if ragged:
            some = real | ~real.any(1, keepdim=True)  # a row without frames attends to anything
            keep = some[:, None, None]
        for layer in self.layers:
            x = layer(x, keep)
        out: Tensor = self.layer_norm(x)
        return out * real[..., None] if ragged else out
