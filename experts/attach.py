"""Put a MoME layer beside every decoder layer of a frozen LLM, through forward hooks only.

LLM with `model.layers[i].{input_layernorm, self_attn, post_attention_layernorm, mlp}` -> Mome.
Equations 4-5 of arXiv 2510.04136 and its MHSA and LAYER variants.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from experts.balance import token_share
from experts.mome import MomeConfig, MomeLayer, Placement
from experts.routing import LayerRouting

Collect: TypeAlias = Literal["balance", "routing", "none"]

# placement -> (module whose output is read, module to whose output the mixture is added).
# A decoder layer ends with residual + mlp(...), so "layer" may add to the mlp's output: the same
# sum, and it stays inside the region that gradient checkpointing recomputes.
_PLACES: dict[Placement, tuple[str, str]] = {
    "ffn": ("post_attention_layernorm", "mlp"),
    "mhsa": ("input_layernorm", "self_attn"),
    "layer": ("input_layernorm", "mlp"),
}
_PARTS = ("input_layernorm", "self_attn", "post_attention_layernorm", "mlp")
# Layers that normalise or scale a block's output before the residual are of another kind.
_FOREIGN = (
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
    "residual_multiplier",
)


@dataclass
class _Request:
    """What the current `tokens` context wants from each layer, and what it got."""

    mask: Tensor
    collect: Collect
    share: Tensor | None
    balance: dict[int, Tensor] = field(default_factory=dict)
    routing: dict[int, LayerRouting] = field(default_factory=dict)


class _Board:
    """The statistics shared by all hooks of one Mome: the open request and the last one."""

    def __init__(self) -> None:
        self.open: _Request | None = None
        self.last: _Request | None = None


class _Reader:
    """Hook on a layer norm: hands its output to the adder of the same layer and thread."""

    def __init__(self) -> None:
        self.held: dict[int, Tensor] = {}

    def __call__(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self.held[threading.get_ident()] = output


class _Adder:
    """Hook on a block: adds the mixture of what the reader saw to the block's output."""

    def __init__(self, number: int, layer: MomeLayer, reader: _Reader, board: _Board) -> None:
        self.number, self.layer, self.reader, self.board = number, layer, reader, board

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        x = self.reader.held.pop(threading.get_ident())
        base = output[0] if isinstance(output, tuple) else output
        request = self.board.open
        if request is None or request.collect == "none":
            out = self.layer.run(x, base)[0]
        else:
            out = self._collect(x, base, request)
        return (out, *output[1:]) if isinstance(output, tuple) else out

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


class Mome(nn.Module):
    """The MoME layers of one LLM, and the hooks that tie them to it. Made by `attach`.

    Holds the layers only; the LLM is not a submodule, so `parameters()` and `state_dict()` are
    exactly what is trained.
    """

    def __init__(self, layers: list[MomeLayer], config: MomeConfig, board: _Board) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.config = config
        self._board = board
        self._handles: list[RemovableHandle] = []

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
        groups: Tensor | None = None,
        collect: Collect = "balance",
    ) -> Iterator[None]:
        """Collect routing statistics of the forward pass inside the context.

        Args:
            mask: [B, N] bool, True for real tokens; padding is left out of every statistic.
            groups: [B] integer group (rate pair) of each row; None puts all rows into one.
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
        share = token_share(mask, groups) if wanted else None
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

    def detach(self) -> None:
        """Take every hook out; the LLM is then what it was before `attach`."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _each(self) -> Iterator[MomeLayer]:
        for layer in self.layers:
            assert isinstance(layer, MomeLayer)
            yield layer


def attach(llm: nn.Module, config: MomeConfig, *, seed: int = 0) -> Mome:
    """Add a MoME layer to every decoder layer of a Llama- or Qwen-type LLM.

    The LLM's own modules and weights stay untouched, and right after this its output is equal bit
    for bit. Freezing the LLM is the caller's business.

    Args:
        llm: causal LM, or its decoder stack, or a PEFT model around it.
        config: sizes and placement.
        seed: of the initial weights.

    Returns:
        The trainable module, on the devices of the layers it sits beside.

    Raises:
        ValueError: unknown architecture, or the LLM already carries a MoME.
    """
    decoder_layers = find_decoder_layers(llm)
    reads, adds = _PLACES[config.placement]
    if any(
        isinstance(hook, _Reader)
        for layer in decoder_layers
        for part in _PARTS
        for hook in getattr(layer, part)._forward_hooks.values()
    ):
        raise ValueError("this LLM already carries a MoME; call detach() on it first")
    generator = torch.Generator().manual_seed(seed)
    board = _Board()
    layers: list[MomeLayer] = []
    for block in decoder_layers:
        weight = getattr(block, reads).weight
        meta = torch.device("meta") if weight.is_meta else torch.device("cpu")
        layer = MomeLayer(weight.shape[-1], config, generator=generator, device=meta)
        layers.append(layer.to(weight.device))
    mome = Mome(layers, config, board)
    for number, (block, layer) in enumerate(zip(decoder_layers, layers, strict=True)):
        reader = _Reader()
        adder = _Adder(number, layer, reader, board)
        mome._handles += [
            getattr(block, reads).register_forward_hook(reader),
            getattr(block, adds).register_forward_hook(adder),
        ]
    return mome


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
        raise ValueError(f"{name} has no `model.layers`; MoME needs a Llama- or Qwen-type LLM")
    for number, layer in enumerate(layers):
        missing = [part for part in _PARTS if not hasattr(layer, part)]
        foreign = [part for part in _FOREIGN if hasattr(layer, part)]
        if missing or foreign:
            raise ValueError(
                f"layer {number} of {name} is not of Llama or Qwen type "
                f"(missing: {missing or 'nothing'}, unexpected: {foreign or 'nothing'})"
            )
    return list(layers)
