"""What the routers chose in one forward pass, for usage statistics and plots."""

from __future__ import annotations

from dataclasses import dataclass

import torch
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

    def usage(self, routed: int, where: Tensor | None = None) -> Tensor:
        """Share of each expert among the top-k choices (figures 5 and 9 of arXiv 2510.04136).

        Args:
            routed: number of routed experts.
            where: [B, N] bool, further restriction, e.g. to audio positions.

        Returns:
            [routed] float32, sums to 1; all zero when no token is selected.
        """
        keep = self.mask if where is None else self.mask & where
        counts = torch.bincount(self.index[keep].flatten(), minlength=routed).float()
        return counts / counts.sum().clamp(min=1)
