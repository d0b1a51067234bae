"""Put a MoME layer beside every decoder layer of a frozen LLM.

LLM of Llama or Qwen type -> Mome. Equations 4-5 of arXiv 2510.04136; the hooks are experts/hooks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from experts.adapter import Adapter, Collect
from experts.balance import token_share
from experts.hooks import find_decoder_layers, home, install, read_weights, refuse_second
from experts.mome import MomeConfig, MomeLayer
from experts.routing import LayerRouting
from experts.rows import Row, RowContext, group


@dataclass
class _Request:
    """What the current `tokens` context wants from each layer, and what it got."""

    mask: Tensor
    collect: Collect
    share: Tensor | None
    balance: dict[int, Tensor] = field(default_factory=dict)
    routing: dict[int, LayerRouting] = field(default_factory=dict)


class _Board:
    """The statistics shared by all branches of one Mome: the open request and the last one."""

    def __init__(self) -> None:
        self.open: _Request | None = None
        self.last: _Request | None = None


class _Branch:
    """One layer beside its block: adds the mixture, and records what the open request wants."""

    def __init__(self, number: int, layer: MomeLayer, board: _Board) -> None:
        self.number, self.layer, self.board = number, layer, board

    def __call__(self, x: Tensor, base: Tensor) -> Tensor:
        request = self.board.open
        if request is None or request.collect == "none":
            return self.layer.run(x, base)[0]
        return self._collect(x, base, request)

    def _collect(self, x: Tensor, base: Tensor, request: _Request) -> Tensor:
        if x.shape[:2] != request.mask.shape:
            raise ValueError(
                f"tokens() was given a mask {list(request.mask.shape)}, but the LLM runs on "
                f"{list(x.shape[:2])} tokens; open it around one forward pass, not around generate"
            )
        share = request.share if self.layer.training else None
        out, balance, index, weight = self.layer.run(x, base, share)
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
        self, layers: list[MomeLayer], config: MomeConfig, board: _Board, rows: RowContext
    ) -> None:
        super().__init__(rows)
        self.layers = nn.ModuleList(layers)
        self.config = config
        self._board = board

    @property
    def stored_parameters(self) -> int:
        """Parameters in memory, over all layers."""
        return sum(self.config.stored(layer.hidden) for layer in self._each())

    @property
    def active_parameters(self) -> int:
        """Parameters that act on one token, over all layers."""
        return sum(self.config.active(layer.hidden) for layer in self._each())

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
        wanted = collect == "balance" and self.training
        if groups is None and rows is not None:
            groups = group(rows)
        share = token_share(mask, groups) if wanted else None
        with ExitStack() as stack:
            if rows is not None:
                stack.enter_context(self.reading(rows))
            self._board.open = self._board.last = _Request(mask, collect, share)
            try:
                yield
            finally:
                self._board.open = None

    def balance_loss(self) -> Tensor:
        """Load-balance loss of the last forward pass under `tokens`, without its coefficient.

        routed * sum_n f_n P_n with f counted over the K slots of a token (so sum f = K and perfect
        balance gives K), mean over groups and layers (arXiv 2510.04136, section 3.2).

        Returns:
            Scalar float32; zero in eval mode, where it is not computed.

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
        if self.training:
            raise RuntimeError("no balance loss: run the LLM inside `with mome.tokens(mask)` first")
        return next(self.parameters()).new_zeros(())

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
        scales: trained rate pairs, of no concern where one router serves all.
        seed: of the initial weights.

    Returns:
        The trainable module, on the devices of the layers it sits beside.

    Raises:
        ValueError: unknown architecture, or the LLM already carries an adapter.
    """
    blocks = find_decoder_layers(llm)
    refuse_second(blocks)
    generator = torch.Generator().manual_seed(seed)
    board, rows = _Board(), RowContext()
    layers: list[MomeLayer] = []
    for weight in read_weights(blocks, config.placement):
        layer = MomeLayer(weight.shape[-1], config, generator=generator, device=home(weight))
        layers.append(layer.to(weight.device))
    mome = Mome(layers, config, board, rows)
    branches = [_Branch(number, layer, board) for number, layer in enumerate(layers)]
    mome._handles += install(blocks, branches, config.placement, rows)
    return mome
