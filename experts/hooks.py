"""Branches beside the blocks of decoder layers, through forward hooks only.

LLM with `model.layers[i].{input_layernorm, self_attn, post_attention_layernorm, mlp}`, a branch
x [B, N, H] -> [B, N, H] for each layer -> the LLM with branches added. Equations 4-5 of
arXiv 2510.04136 and its MHSA and LAYER variants.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from experts.rows import RowContext, is_lips_alone

Placement: TypeAlias = Literal["ffn", "mhsa", "layer", "task"]
Branch: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # (x, base) -> base + branch of x

# placement -> (modules whose output is read, module to whose output the branch is added).
# A decoder layer ends with residual + mlp(...), so "layer" may add to the mlp's output: the same
# sum, and it stays inside the region that gradient checkpointing recomputes. "task" is "layer",
# but "ffn" for rows of lips alone: their readings differ, their sum is at the same point.
_PLACES: dict[Placement, tuple[tuple[str, ...], str]] = {
    "ffn": (("post_attention_layernorm",), "mlp"),
    "mhsa": (("input_layernorm",), "self_attn"),
    "layer": (("input_layernorm",), "mlp"),
    "task": (("input_layernorm", "post_attention_layernorm"), "mlp"),
}
_PARTS = ("input_layernorm", "self_attn", "post_attention_layernorm", "mlp")
# Layers that normalise or scale a block's output before the residual are of another kind.
_FOREIGN = (
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
    "residual_multiplier",
)


class Reader:
    """Hook on a layer norm: hands its output to the adder of the same layer and thread."""

    def __init__(self) -> None:
        self.held: dict[int, Tensor] = {}

    def __call__(self, module: nn.Module, args: Any, output: Tensor) -> None:
        """Keep the output."""
        self.held[threading.get_ident()] = output


class Adder:
    """Hook on a block: adds the branch of what the readers saw to the block's output.

    Args:
        readers: one, or the two that placement "task" chooses between.
        branch: computes the sum.
        rows: tells which rows read by lips alone.
    """

    def __init__(self, readers: Sequence[Reader], branch: Branch, rows: RowContext) -> None:
        self.readers, self.branch, self.rows = tuple(readers), branch, rows

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        """Output with the branch added."""
        here = threading.get_ident()
        seen = [reader.held.pop(here) for reader in self.readers]
        base = output[0] if isinstance(output, tuple) else output
        out = self.branch(seen[0] if len(seen) == 1 else self._pick(*seen), base)
        return (out, *output[1:]) if isinstance(output, tuple) else out

    def _pick(self, layer: Tensor, ffn: Tensor) -> Tensor:
        which = self.rows.look(is_lips_alone, layer.shape[0], layer.device)
        if isinstance(which, int):
            return ffn if which == 1 else layer
        return torch.where((which == 1)[:, None, None], ffn, layer)


def read_weights(blocks: Sequence[nn.Module], placement: Placement) -> list[Tensor]:
    """Weights [H] of the norm that each layer's branch reads: its width and device."""
    return [block.get_submodule(_PLACES[placement][0][0]).weight for block in blocks]  # type: ignore[misc]


def home(weight: Tensor) -> torch.device:
    """Where new parameters beside a weight are drawn: the CPU, or nowhere on a meta model."""
    return torch.device("meta") if weight.is_meta else torch.device("cpu")


def refuse_second(blocks: Sequence[nn.Module]) -> None:
    """Refuse an LLM that carries branches already.

    Raises:
        ValueError: it does.
    """
    for block in blocks:
        for part in _PARTS:
            if any(isinstance(h, Reader) for h in getattr(block, part)._forward_hooks.values()):
                raise ValueError("this LLM already carries an adapter; call detach() on it first")


def install(
    blocks: Sequence[nn.Module],
    branches: Sequence[Branch],
    placement: Placement,
    rows: RowContext,
) -> list[RemovableHandle]:
    """Hang one branch beside each layer.

    Args:
        blocks: from `find_decoder_layers`.
        branches: as many.
        placement: where they read and add.
        rows: for placement "task".

    Returns:
        Handles to take the hooks out by.
    """
    reads, adds = _PLACES[placement]
    handles = []
    for block, branch in zip(blocks, branches, strict=True):
        readers = [Reader() for _ in reads]
        for name, reader in zip(reads, readers, strict=True):
            handles.append(block.get_submodule(name).register_forward_hook(reader))
        adder = Adder(readers, branch, rows)
        handles.append(block.get_submodule(adds).register_forward_hook(adder))
    return handles


def find_decoder_layers(llm: nn.Module) -> list[nn.Module]:
    """The decoder layers of a Llama- or Qwen-type model.

    Raises:
        ValueError: the model is built differently; the message names what is missing.
    """
    unwrap = getattr(llm, "get_base_model", None)
    base = llm if unwrap is None else unwrap()
    stack = getattr(base, "model", base)
    layers = getattr(stack, "layers", None)
    name = type(llm).__name__
    if not isinstance(layers, nn.ModuleList) or len(layers) == 0:
        raise ValueError(f"{name} has no `model.layers`; it is no Llama- or Qwen-type LLM")
    for number, layer in enumerate(layers):
        missing = [part for part in _PARTS if not hasattr(layer, part)]
        foreign = [part for part in _FOREIGN if hasattr(layer, part)]
        if missing or foreign:
            raise ValueError(
                f"layer {number} of {name} is not of Llama or Qwen type "
                f"(missing: {missing or 'nothing'}, unexpected: {foreign or 'nothing'})"
            )
    return list(layers)
