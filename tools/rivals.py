"""What a MoME layer is measured against: the plain loop over experts, and dense LoRA.

Data: MomeLayer -> modules that add to base what it adds (loop), or as much work (LoRA).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experts import MomeConfig, MomeLayer

# Largest difference from the loop, as a share of the loop's largest value.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 5e-3}
_ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu, "silu": F.silu}


@dataclass(frozen=True)
class Width:
    """One decoder layer of an LLM.

    Args:
        name: of the LLM.
        hidden: width H.
        values: width of the value projection (key-value heads times their width).
        rank: bottleneck of the experts, as in the paper.
    """

    name: str
    hidden: int
    values: int
    rank: int


WIDTHS = (
    Width("SmolLM2-135M", 576, 192, 8),
    Width("Llama-3.2-1B", 2048, 512, 8),
    Width("Llama-3.2-3B", 3072, 1024, 12),
)


class Loop(nn.Module):
    """Equations 1-3 of arXiv 2510.04136 as most mixtures are written: expert after expert.

    Each expert gathers the tokens that chose it, runs its two linear layers, and adds the result
    back; experts that nobody chose are passed over. Weights are laid out once, in the dtype of
    the work, so that only the work is timed.

    Args:
        layer: the layer to be equal to.
        dtype: of hidden states and experts; the router stays in float32.
    """

    def __init__(self, layer: MomeLayer, dtype: torch.dtype) -> None:
        super().__init__()
        config = self.config = layer.config
        self.router = layer.router.detach().clone()
        self.experts = nn.ModuleList()
        for n in range(config.routed + config.shared):
            down = nn.utils.skip_init(nn.Linear, layer.hidden, config.rank, dtype=dtype)
            up = nn.utils.skip_init(nn.Linear, config.rank, layer.hidden, dtype=dtype)
            for linear, weight, bias in (
                (down, layer.down[n], layer.down_bias[n]),
                (up, layer.up[n], layer.up_bias[n]),
            ):
                linear.weight.data.copy_(weight.detach())
                linear.bias.data.copy_(bias.detach())
            self.experts.append(nn.ModuleList([down, up]))

    def forward(self, x: Tensor, base: Tensor) -> Tensor:
        """[B, N, H], [B, N, H] -> base plus mixture [B, N, H]."""
        config, flat = self.config, x.reshape(-1, x.shape[-1])
        gates, chosen = F.linear(flat.float(), self.router).softmax(-1).topk(config.top_k)
        if config.renorm == "topk":
            gates = gates / gates.sum(-1, keepdim=True)
        gates = (gates * config.alpha).to(x.dtype)
        out = base.reshape(flat.shape).clone()
        for n in chosen.unique().tolist():
            rows, slots = torch.where(chosen == n)
            out.index_add_(0, rows, self._run(n, flat[rows]) * gates[rows, slots, None])
        for n in range(config.routed, config.routed + config.shared):
            out += self._run(n, flat) * config.alpha
        return out.view(x.shape)

    def _run(self, n: int, x: Tensor) -> Tensor:
        down, up = self.experts[n]
        y: Tensor = up(_ACTIVATIONS[self.config.activation](down(x)))
        return y


class _Attention(nn.Module):
    """Query and value projections, for peft to find."""

    def __init__(self, width: Width, dtype: torch.dtype) -> None:
        super().__init__()
        for name, out in (("q_proj", width.hidden), ("v_proj", width.values)):
            linear = nn.utils.skip_init(nn.Linear, width.hidden, out, bias=False, dtype=dtype)
            self.add_module(name, linear)


class DenseLora(nn.Module):
    """peft's LoRA on the query and value projections, without the projections' own work.

    Args:
        width: of the decoder layer.
        rank: of both adapters.
        dtype: of hidden states and weights.
    """

    def __init__(self, width: Width, rank: int, dtype: torch.dtype) -> None:
        super().__init__()
        from peft import LoraConfig, inject_adapter_in_model

        config = LoraConfig(
            r=rank, lora_alpha=2 * rank, target_modules=["q_proj", "v_proj"], lora_dropout=0.0
        )
        attention = _Attention(width, dtype)
        inject_adapter_in_model(config, attention)
        attention.to(dtype).requires_grad_(False).eval()
        self.layers = [attention.q_proj, attention.v_proj]
        self.active = sum(p.numel() for name, p in attention.named_parameters() if "lora_" in name)
        for layer in self.layers:
            # peft's own forward runs, and finds what the frozen projection would have given.
            layer.base_layer.forward = lambda x, held=layer: held.found

    def forward(self, x: Tensor, base: Tensor) -> Tensor:
        """[B, N, H], [B, N, H] -> what the query projection gives [B, N, H]."""
        for layer in self.layers:
            layer.found = base[..., : layer.out_features]
        queries: Tensor = self.layers[0](x)
        self.layers[1](x)
        return queries


def lora_rank(width: Width, config: MomeConfig) -> int:
    """Rank of query and value adapters together as large as a layer's active parameters."""
    per_rank = 3 * width.hidden + width.values  # two down-projections, two up-projections
    return max(1, round(config.active(width.hidden) / per_rank))


def awaken(layer: MomeLayer, seed: int) -> MomeLayer:
    """Give the up-projections values, as training would: with zeros no kernel can be wrong."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        layer.up.normal_(0.0, 0.02, generator=generator)
        layer.up_bias.normal_(0.0, 0.02, generator=generator)
        layer.router.normal_(0.0, 0.1, generator=generator)
    return layer.eval().requires_grad_(False)


@torch.inference_mode()
def check_equal(ours: nn.Module, loop: nn.Module, x: Tensor, base: Tensor) -> float:
    """Refuse to time two layers that do not do the same.

    Args:
        ours: MoME layer, called as (x, base).
        loop: the reference.
        x: [B, N, H].
        base: [B, N, H].

    Returns:
        Largest difference as a share of the largest mixture value.

    Raises:
        ValueError: the difference is beyond rounding in the dtype of x.
    """
    nothing = torch.zeros_like(base)  # the mixture alone: beside a large base an error would hide
    expected = loop(x, nothing).float()
    scale = expected.abs().max().clamp(min=1e-12)
    apart = float((ours(x, nothing).float() - expected).abs().max() / scale)
    whole = float((ours(x, base).float() - loop(x, base).float()).abs().max())
    room = TOLERANCE[x.dtype] * max(1.0, float(base.float().abs().max()))
    if not (apart <= TOLERANCE[x.dtype] and whole <= room):
        raise ValueError(
            f"the layer differs from the loop over experts by {apart:.2g} of its largest value "
            f"at {list(x.shape)} {x.dtype}: nothing was timed"
        )
    return apart
