"""Put a MoME layer beside every decoder layer of a frozen LLM.

LLM of Llama or Qwen type -> Mome. Equations 4-5 of arXiv 2510.04136; the hooks are experts/hooks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from experts.adapter import Adapter, Collect
from experts.balance import token_share
from experts.hooks import find_decoder_layers, home, install, read_weights, refuse_second
from experts.kernel import router_load
from experts.mome import MomeConfig, MomeLayer
from experts.routing import LayerRouting
from experts.rows import Row, RowContext, Rule, by_scale, group


@dataclass
class _Request:
    """What the current `tokens` context wants from each layer, and what it got."""

    mask: Tensor
    collect: Collect
    share: Tensor | None
    balance: dict[int, Tensor] = field(default_factory=dict)
    load: dict[int, Tensor] = field(default_factory=dict)
    routing: dict[int, LayerRouting] = field(default_factory=dict)


class _Board:
    """The statistics shared by all branches of one Mome: the open request and the last one."""

    def __init__(self) -> None:
        self.open: _Request | None = None
        self.last: _Request | None = None
        self.load: dict[int, Tensor] = {}  # since the last `settle`

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles begin without the last pass, whose graph cannot be copied."""
        return {**vars(self), "open": None, "last": None}


class _Branch:
    """One layer beside its block: adds the mixture, and records what the open request wants."""

    def __init__(
        self,
        number: int,
        layer: MomeLayer,
        board: _Board,
        rows: RowContext,
        rule: Rule | None,
    ) -> None:
        self.number, self.layer, self.board = number, layer, board
        self.rows, self.rule = rows, rule  # the rule says which router a row asks

    def __call__(self, x: Tensor, base: Tensor) -> Tensor:
        request = self.board.open
        owner = None if self.rule is None else self._owner(x, self.rule)
        if request is None or request.collect == "none":
            return self.layer.run(x, base, None, owner)[0]
        return self._collect(x, base, request, owner)

    def _owner(self, x: Tensor, rule: Rule) -> Tensor:
        """[B*N] router of each token."""
        found = self.rows.look(rule, x.shape[0], x.device)
        if isinstance(found, int):
            return torch.full((x.shape[0] * x.shape[1],), found, device=x.device)
        return found.repeat_interleave(x.shape[1])

    def _collect(self, x: Tensor, base: Tensor, request: _Request, owner: Tensor | None) -> Tensor:
        if x.shape[:2] != request.mask.shape:
            raise ValueError(
                f"tokens() was given a mask {list(request.mask.shape)}, but the LLM runs on "
                f"{list(x.shape[:2])} tokens; open it around one forward pass, not around generate"
            )
        share = request.share if self.layer.training else None
        steer = self.layer.steer
        out, balance, index, weight = self.layer.run(
            x, base, share if steer is None else None, owner
        )
        if steer is not None and share is not None:
            request.load[self.number] = router_load(index, share, steer, owner)
        # By number: a pass recomputed for its gradients overwrites its own record, adds none.
        if balance is not None:
            request.balance[self.number] = balance
        if request.collect == "routing":
            size = (*x.shape[:2], -1)
            request.routing[self.number] = LayerRouting(
                index.detach().view(size), weight.detach().view(size), request.mask
            )
        return out


