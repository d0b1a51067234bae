"""How the experts of one model are used for one clip: by layer and by kind of token.

Data: tower features, a rate pair and a transcript -> share of tokens that choose each expert,
[L, E] a kind of token (figures 5 and 9 of arXiv 2510.04136).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from avsr.errors import ModelError
from avsr.model import AvsrModel
from avsr.rates import Rates
from avsr.svg import heat_map
from avsr.views import Features, View, task_of
from experts import Mome

__all__ = ["ExpertUse", "Kind", "expert_use", "positions"]

Kind: TypeAlias = Literal["audio", "video", "text", "prompt"]
"""Of a token; "prompt" is BOS, the markers and the instruction."""

_NAMES = {
    "all": "all tokens",
    "audio": "sound",
    "video": "lips",
    "text": "text",
    "prompt": "prompt",
}


@dataclass(frozen=True)
class ExpertUse:
    """Which experts one clip's tokens chose.

    Args:
        routed: number of routed experts E.
        top_k: routed experts a token K.
        tokens: number of tokens of each kind, and of "all"; kinds without any are left out.
        share: share of those tokens that chose each expert [L, E]; a layer's sum is K.
    """

    routed: int
    top_k: int
    tokens: Mapping[str, int]
    share: Mapping[str, list[list[float]]]

    def plot(self, kind: str = "all") -> str:
        """Draw layers down, experts across; dark where every token chose an expert.

        Args:
            kind: a key of `share`.

        Returns:
            An SVG document.
        """
        return heat_map(
            self.share[kind],
            title=f"Experts chosen by {self.tokens[kind]} tokens ({_NAMES[kind]}), "
            f"{self.top_k} of {self.routed} a token",
            rows="layer",
            columns="routed expert",
            high=1.0,
        )


def positions(model: AvsrModel, rates: Rates, sizes: Mapping[Kind, int]) -> dict[Kind, Tensor]:
    """Where each kind of token lies in an unpadded sequence, as `avsr.prompt` lays it out.

    Args:
        model: tells whether there is a BOS, and the instructions.
        rates: the modalities that are read.
        sizes: number of audio, video and transcript tokens.
    """
    found: dict[Kind, list[int]] = {"audio": [], "video": [], "text": [], "prompt": []}

    def lay(kind: Kind, count: int) -> None:
        start = sum(map(len, found.values()))
        found[kind] += range(start, start + count)

    lay("prompt", 0 if model.tokenizer.bos_id is None else 1)
    kinds: tuple[tuple[Kind, int | None], ...] = (("audio", rates.audio), ("video", rates.video))
    for kind, rate in kinds:
        if rate is not None:
            lay("prompt", 1)
            lay(kind, sizes[kind])
            lay("prompt", 1)
    lay("prompt", len(model.tokenizer.encode(model.config.prompts[task_of(rates)])))
    lay("text", sizes["text"])
    return {kind: torch.tensor(where, dtype=torch.long) for kind, where in found.items()}


@torch.inference_mode()
def expert_use(model: AvsrModel, features: Features, rates: Rates, text: str) -> ExpertUse:
    """Run one clip with its transcript given, and count every router's choices.

    Args:
        model: in eval mode, with method "mome".
        features: of this clip alone, batch 1.
        rates: the rate pair to read it at.
        text: transcript, which the LLM reads after the instruction.

    Raises:
        ModelError: the model has no routers, or a rate that it was not trained at.
    """
    mome = model.adapter
    if not isinstance(mome, Mome):
        raise ModelError(
            f"a model of method {model.config.method!r} routes nothing, so no experts are chosen",
            todo='Load a model of method "mome".',
        )
    view = View(0, rates)
    ids = torch.tensor(model.tokenizer.encode(text), dtype=torch.long)
    streams = model.tokens(features, [view])
    batch = model.lay_out(streams, [view], [ids])
    with mome.tokens(batch.mask, rows=[view.kind], collect="routing"):
        model.llm.model(
            inputs_embeds=batch.embeds, attention_mask=batch.mask.long(), use_cache=False
        )
    sizes: dict[Kind, int] = {"text": len(ids)}
    kinds: tuple[tuple[Kind, int | None], ...] = (("audio", rates.audio), ("video", rates.video))
    sizes |= {
        kind: int(streams[f"{kind}_{rate}"].lengths[0]) for kind, rate in kinds if rate is not None
    }
    own = positions(model, rates, sizes)
    count = int(batch.mask.sum())
    if sum(map(len, own.values())) != count:
        raise AssertionError(f"{count} tokens were read at {rates}, not those laid out: {sizes}")
    where: dict[str, Tensor] = {"all": torch.arange(count)}
    where.update((kind, at) for kind, at in own.items() if len(at))
    routed, top_k = mome.config.routed, mome.config.top_k
    share = {
        kind: [
            _share(layer.index[0, at.to(layer.index.device)], routed) for layer in mome.routing()
        ]
        for kind, at in where.items()
    }
    return ExpertUse(routed, top_k, {kind: len(at) for kind, at in where.items()}, share)


def _share(chosen: Tensor, routed: int) -> list[float]:
    """[N, K] experts of each token -> share of the tokens that chose each expert [E]."""
    counts = torch.bincount(chosen.flatten().cpu(), minlength=routed)
    shares: list[float] = (counts.double() / len(chosen)).tolist()
    return [round(share, 5) for share in shares]
