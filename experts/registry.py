"""Every method that widens an LLM, by name: its configuration and how it is attached.

A new method is one file and one entry here, which the file may make itself: docs/extend/expert.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from torch import nn

from experts.adapter import Adapter
from experts.attach import attach
from experts.banks import Bank, BanksConfig, attach_banks
from experts.dense import DenseConfig, attach_dense
from experts.lora import LoraConfig, attach_lora
from experts.mome import MomeConfig
from experts.rows import Row


@dataclass(frozen=True)
class Common:
    """Sizes that several methods start from, so that switching method is one word.

    Args:
        mome: of the experts.
        lora: of low-rank layers.
    """

    mome: MomeConfig = field(default_factory=MomeConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)


@dataclass(frozen=True)
class Method:
    """One way to widen a frozen LLM.

    Args:
        attach: (llm, sizes, scales=trained rate pairs, seed=) -> Adapter.
        start: its sizes before the settings of its own, made from the common ones.
    """

    attach: Callable[..., Adapter]
    start: Callable[[Common], Any]

    def sizes(self, common: Common, settings: Mapping[str, Any]) -> Any:
        """The method's configuration: the common sizes with its own settings over them.

        Raises:
            ValueError: a setting that the method has not, or sizes that make no adapter.
        """
        base = self.start(common)
        known = {f.name for f in fields(base)}
        unknown = sorted(set(settings) - known)
        if unknown:
            raise ValueError(f"unknown settings {unknown}; there are {sorted(known)}")
        return replace(base, **settings)


def _banks(*banks: Bank) -> Method:
    """Low-rank layers of the common sizes in these banks."""

    def start(common: Common) -> BanksConfig:
        lora = common.lora
        return BanksConfig(banks, lora.rank, lora.alpha, lora.targets)

    return Method(attach_banks, start)


METHODS: dict[str, Method] = {
    "mome": Method(attach, lambda common: common.mome),
    "dense": Method(attach_dense, lambda common: DenseConfig(like=common.mome)),
    "lora": Method(attach_lora, lambda common: common.lora),
    "mtsk-ms": _banks("shared"),
    "mtsk-ss": _banks("scale"),
    "mtsk-mss": _banks("shared", "scale"),
    "omni-s": _banks("shared"),
    "omni-t": _banks("task"),
    "omni-st": _banks("shared", "task"),
}


def find_method(name: str) -> Method:
    """The method of a name.

    Raises:
        ValueError: there is none; the message lists those that are.
    """
    if not isinstance(name, str) or name not in METHODS:
        raise ValueError(f"unknown method {name!r}; there are {', '.join(METHODS)}")
    return METHODS[name]


def widen(
    llm: nn.Module, name: str, sizes: Any, *, scales: Sequence[Row] = (), seed: int = 0
) -> Adapter:
    """Attach a method by name.

    Args:
        llm: causal LM of Llama or Qwen type, frozen.
        name: in `METHODS`.
        sizes: from `Method.sizes`.
        scales: trained rate pairs.
        seed: of the initial weights.
    """
    return find_method(name).attach(llm, sizes, scales=scales, seed=seed)