class Mome(Adapter):
    """The MoME layers of one LLM, and the hooks that tie them to it. Made by `attach`.

    Holds the layers only; the LLM is not a submodule, so `parameters()` and `state_dict()` are
    exactly what is trained.
    """

    def __init__(
        self,
        layers: list[MomeLayer],
        config: MomeConfig,
        board: _Board,
        rows: RowContext,
        scales: Sequence[Row],
    ) -> None:
        super().__init__(rows, scales)
        self.layers = nn.ModuleList(layers)
        self.config = config
        self._board = board

    @property
    def stored_parameters(self) -> int:
        """Parameters in memory, over all layers."""
        count = len(self.scales)
        return sum(self.config.stored(layer.hidden, count) for layer in self._each())

    @property
    def active_parameters(self) -> int:
        """Parameters that act on one token, over all layers."""
        return sum(self.config.active(layer.hidden) for layer in self._each())

    def kept_by_scale(self, name: str) -> bool:
        """Routers of their own, and what steers them."""
        return bool(self.scales) and name.rsplit(".", 1)[1] in ("router", "steer")

    @contextmanager
    def tokens(
        self,
        mask: Tensor,
        *,
        rows: Sequence[Row] | None = None,
        groups: Tensor | None = None,
        collect: Collect = "balance",
    ) -> Iterator[None]:
        """Collect routing statistics of the forward pass inside the context.

        Args:
            mask: [B, N] bool, True for real tokens; padding is left out of every statistic.
            rows: rates of each row.
            groups: [B] integer group of each row; None makes one of each rate pair of `rows`, or
                one of all where those are not given either.
            collect: "balance" for `balance_loss` (train mode only), "routing" for `routing`.

        Raises:
            ValueError: mask or groups of a wrong shape or dtype.
            RuntimeError: the context is already open.
        """
        if self._board.open is not None:
            raise RuntimeError("tokens() is already open; close it before opening another")
        if mask.ndim != 2 or mask.dtype != torch.bool:
            raise ValueError(f"mask must be bool [B, N], not {mask.dtype} {list(mask.shape)}")
        wanted = collect == "balance" and self.training and self.config.balance != "none"
        if groups is None and rows is not None:
            groups = group(rows)
        share = token_share(mask, groups) if wanted else None
        with ExitStack() as stack:
            if rows is not None:
                stack.enter_context(self.reading(rows))
            request = self._board.open = self._board.last = _Request(mask, collect, share)
            try:
                yield
            finally:
                self._board.open = None
                for number, load in request.load.items():
                    known = self._board.load.get(number)
                    self._board.load[number] = load if known is None else known + load

    def balance_loss(self) -> Tensor:
        """Load-balance loss of the last forward pass under `tokens` that collected it.

        Without its coefficient: routed * sum_n f_n P_n with f counted over the K slots of a token
        (so sum f = K and perfect balance gives K), mean over groups and layers (arXiv 2510.04136,
        section 3.2).

        Returns:
            Scalar float32; zero where the last pass was in eval mode, which collects none, or the
            balance is not the paper's.

        Raises:
            RuntimeError: in train mode, no forward pass collected it, or one without gradients did.
        """
        last = self._board.last
        if last is not None and last.balance:
            loss = torch.stack([last.balance[n] for n in sorted(last.balance)]).mean()
            trainable = any(layer.router.requires_grad for layer in self._each())
            if torch.is_grad_enabled() and trainable and not loss.requires_grad:
                raise RuntimeError(
                    "the balance loss was collected without gradients: under torch.no_grad(), or "
                    "under gradient checkpointing, which must be given use_reentrant=False"
                )
            return loss
        if self.training and self.config.balance == "paper":
            raise RuntimeError("no balance loss: run the LLM inside `with mome.tokens(mask)` first")
        return next(self.parameters()).new_zeros(())

    @torch.no_grad()
    def settle(self) -> None:
        """Move each expert's bias one step against its load since the last call.

        The load of all processes counts: each of them must call. Without balance "bias" nothing
        happens.
        """
        if self.config.balance != "bias":
            return
        steers = [layer.steer for layer in self._each() if layer.steer is not None]
        seen = self._board.load
        load = torch.stack([seen.get(n, torch.zeros_like(s)) for n, s in enumerate(steers)])
        seen.clear()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(load)
        error = load.mean(-1, keepdim=True) - load  # positive where too few came
        for steer, one in zip(steers, error, strict=True):
            steer += self.config.balance_step * one.sign()

    def routing(self) -> tuple[LayerRouting, ...]:
        """Each layer's choice in the last forward pass under `tokens(mask, collect="routing")`.

        Raises:
            RuntimeError: no forward pass collected it.
        """
        last = self._board.last
        if last is None or not last.routing:
            raise RuntimeError(
                'no routing: run the LLM inside `with mome.tokens(mask, collect="routing")` first'
            )
        return tuple(last.routing[n] for n in sorted(last.routing))

    def _each(self) -> Iterator[MomeLayer]:
        for layer in self.layers:
            assert isinstance(layer, MomeLayer)
            yield layer


def attach(
    llm: nn.Module, config: MomeConfig, *, scales: Sequence[Row] = (), seed: int = 0
) -> Mome:
    """Add a MoME layer to every decoder layer of a Llama- or Qwen-type LLM.

    The LLM's own modules and weights stay untouched, and right after this its output is equal bit
    for bit. Freezing the LLM is the caller's business.

    Args:
        llm: causal LM, or its decoder stack, or a PEFT model around it.
        config: sizes and placement.
        scales: trained rate pairs; of no concern where one router serves all.
        seed: of the initial weights.

    Returns:
        The trainable module, on the devices of the layers it sits beside.

    Raises:
        ValueError: unknown architecture, no rate pairs for routers that need them, or the LLM
            already carries an adapter.
    """
    own = tuple(scales) if config.routers == "scale" else ()
    if config.routers == "scale" and len(own) == 0:
        raise ValueError("a router for each rate pair needs at least 1 rate pair, got 0")
    blocks = find_decoder_layers(llm)
    refuse_second(blocks)
    generator = torch.Generator().manual_seed(seed)
    board, rows = _Board(), RowContext()
    layers: list[MomeLayer] = []
    for weight in read_weights(blocks, config.placement):
        layer = MomeLayer(
            weight.shape[-1],
            config,
            generator=generator,
            device=home(weight),
            scales=len(own),
        )
        layers.append(layer.to(weight.device))
    mome = Mome(layers, config, board, rows, own)
    rule = by_scale(own) if own else None
    branches = [_Branch(n, layer, board, rows, rule) for n, layer in enumerate(layers)]
    mome._handles += install(blocks, branches, config.placement, rows)
    return mome
