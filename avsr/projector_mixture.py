"""Several projectors of one modality and rate, of which each token takes its own few.

Data: as avsr/projector. Llama-SMoP (arXiv 2505.14336) in its best form: each modality has experts
and a router of its own (disjoint experts, disjoint routers).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsr.projector import Projector, ProjectorConfig
from avsr.projector_plain import PlainProjector


class ProjectorMixture(nn.Module):
    """Router over the normed features, top-k of its softmax renormalised, sum of the projectors.

    Every expert reads every token, since an expert may look at a token's neighbours; what the
    gates leave out counts for nothing.

    Args:
        inputs: width D of the (compressed) tower features.
        outputs: width H of the LLM.
        config: sizes of each expert, and how many there are.
        gain: as in `Projector`.
    """

    def __init__(self, inputs: int, outputs: int, config: ProjectorConfig, *, gain: float) -> None:
        super().__init__()
        self.top_k = config.top_k
        self.router = nn.Linear(inputs, config.experts, bias=False)
        self.experts = nn.ModuleList(
            Projector(inputs, outputs, config, gain=gain) for _ in range(config.experts)
        )
        self.balance: Tensor | None = None  # of the last pass in train mode

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles begin without the last pass, whose graph cannot be copied."""
        return {**vars(self), "balance": None}

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Project a stream's tokens.

        Args:
            x: tokens [B, N, D], any values where the mask is false.
            mask: [B, N] bool, true at real tokens.

        Returns:
            [B, N, H], zero where the mask is false.
        """
        clean = x.float().masked_fill(~mask[..., None], 0.0)
        probs = self.router(F.layer_norm(clean, clean.shape[-1:])).float().softmax(-1)  # [B, N, E]
        best, index = probs.topk(self.top_k, dim=-1)
        gates = torch.zeros_like(probs).scatter(-1, index, best / best.sum(-1, keepdim=True))
        self.balance = _balance(probs[mask], index[mask]) if self.training else None
        out: Tensor | None = None
        for number, expert in enumerate(self.experts):
            part = expert(clean, mask) * gates[..., number, None]
            out = part if out is None else out + part
        assert out is not None
        return out


def _balance(probs: Tensor, index: Tensor) -> Tensor:
    """E * sum_n f_n P_n over real tokens: probs [M, E], index [M, K]; K where all are in use."""
    taken = torch.zeros_like(probs).scatter_(-1, index, 1.0)
    tokens = max(1, probs.shape[0])
    return probs.shape[1] * (taken.sum(0) / tokens * probs.sum(0) / tokens).sum()


def build_projector(
    inputs: int, outputs: int, config: ProjectorConfig, *, gain: float
) -> Projector | ProjectorMixture | PlainProjector:
    """The projector that a configuration asks for: one, a mixture, or a plain one."""
    if config.form != "levelled":
        return PlainProjector(inputs, outputs, config)
    if config.experts == 1:
        return Projector(inputs, outputs, config, gain=gain)
    return ProjectorMixture(inputs, outputs, config, gain=gain)


def clear_balance(module: nn.Module) -> None:
    """Forget the balance losses of earlier passes."""
    for part in module.modules():
        if isinstance(part, ProjectorMixture):
            part.balance = None


def mean_balance(module: nn.Module) -> Tensor | None:
    """Mean balance loss over the mixtures that ran since `clear_balance`, None if none did."""
    parts = [part for part in module.modules() if isinstance(part, ProjectorMixture)]
    found = [part.balance for part in parts if part.balance is not None]
    return torch.stack(found).mean() if found else None
