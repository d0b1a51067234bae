"""Digests that tell one frozen part from another, whatever dtype it is held in.

Data: LLM or tower -> 32 hex digits, stored with what was trained beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from avsr.errors import ModelError

__all__ = ["check_towers", "llm_fingerprint", "tower_fingerprint", "tower_fingerprints"]

SOME = 64  # numbers of each tensor of a tower, or rows of an LLM's embeddings, that are looked at


def llm_fingerprint(llm: Any) -> str:
    """Digest of every parameter's name and shape, the last norm and some embeddings.

    Args:
        llm: causal LM from transformers.
    """
    probes = (llm.model.norm.weight, llm.get_input_embeddings().weight[:SOME])
    return _digest(llm.named_parameters(), probes)


def tower_fingerprint(tower: nn.Module) -> str:
    """Digest of every parameter's name and shape, and of some numbers of each.

    Args:
        tower: of sound or lips, without low-rank layers.
    """
    named = list(tower.named_parameters())
    return _digest(named, (parameter.flatten()[:SOME] for _, parameter in named))


def tower_fingerprints(towers: Mapping[str, object]) -> dict[str, str]:
    """Digests by name of those of some towers that are modules."""
    return {
        name: tower_fingerprint(tower)
        for name, tower in towers.items()
        if isinstance(tower, nn.Module)
    }


def check_towers(stored: Mapping[str, str], towers: Mapping[str, object], where: str) -> None:
    """Refuse towers that are not those a model was trained with.

    Args:
        stored: digests by name; what was trained before there were any is not checked.
        towers: by name, None for one that is not there.
        where: the model, for the message.

    Raises:
        ModelError: names the tower.
    """
    for name, found in tower_fingerprints(towers).items():
        if name in stored and stored[name] != found:
            raise ModelError(
                f"the model was trained with another {name} than config.json leads to here",
                where=where,
                todo="Use the tower that config.json names, in the version it was trained with.",
            )


def _digest(named: Iterable[tuple[str, Tensor]], probes: Iterable[Tensor]) -> str:
    hashed = hashlib.sha256()
    for name, parameter in named:
        hashed.update(f"{name} {tuple(parameter.shape)};".encode())
    for probe in probes:
        hashed.update(probe.detach().cpu().to(torch.bfloat16).float().numpy().tobytes())
    return hashed.hexdigest()[:32]
