"""Banks of low-rank layers of which each row of a batch uses its own: the Matryoshka baselines.

LLM -> LoraBanks. Llama-MTSK (arXiv 2503.06362) keeps one set of low-rank layers for all rates, one
a rate pair, or both; Omni-AVSR (arXiv 2511.07253) one for all tasks, one a task, or both. All
sit on the queries and values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experts.adapter import Adapter
from experts.hooks import find_decoder_layers, home
from experts.lora import find_targets
from experts.rows import TASKS, Row, RowContext, Rule, by_scale
from experts.sizes import low_rank

Bank: TypeAlias = Literal["shared", "scale", "task"]


@dataclass(frozen=True)
class BanksConfig:
    """Sizes of the low-rank layers, and which banks of them there are.

    Args:
        banks: "shared" is used by every row, "scale" holds one set a rate pair, "task" one a task.
        rank: width of each bottleneck.
        alpha: the update is scaled by alpha / rank, the sum of banks before.
        targets: projections of the attention that are adapted.

    Raises:
        ValueError: sizes that make no adapter.
    """

    banks: tuple[Bank, ...] = ("shared",)
    rank: int = 16
    alpha: int = 32
    targets: tuple[str, ...] = ("q_proj", "v_proj")

    def __post_init__(self) -> None:
        object.__setattr__(self, "banks", tuple(self.banks))  # a list, read from JSON
        known = get_args(Bank)
        if not self.banks or len(set(self.banks)) < len(self.banks) or set(self.banks) - set(known):
            raise ValueError(f"banks={self.banks} must be some of {known}, each once")
        names = low_rank(self.rank, self.alpha, self.targets)
        object.__setattr__(self, "targets", names)


class BankLayer(nn.Module):
    """Low-rank updates of one projection, several of each kind of bank.

    Args:
        inputs: width of what the projection reads.
        outputs: width of what it writes.
        counts: sets in each bank.
        config: sizes.
        generator: source of the initial weights; up-projections start at zero.
        device: where the parameters live.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        counts: Sequence[tuple[Bank, int]],
        config: BanksConfig,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.scale = config.alpha / config.rank
        self.down, self.up = nn.ParameterDict(), nn.ParameterDict()
        for bank, count in counts:
            down = torch.zeros(count, config.rank, inputs, dtype=torch.float32, device=device)
            if not down.is_meta:
                bound = 1 / math.sqrt(inputs)  # kaiming_uniform(a=sqrt(5)), as peft's
                down.uniform_(-bound, bound, generator=generator)
            self.down[bank] = nn.Parameter(down)
            self.up[bank] = nn.Parameter(
                torch.zeros(count, outputs, config.rank, dtype=torch.float32, device=device)
            )

    def forward(self, x: Tensor, base: Tensor, chosen: Sequence[tuple[Bank, int | Tensor]]) -> Any:
        """Sum of base and the updates that the rows chose.

        Args:
            x: [B, N, inputs].
            base: [B, N, outputs].
            chosen: of each bank the set of all rows, or of each row [B].

        Returns:
            [B, N, outputs] in the dtype of base.
        """
        update: Tensor | None = None
        for bank, which in chosen:
            down, up = self.down[bank][which], self.up[bank][which]  # [r, in] or [B, r, in]
            if isinstance(which, int):
                part = F.linear(F.linear(x, down.to(x.dtype)), up.to(x.dtype))
            else:
                part = x @ down.mT.to(x.dtype) @ up.mT.to(x.dtype)
            update = part if update is None else update + part
        assert update is not None
        return base + (update * self.scale).to(base.dtype)


class _Hook:
    """Hook on a projection: adds the updates of the rows' banks to its output."""

    def __init__(self, layer: BankLayer, rules: dict[Bank, Rule | None], rows: RowContext) -> None:
        self.layer, self.rules, self.rows = layer, rules, rows

    def __call__(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        x = args[0]
        chosen = [
            (bank, 0 if rule is None else self.rows.look(rule, x.shape[0], x.device))
            for bank, rule in self.rules.items()
        ]
        out: Tensor = self.layer(x, output, chosen)
        return out


class LoraBanks(Adapter):
    """The low-rank layers of one LLM. Made by `attach_banks`."""

    def __init__(
        self,
        layers: list[BankLayer],
        config: BanksConfig,
        counts: Sequence[tuple[Bank, int]],
        rows: RowContext,
        scales: Sequence[Row],
    ) -> None:
        super().__init__(rows, scales)
        self.layers = nn.ModuleList(layers)  # layer by layer, in each as `config.targets`
        self.config, self.counts = config, dict(counts)

    @property
    def active_parameters(self) -> int:
        """Parameters that act on one token: one set of each bank."""
        named = self.named_parameters()
        return sum(p.numel() // self.counts[_bank(name)] for name, p in named)

    def kept_by_scale(self, name: str) -> bool:
        """The banks of one set a rate pair."""
        return bool(_bank(name) == "scale")


def _bank(name: str) -> Any:
    return name.rsplit(".", 1)[1]


def _rules(banks: Sequence[Bank], scales: Sequence[Row]) -> dict[Bank, Rule | None]:
    """How a row chooses its set in each bank."""
    rules: dict[Bank, Rule | None] = {
        "shared": None,
        "scale": by_scale(scales),
        "task": _task,
    }
    return {bank: rules[bank] for bank in banks}


def _task(row: Row) -> int:
    """Number of a row's task."""
    return TASKS.index(row.task)


def attach_banks(
    llm: nn.Module, config: BanksConfig, *, scales: Sequence[Row] = (), seed: int = 0
) -> LoraBanks:
    """Add the banks to every decoder layer; right after this the LLM is equal bit for bit.

    Args:
        llm: causal LM of Llama or Qwen type, frozen.
        config: sizes and banks.
        scales: trained rate pairs: a "scale" bank holds a set for each of them.
        seed: of the initial weights.

    Raises:
        ValueError: unknown architecture, no such projections, no rate pairs for a bank that needs
            them, or the LLM already carries low-rank layers.
    """
    blocks = find_decoder_layers(llm)
    projections = find_targets(blocks, config.targets)
    if any(isinstance(h, _Hook) for p in projections for h in p._forward_hooks.values()):
        raise ValueError("this LLM already carries low-rank layers; call detach() on them first")
    if "scale" in config.banks and len(scales) == 0:
        raise ValueError("a bank of one set a rate pair needs at least 1 rate pair, got 0")
    sizes: dict[Bank, int] = {"shared": 1, "scale": len(scales), "task": len(TASKS)}
    counts = [(bank, sizes[bank]) for bank in config.banks]
    generator = torch.Generator().manual_seed(seed)
    rows, layers = RowContext(), []
    rules = _rules(config.banks, scales)
    handles = []
    for linear in projections:
        layer = BankLayer(
            linear.in_features,
            linear.out_features,
            counts,
            config,
            generator=generator,
            device=home(linear.weight),
        ).to(linear.weight.device)
        layers.append(layer)
        handles.append(linear.register_forward_hook(_Hook(layer, rules, rows)))
    own = tuple(scales) if "scale" in config.banks else ()
    banks = LoraBanks(layers, config, counts, rows, own)
    banks._handles += handles
    return banks
