"""From tower width to LLM width, one projector per rate and modality.

Data: TokenStream x [B, N, D] at one rate -> LLM input embeddings [B, N, H].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experts.sizes import real, whole

Form: TypeAlias = Literal["levelled", "plain", "plain-norm"]


@dataclass(frozen=True)
class ProjectorConfig:
    """Sizes of a projector.

    The paper (arXiv 2510.04136, section 4.1) has two linear layers with a ReLU between:
    `context=1, depth=0`. Small towers say what sounds, hardly which word it belongs to; a wider
    first layer and blocks between the two layers let a token see the word around it, which small
    training data needs.

    Args:
        width: between the two layers.
        context: tokens under the first layer, odd.
        depth: residual blocks between the two layers.
        reach: tokens under each block, odd.
        dropout: after the ReLU and in the blocks, in training.
        experts: projectors that each rate of each modality has; several make a mixture of them
            (`avsr.projector_mixture`).
        top_k: how many of them a token takes.
        per: "rate" gives each rate of a modality a projector of its own, "modality" one to all.
        form: "levelled" is `Projector`; "plain" and "plain-norm" are what the authors' other
            systems have (`avsr.projector_plain`), for their checkpoints.

    Raises:
        ValueError: sizes that make no projector.
    """

    width: int = 1024
    context: int = 1
    depth: int = 0
    reach: int = 7
    dropout: float = 0.1
    experts: int = 1
    top_k: int = 1
    per: Literal["rate", "modality"] = "rate"
    form: Form = "levelled"

    def __post_init__(self) -> None:
        """Check the sizes."""
        whole(1, width=self.width, context=self.context, reach=self.reach)
        whole(0, depth=self.depth, experts=self.experts, top_k=self.top_k)
        for name, span in (("context", self.context), ("reach", self.reach)):
            if span % 2 == 0:
                raise ValueError(f"{name} must be odd and at least 1, got {span}")
        real(dropout=self.dropout)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must lie between 0 and 1")
        if self.per not in ("rate", "modality"):
            raise ValueError(f"a projector is per rate or per modality, not per {self.per!r}")
        if self.form not in get_args(Form):
            raise ValueError(f"form must be one of {get_args(Form)}, got {self.form!r}")
        if self.form != "levelled" and (self.context, self.depth, self.experts) != (1, 0, 1):
            raise ValueError(f"a {self.form} projector has context=1, depth=0 and experts=1")
        if not 1 <= self.top_k <= self.experts:
            raise ValueError(f"top_k={self.top_k} must lie between 1 and experts={self.experts}")
        if self.top_k == 1 < self.experts:
            raise ValueError(
                f"top_k=1 of experts={self.experts} makes every gate 1: no router would learn"
            )

    def name(self, kind: str, rate: int) -> str:
        """Which projector reads a modality at a rate."""
        return f"{kind}_{rate}" if self.per == "rate" else kind


class _Block(nn.Module):
    """Residual block: each channel over `reach` tokens, then two linears over the channels."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        width = config.width
        self.norm = nn.LayerNorm(width)
        self.over = nn.Conv1d(width, width, config.reach, padding=config.reach // 2, groups=width)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        y = self.norm(x) * keep  # tokens beyond the end count as zeros
        y = self.over(y.transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + self.dropout(self.second(F.gelu(self.first(y))))
        return out


class Projector(nn.Module):
    """Norm, first layer, ReLU, blocks, second layer, scaled to the LLM's embedding norm.

    Args:
        inputs: width D of the (compressed) tower features.
        outputs: width H of the LLM.
        config: sizes.
        gain: norm of a typical LLM input embedding; outputs start there and the gain is trained.
    """

    def __init__(self, inputs: int, outputs: int, config: ProjectorConfig, *, gain: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(inputs)
        self.first = nn.Conv1d(inputs, config.width, config.context, padding=config.context // 2)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
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
        x = x.float().masked_fill(~keep, 0.0)  # a NaN there would reach the norm's gradients
        x = self.norm(x).masked_fill(~keep, 0.0)  # neighbours beyond the end are zeros
        x = self.dropout(F.relu(self.first(x.transpose(1, 2)).transpose(1, 2)))
        for block in self.blocks:
            x = block(x, keep)
        x = F.normalize(self.second(x).float(), dim=-1) * self.gain
        return x.masked_fill(~keep, 0.0)
