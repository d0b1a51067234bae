"""Adapters that live inside a frozen LLM: hidden states [B, N, H] -> hidden states [B, N, H].

Dimension letters: B batch, N tokens, H LLM width, E experts, K active, G groups, M = B*N.
"""

from experts.attach import Mome, attach
from experts.lora import Lora, LoraConfig, attach_lora
from experts.mome import MomeConfig, MomeLayer
from experts.routing import LayerRouting

__all__ = [
    "LayerRouting",
    "Lora",
    "LoraConfig",
    "Mome",
    "MomeConfig",
    "MomeLayer",
    "attach",
    "attach_lora",
]
