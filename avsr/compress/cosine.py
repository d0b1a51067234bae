"""Cosines between tokens of a row, safe for tokens of zeros.

Data: tokens [B, T, D] -> unit tokens, or similarity of each to those before it [B, T].
"""

from __future__ import annotations

import torch
from torch import Tensor

_GRID = 2.0**18  # parts of a cosine: rounding of equal frames, 1e-6 at most, is far below one
_FIT = 1e9  # numbers below it and above its inverse have squares that add up in single precision


def unit(x: Tensor) -> Tensor:
    """Tokens of length one [B, T, D]; zeros stay zeros, whatever the scale of the others."""
    top = x.abs().amax(-1, keepdim=True)
    x = x / top.where(top > 0, torch.ones_like(top))  # squares of tiny numbers would vanish
    norm = x.square().sum(-1, keepdim=True).sqrt()  # `norm` adds up one by one, and rounds more
    out: Tensor = x / norm.where(norm > 0, torch.ones_like(norm))
    return out


def levelled(x: Tensor) -> Tensor:
    """Rows [B, ...] times powers of two of their own, so that their squares are fit for sums.

    The largest number of a row that needs it comes to lie in 0.5 to 1; nothing is rounded, so what
    was decided by the relations of numbers is decided as before.
    """
    if x.numel() == 0:
        return x
    flat, least = x.flatten(1), torch.finfo(x.dtype).tiny
    top = flat.amax(1).maximum(-flat.amin(1))  # of absolute values, without a copy of them
    fit = (top == 0) | ((top > 1 / _FIT) & (top < _FIT))
    if bool(fit.all()):  # as ever, but for made-up numbers: no copy
        return x
    factor = (torch.frexp(top).mantissa / top).clamp(least, 1 / least)  # of zeros not a number
    return x * factor.where(~fit, 1.0).reshape(-1, *[1] * (x.ndim - 1))


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Products of unit tokens [..., D] -> [...], rounded; two tokens of zeros are alike."""
    both = ~(a.any(-1) | b.any(-1))
    return rounded((a * b).sum(-1)).masked_fill(both, 1.0)


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """Products of all pairs of unit tokens, [N, D] and [M, D] -> [N, M]; zeros are alike.

    They are rounded, lest the order in which a kernel adds tell equal frames apart.
    """
    both = ~(a.any(-1)[:, None] | b.any(-1))
    return rounded(a @ b.T).masked_fill(both, 1.0)


def rounded(product: Tensor) -> Tensor:
    """Cosines to four millionths: those of equal frames are 1, whatever their rounding was."""
    return (product * _GRID).round() / _GRID


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
