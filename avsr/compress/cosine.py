"""Cosines between tokens of a row, safe for tokens of zeros.

Data: tokens [B, T, D] -> unit tokens, or similarity of each to those before it [B, T].
"""

from __future__ import annotations

import torch
from torch import Tensor


def unit(x: Tensor) -> Tensor:
    """Tokens of length one [B, T, D]; zeros stay zeros, whatever the scale of the others."""
    top = x.abs().amax(-1, keepdim=True)
    x = x / top.where(top > 0, torch.ones_like(top))  # squares of tiny numbers would vanish
    norm = x.norm(dim=-1, keepdim=True)
    out: Tensor = x / norm.where(norm > 0, torch.ones_like(norm))
    return out


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Products of unit tokens [..., D] -> [...]; two tokens of zeros are alike."""
    product = (a * b).sum(-1)
    both = ~(a.any(-1) | b.any(-1))
    return product.masked_fill(both, 1.0)


def to_previous(x: Tensor, back: int = 1) -> Tensor:
    """Highest cosine of each token to the `back` before it.

    Args:
        x: tokens [B, T, D], zero at padding.
        back: tokens looked back at.

    Returns:
        [B, T]; -inf at the first token.
    """
    u = unit(x)
    found = x.new_full(x.shape[:2], float("-inf"))
    for lag in range(1, min(back, x.shape[1] - 1) + 1):
        found[:, lag:] = found[:, lag:].maximum(cosine(u[:, lag:], u[:, :-lag]))
    return found
