"""Low-rank adapters on a frozen LLM's queries and values: the baseline MoME is compared with.

LLM -> Lora. Llama-AVSR (arXiv 2409.12319) adapts its LLM so; the layers themselves are peft's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from experts.adapter import Adapter
from experts.hooks import find_decoder_layers
from experts.rows import Row
from experts.sizes import low_rank

_NAME = "default"  # peft's own name of a first adapter


@dataclass(frozen=True)
class LoraConfig:
    """Sizes of the adapters.

    Args:
        rank: width of each bottleneck.
        alpha: the update is scaled by alpha / rank.
        targets: projections of the attention that are adapted.

    Raises:
        ValueError: sizes that make no adapter.
    """

    rank: int = 16
    alpha: int = 32
    targets: tuple[str, ...] = ("q_proj", "v_proj")

    def __post_init__(self) -> None:
        names = low_rank(self.rank, self.alpha, self.targets)
        object.__setattr__(self, "targets", names)


class Lora(Adapter):
    """The low-rank layers of one LLM. Made by `attach_lora`.

    Holds these layers only, so `parameters()` and `state_dict()` are exactly what is trained.
    """

    def __init__(self, llm: nn.Module, wrapped: list[tuple[nn.Module, str, Any]]) -> None:
        super().__init__()
        self._llm = (llm,)  # in a tuple, so that the frozen LLM is no submodule of this
        self._wrapped = wrapped  # (attention, name, peft's layer)
        self.layers = nn.ModuleList(
            nn.ModuleDict({"down": layer.lora_A[_NAME], "up": layer.lora_B[_NAME]})
            for _, _, layer in wrapped
        )

    def detach(self) -> None:
        """Put the LLM's own projections back."""
        for attention, name, layer in self._wrapped:
            setattr(attention, name, layer.base_layer)
        self._wrapped = []
        vars(self._llm[0]).pop("peft_config", None)  # peft's note of what it injected


def attach_lora(
    llm: nn.Module, config: LoraConfig, *, scales: Sequence[Row] = (), seed: int = 0
) -> Lora:
    """Add low-rank layers to the query and value projections of every decoder layer.

    The up-projections start at zero: right after this the LLM's output is equal bit for bit.

    Args:
        llm: causal LM of Llama or Qwen type, frozen.
        config: sizes.
        scales: trained rate pairs, of no concern here: they share all.
        seed: of the initial weights.

    Returns:
        The trainable module.

    Raises:
        ValueError: unknown architecture, no such projections, or the LLM already carries low-rank
            layers.
    """
    from peft import LoraConfig as PeftConfig
    from peft import inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    blocks = find_decoder_layers(llm)
    if any(isinstance(module, LoraLayer) for module in llm.modules()):
        raise ValueError("this LLM already carries low-rank layers; call detach() on them first")
    find_targets(blocks, config.targets)
    settings = PeftConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules=list(config.targets),
        lora_dropout=0.0,
    )
    trained = [p for p in llm.parameters() if p.requires_grad]
    with torch.random.fork_rng(devices=[]):  # peft draws from the global generator
        torch.manual_seed(seed)
        inject_adapter_in_model(settings, llm)
    for parameter in trained:  # peft freezes all that is not its own; that is the caller's business
        parameter.requires_grad_(True)
    wrapped: list[tuple[nn.Module, str, Any]] = []
    for block in blocks:
        attention = block.get_submodule("self_attn")
        wrapped += [(attention, name, getattr(attention, name)) for name in config.targets]
    lora = Lora(llm, wrapped)
    lora.float().requires_grad_(True)
    return lora


def find_targets(blocks: Sequence[nn.Module], targets: Sequence[str]) -> list[nn.Linear]:
    """The named projections of every layer's attention, layer by layer.

    Raises:
        ValueError: some layer has none of such a name.
    """
    found: list[nn.Linear] = []
    for number, block in enumerate(blocks):
        attention = block.get_submodule("self_attn")
        known = {name: m for name, m in attention.named_children() if isinstance(m, nn.Linear)}
        absent = [name for name in targets if name not in known]
        if absent:
            raise ValueError(
                f"layer {number} of {len(blocks)} has no {', '.join(absent)} in its attention; "
                f"there are {', '.join(known)}"
            )
        found += [known[name] for name in targets]
    return found
