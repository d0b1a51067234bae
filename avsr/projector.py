"""From tower width to LLM width, one projector per rate and modality.

Data: TokenStream x [B, N, D] at one rate -> LLM input embeddings [B, N, H].
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class ProjectorConfig:
    """Sizes of a projector.

    The paper (arXiv 2510.04136, section 4.1) has two linear layers with a ReLU between. Ours is that with
    `context=1`; a wider first layer also sees the neighbouring tokens, which the frozen towers' features need on
    small training data.
    """

    width: int = 1024  # between the two layers
    context: int = 3  # tokens under the first layer, odd
    dropout: float = 0.1  # after the ReLU, in training

    def __post_init__(self) -> None:
        """Check the sizes."""
        if self.context < 1 or self.context % 2 == 0:
            raise ValueError(f"context must be odd and at least 1, got {self.context}")


class Projector(nn.Module):
    """Norm, first layer over `context` tokens, ReLU, second layer, scaled to the LLM's embedding norm.

    Args:
        inputs: width D of the (compressed) tower features.
        outputs: width H of the LLM.
        config: sizes.
        gain: norm of a typical LLM input embedding; outputs start at this norm and the gain is trained.
    """

    def __init__(self, inputs: int, outputs: int, config: ProjectorConfig, *, gain: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(inputs)
        self.first = nn.Conv1d(inputs, config.width, config.context, padding=config.context // 2)
        self.dropout = nn.Dropout(config.dropout)
        self.second = nn.Linear(config.width, outputs)
        self.gain = nn.Parameter(torch.tensor(float(gain)))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Project a stream's tokens.

        Args:
            x: tokens [B, N, D], any values where the mask is false.
            mask: [B, N] bool, true at real tokens.

        Returns:
            [B, N, H], zero where the mask is false.
        """
        keep = mask[..., None]
        x = self.norm(x.float()).masked_fill(~keep, 0.0)  # neighbours beyond the end are zeros
        x = self.dropout(F.relu(self.first(x.transpose(1, 2)).transpose(1, 2)))
        x = F.normalize(self.second(x).float(), dim=-1) * self.gain
        return x.masked_fill(~keep, 0.0)
