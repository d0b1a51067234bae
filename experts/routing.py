"""What the routers chose in one forward pass, for usage statistics and plots."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LayerRouting:
    """The choice of one layer's router.

    Args:
        index: [B, N, K] routed experts of each token, best first.
        weight: [B, N, K] their gates (router probability, renormalised if configured; no alpha).
        mask: [B, N] bool, True for real tokens.
    """

    index: Tensor
    weight: Tensor
    mask: Tensor
