"""Low-rank adapters on a frozen LLM's queries and values: the baseline MoME is compared with.

LLM -> Lora. Llama-AVSR (arXiv 2409.12319) adapts its LLM so; the layers themselves are peft's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from experts.attach import Collect, find_decoder_layers

_NAME = "default"  # peft's own name of a first adapter
_TARGETS = ("q_proj", "v_proj")


@dataclass(frozen=True)
class LoraConfig:
    """Sizes of the adapters.

    Args:
        rank: width of each bottleneck.
        alpha: the update is scaled by alpha / rank.

    Raises:
        ValueError: sizes that make no adapter.
    """

    rank: int = 16
    alpha: int = 32

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha < 1:
            raise ValueError(f"rank={self.rank} and alpha={self.alpha} must be at least 1")


class Lora(nn.Module):
    """The low-rank layers of one LLM. Made by `attach_lora`; answers to what `Mome` answers to.

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

    @property
    def stored_parameters(self) -> int:
        """Parameters in memory, over all layers."""
        return sum(p.numel() for p in self.parameters())

    @property
    def active_parameters(self) -> int:
        """Parameters that act on one token: all of them."""
        return self.stored_parameters

    @contextmanager
    def tokens(
        self, mask: Tensor, *, groups: Tensor | None = None, collect: Collect = "balance"
    ) -> Iterator[None]:
        """A low-rank layer routes nothing, so there is nothing to collect."""
        yield

    def balance_loss(self) -> Tensor:
        """Zero: no router is there to be balanced."""
        return next(self.parameters()).new_zeros(())

    def detach(self) -> None:
        """Put the LLM's own projections back."""
        for attention, name, layer in self._wrapped:
            setattr(attention, name, layer.base_layer)
        self._wrapped = []
        vars(self._llm[0]).pop("peft_config", None)  # peft's note of what it injected


def attach_lora(llm: nn.Module, config: LoraConfig, *, seed: int = 0) -> Lora:
    """Add low-rank layers to the query and value projections of every decoder layer.

    The up-projections start at zero: right after this the LLM's output is equal bit for bit.

    Args:
        llm: causal LM of Llama or Qwen type, frozen.
        config: sizes.
        seed: of the initial weights.

    Returns:
        The trainable module.

    Raises:
        ValueError: unknown architecture, or the LLM already carries low-rank layers.
    """
    from peft import LoraConfig as PeftConfig
    from peft import inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    blocks = find_decoder_layers(llm)
    if any(isinstance(module, LoraLayer) for module in llm.modules()):
        raise ValueError("this LLM already carries low-rank layers; call detach() on them first")
    settings = PeftConfig(
        r=config.rank, lora_alpha=config.alpha, target_modules=list(_TARGETS), lora_dropout=0.0
    )
    with torch.random.fork_rng(devices=[]):  # peft draws from the global generator
        torch.manual_seed(seed)
        inject_adapter_in_model(settings, llm)
    wrapped: list[tuple[nn.Module, str, Any]] = []
    for block in blocks:
        attention = block.get_submodule("self_attn")
        wrapped += [(attention, name, getattr(attention, name)) for name in _TARGETS]
    lora = Lora(llm, wrapped)
    lora.float().requires_grad_(True)
    return lora
