"""Adapters that live inside a frozen LLM: hidden states [B, N, H] -> hidden states [B, N, H].

Dimension letters: B batch, N tokens, H LLM width, E experts, K active, G groups, M = B*N.
"""

from experts.adapter import Adapter
from experts.attach import Mome, attach
from experts.banks import BanksConfig, LoraBanks, attach_banks
from experts.dense import Dense, DenseConfig, attach_dense
from experts.lora import Lora, LoraConfig, attach_lora
from experts.mome import MomeConfig, MomeLayer
from experts.registry import METHODS, Common, find_method, widen
from experts.routing import LayerRouting
from experts.rows import Row, Task

__all__ = [
    "METHODS",
    "Adapter",
    "BanksConfig",
    "Common",
    "Dense",
    "DenseConfig",
    "LayerRouting",
    "Lora",
    "LoraBanks",
    "LoraConfig",
    "Mome",
    "MomeConfig",
    "MomeLayer",
    "Row",
    "Task",
    "attach",
    "attach_banks",
    "attach_dense",
    "attach_lora",
    "find_method",
    "widen",
]
