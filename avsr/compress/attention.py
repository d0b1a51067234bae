"""Attention layers of the trainable compressors, which begin as if they were not there.

Data: queries [B, N, D], keys [B, M, E], who may see whom [B, N, M] -> queries [B, N, D].
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsr.compress.apply import wide
from avsr.errors import ConfigError
from avsr.streams import TokenStream


class GatedAttention(nn.Module):
    """Cross-attention and two linear layers, each added through a gate that starts closed.

    Args:
        width: of the queries D.
        keys: width of what they look at E.
        heads: of the attention; the inner width is a multiple of it.
        inner: width of queries and keys inside.
        gate: where both gates start; at 0 the layer changes nothing.
    """

    def __init__(
        self, width: int, keys: int, *, heads: int = 4, inner: int = 64, gate: float = 0.0
    ) -> None:
        super().__init__()
        if inner % heads:
            raise ValueError(f"inner={inner} must be a multiple of heads={heads}")
        self.heads = heads
        self.norm, self.key_norm = nn.LayerNorm(width), nn.LayerNorm(keys)
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(keys, inner, bias=False)
        self.value = nn.Linear(keys, inner, bias=False)
        self.out = nn.Linear(inner, width)
        self.after = nn.LayerNorm(width)
        self.first, self.second = nn.Linear(width, 2 * inner), nn.Linear(2 * inner, width)
        self.gates = nn.Parameter(torch.full((2,), float(gate)))

    def forward(self, x: Tensor, keys: Tensor, allowed: Tensor) -> Tensor:
        """Queries after a look at the keys.

        Args:
            x: queries [B, N, D].
            keys: [B, M, E], finite everywhere.
            allowed: true where a query may see a key [B, N, M]; a query that may see none passes
                the attention by.

        Returns:
            [B, N, D].
        """
        look = allowed.any(-1, keepdim=True)
        if keys.shape[1] > 0 and x.shape[1] > 0:
            k = self.key_norm(keys)
            q, k, v = (
                t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                for t in (self.query(self.norm(x)), self.key(k), self.value(k))
            )
            open_rows = (allowed | ~look)[:, None]  # a softmax over nothing is not a number
            seen = F.scaled_dot_product_attention(q, k, v, attn_mask=open_rows)
            seen = self.out(seen.transpose(1, 2).flatten(2)).masked_fill(~look, 0.0)
            x = x + self.gates[0] * seen
        out: Tensor = x + self.gates[1] * self.second(F.gelu(self.first(self.after(x))))
        return out


def clean(s: TokenStream) -> Tensor:
    """Tokens for learned layers: float32 or wider, zero at padding [B, T, D]."""
    return wide(s.x).masked_fill(~s.mask[..., None], 0.0)


def of_width(x: Tensor, width: int, name: str) -> Tensor:
    """What guides, once it is as wide as the weights for it [..., D].

    Raises:
        ConfigError: it is not.
    """
    if x.shape[-1] != width:
        raise ConfigError(
            f"a guide's {name} is {list(x.shape)}, and the compressor was built for a width of "
            f"{width}",
            todo="Build it with the width of its guide, other_width",
        )
    return x


def times(seconds: Tensor, width: int) -> Tensor:
    """Sines and cosines of times [B, N] -> [B, N, D], periods from 0.1 to 1000 seconds."""
    half = (width + 1) // 2
    steps = torch.arange(half, device=seconds.device) / max(1, half - 1)
    angle = seconds[..., None] * (2 * math.pi * 10.0) * 10.0 ** (-4 * steps)
    return torch.cat([angle.sin(), angle.cos()], -1)[..., :width]


def aligned(s: TokenStream, other: TokenStream) -> Tensor:
    """For each token of a stream the token of another at its middle, by time.

    Args:
        s: the stream [B, T, D].
        other: another of the same rows, at any rate [B, M, E].

    Returns:
        Index [B, T] long; 0 in rows where the other has nothing, and the nearest beyond its ends.
    """
    ends = other.t1.masked_fill(~other.mask, float("inf")).contiguous()
    middle = ((s.t0 + s.t1) / 2).contiguous()
    found = torch.searchsorted(ends, middle, right=True)
    last = (other.lengths - 1).clamp(min=0)[:, None]
    return found.minimum(last)
