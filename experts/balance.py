"""Which tokens count in the routing statistics: mask [B, N] and groups [B] -> shares [G, M]."""

from __future__ import annotations

import torch
from torch import Tensor


def token_share(mask: Tensor, groups: Tensor | None = None) -> Tensor:
    """Weight of every token in the mean of its group.

    The balance loss is "computed for each sequence" (arXiv 2510.04136, section 3.2): rows of one
    rate pair form one group, the loss is the mean over groups.

    Args:
        mask: [B, N] bool, True for real tokens; padding gets no weight.
        groups: [B] integer group of each row; None puts all rows into one group.

    Returns:
        [G, B*N] float32; each row sums to 1. Groups without a real token are left out.

    Raises:
        ValueError: mask or groups of a wrong shape or dtype.
    """
    if mask.ndim != 2 or mask.dtype != torch.bool:
        raise ValueError(f"mask must be bool [B, N], not {mask.dtype} {list(mask.shape)}")
    if groups is None:
        groups = torch.zeros(mask.shape[0], dtype=torch.long, device=mask.device)
    if groups.shape != mask.shape[:1] or groups.is_floating_point():
        raise ValueError(
            f"groups must be integers [B={mask.shape[0]}], not {groups.dtype} {list(groups.shape)}"
        )
    ids = torch.unique(groups.to(mask.device)[mask.any(1)])
    member = (groups.to(mask.device) == ids[:, None])[:, :, None] & mask  # [G, B, N]
    share: Tensor = member.flatten(1).float()
    return share.div_(share.sum(1, keepdim=True))
