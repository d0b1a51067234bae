"""The projector of the authors' other systems: two linear layers, and perhaps a norm behind.

Data: as avsr/projector. It is what their checkpoints hold (Llama-AVSR, Omni-AVSR); ours are
`avsr.projector.Projector`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsr.projector import ProjectorConfig


class PlainProjector(nn.Module):
    """Linear, ReLU, linear; with `form="plain-norm"` a layer norm last.

    Args:
        inputs: width D of the (compressed) tower features.
        outputs: width H of the LLM.
        config: its width and form.
    """

    def __init__(self, inputs: int, outputs: int, config: ProjectorConfig) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.second = nn.Linear(config.width, outputs)
        self.norm = nn.LayerNorm(outputs) if config.form == "plain-norm" else None

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Project a stream's tokens.

        Args:
            x: tokens [B, N, D], any values where the mask is false.
            mask: [B, N] bool, true at real tokens.

        Returns:
            [B, N, H], zero where the mask is false.
        """
        keep = mask[..., None]
        x = x.float().masked_fill(~keep, 0.0)
        x = self.second(self.dropout(F.relu(self.first(x))))
        x = x if self.norm is None else self.norm(x)
        return torch.where(keep, x, 0.0)
