"""What the routers choose for one clip, by kind of position, and what random routers would choose.

Data: tower features and a transcript -> LLM sequences at several rate pairs -> Choices by kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from agreement import Choices
from torch import Tensor

from avsr.expert_use import Kind, positions
from avsr.model import AvsrModel
from avsr.rates import Rates
from avsr.streams import TokenStream
from avsr.views import Features, View
from experts import Mome, Row
from experts.attach import find_decoder_layers
from experts.kernel import Shape, choose

Router = Literal["trained", "random"]
Span = tuple[Tensor, Tensor]  # start and end of each token in seconds


@dataclass(frozen=True)
class Reading:
    """One clip read at one rate pair.

    Args:
        rates: the pair.
        choices: router -> kind -> what was chosen at the positions of that kind, in order.
        spans: kind -> times of its tokens, for audio and video.
    """

    rates: Rates
    choices: Mapping[Router, Mapping[Kind, Choices]]
    spans: Mapping[Kind, Span]


def random_routers(mome: Mome, seed: int) -> list[Tensor]:
    """A router of random weights for each layer, as large as the trained one.

    Returns:
        [E, H] for each layer, the same for every rate, with the trained router's root mean square,
        so that the gates are as sharp as a linear map of that size makes them.
    """
    generator = torch.Generator().manual_seed(seed)
    trained = [
        layer.get_parameter("router").detach().float().cpu()[: mome.config.routed]
        for layer in mome.layers
    ]
    return [torch.randn(w.shape, generator=generator) * w.square().mean().sqrt() for w in trained]


@torch.inference_mode()
def read(
    model: AvsrModel,
    features: Features,
    pairs: Sequence[Rates],
    text: str,
    routers: Sequence[Tensor],
) -> list[Reading]:
    """Run one clip at several rate pairs with its transcript given, and note every choice.

    Args:
        model: in eval mode, with method "mome".
        features: of this clip alone, batch 1.
        pairs: rate pairs, in one LLM batch.
        text: transcript, which the LLM reads after the instruction.
        routers: the control's, from `random_routers`.
    """
    mome = model.adapter
    assert isinstance(mome, Mome)
    views = [View(0, pair) for pair in pairs]
    ids = torch.tensor(model.tokenizer.encode(text), dtype=torch.long)
    batch = model.sequences(features, views, [ids])
    rows = [view.kind for view in views]
    watched = mome.tokens(batch.mask, rows=rows, collect="routing")
    with watched, _shadow(model, mome, routers, rows) as shadow:
        model.llm.model(
            inputs_embeds=batch.embeds, attention_mask=batch.mask.long(), use_cache=False
        )
    trained = Choices(
        torch.stack([layer.index for layer in mome.routing()]).cpu(),
        torch.stack([layer.weight for layer in mome.routing()]).float().cpu(),
    )  # [L, B, N, K]
    everyone: dict[Router, Choices] = {
        "trained": trained,
        "random": Choices(
            torch.stack([shadow[n].index for n in sorted(shadow)]),
            torch.stack([shadow[n].weight for n in sorted(shadow)]),
        ),
    }
    streams = model.tokens(features, views)
    out = []
    for row, pair in enumerate(pairs):
        spans = spans_of(streams, pair)
        sizes: dict[Kind, int] = {"text": len(ids)}
        sizes |= {kind: len(span[0]) for kind, span in spans.items()}
        where = positions(model, pair, sizes)
        real = int(batch.mask[row].sum())
        if sum(map(len, where.values())) != real:
            raise AssertionError(f"{real} tokens were read at {pair}, not those laid out: {sizes}")
        choices: dict[Router, Mapping[Kind, Choices]] = {
            router: {
                k: Choices(c.index[:, row, at], c.weight[:, row, at]) for k, at in where.items()
            }
            for router, c in everyone.items()
        }
        out.append(Reading(pair, choices, spans))
    return out


def spans_of(streams: Mapping[str, TokenStream], rates: Rates) -> dict[Kind, Span]:
    """Times of the audio and video tokens of a batch of one clip at a rate pair."""
    out: dict[Kind, Span] = {}
    kinds: tuple[tuple[Kind, int | None], ...] = (("audio", rates.audio), ("video", rates.video))
    for kind, rate in kinds:
        if rate is not None:
            stream = streams[f"{kind}_{rate}"]
            count = int(stream.lengths[0])
            out[kind] = stream.t0[0, :count].cpu(), stream.t1[0, :count].cpu()
    return out


@contextmanager
def _shadow(
    model: AvsrModel, mome: Mome, routers: Sequence[Tensor], rows: Sequence[Row]
) -> Iterator[dict[int, Choices]]:
    """Let other routers choose, beside the real ones, from the very same hidden states.

    Nothing they choose is carried out: the LLM runs as ever.
    """
    config = mome.config
    shape = Shape(
        config.routed,
        config.shared,
        config.top_k,
        config.rank,
        config.renorm,
        config.alpha,
        config.activation,
    )

    def norm(row: Row) -> str:
        """The layer whose output a row's router reads."""
        ffn = {"ffn": True, "task": row.task == "v"}.get(config.placement, False)
        return "post_attention_layernorm" if ffn else "input_layernorm"

    groups: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(norm(row), []).append(number)
    found: dict[int, Choices] = {}

    def watch(number: int, router: Tensor, mine: Sequence[int]) -> Any:
        def hook(module: Any, args: Any, output: Tensor) -> None:
            hidden = output[list(mine)].float().cpu()
            choice = choose(hidden.flatten(0, 1), router, shape)
            size = (len(rows), output.shape[1], config.top_k)
            if number not in found:
                found[number] = Choices(
                    choice.experts.new_zeros(size), choice.weight.new_zeros(size)
                )
            found[number].index[list(mine)] = choice.experts.view(len(mine), *size[1:])
            found[number].weight[list(mine)] = choice.weight.view(len(mine), *size[1:])

        return hook

    blocks = find_decoder_layers(model.llm)
    handles = [
        getattr(block, name).register_forward_hook(watch(number, router, mine))
        for number, (block, router) in enumerate(zip(blocks, routers, strict=True))
        for name, mine in groups.items()
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
