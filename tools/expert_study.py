"""The study of one model: clips through every rate pair, and a dictionary of all that was found.

Data: Recogniser + manifest items -> figures for JSON (`tools/experts.py` draws them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from agreement import chance
from expert_choices import random_routers, read
from expert_tally import Tally
from token_cosines import Cosines
from torch import Tensor

from avsr.api import Recogniser
from avsr.config import Task
from avsr.errors import AvsrError
from avsr.manifest import Item
from avsr.model import AvsrModel
from avsr.rates import Rates
from avsr.streams import TokenStream
from avsr.views import Features
from experts import Mome

CONTROLS = {
    "random": "the same hidden states through a router of random weights of the same size; the "
    "LLM runs on the trained one's choice",
    "any": "the mean over any two tokens of the clip, whatever their time",
    "chance": "two independent uniform choices, in closed form",
    "pooled": "cosines of the pooled tower features, before any projector",
}
NONE_HERE = "not offered by this checkpoint"


def study(
    recogniser: Recogniser,
    items: Iterable[Item],
    tasks: Sequence[Task],
    *,
    seed: int = 0,
    said: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Run the clips and gather everything.

    Args:
        recogniser: a loaded model of any method; one without MoME has cosines alone.
        items: clips with transcripts.
        tasks: which tasks' rate pairs to read.
        seed: of the random routers and the bootstrap.
        said: takes a line about each clip.

    Returns:
        Figures for JSON; a clip that cannot be read is named under "failed".
    """
    model = recogniser.model
    book = Book(model, seed)
    done, failed = [], []
    for item in items:
        try:
            features = features_of(recogniser, item, tasks)
        except AvsrError as error:
            failed.append({"id": item.id, "error": str(error)})
            said(f"{item.id}: {error}")
            continue
        pairs = [pair for task in tasks for pair in recogniser.pairs(task)]
        book.add(features, [pair for pair in pairs if _has(features, pair)], item.text)
        done.append(item.id)
        said(item.id)
    return {"clips": done, "failed": failed, **book.to_dict()}


class Book:
    """Everything that is summed for one model, whatever its clips come from.

    Args:
        model: in eval mode.
        seed: of the random routers and the bootstrap.
    """

    def __init__(self, model: AvsrModel, seed: int) -> None:
        self.model, self.seed, self.cosines = model, seed, Cosines()
        self.tally: Tally | None = None
        mome = model.adapter
        if isinstance(mome, Mome):
            self.tally = Tally(len(mome.layers), mome.config.routed, mome.config.top_k)
            self._routers = random_routers(mome, seed)

    def add(self, features: Features, pairs: Sequence[Rates], text: str) -> None:
        """Add one clip.

        Args:
            features: of this clip alone, batch 1.
            pairs: rate pairs to read it at.
            text: its transcript.
        """
        self.cosines.add(self.model, features)
        if self.tally is not None and pairs:
            spaced = " " + text  # as training writes it
            self.tally.add(read(self.model, features, pairs, spaced, self._routers))

    def to_dict(self) -> dict[str, Any]:
        """Figures for JSON."""
        out: dict[str, Any] = {
            "method": self.model.config.method,
            "controls": {**CONTROLS, **_absent(self.model)},
            "cosines": self.cosines.to_list(self.seed),
        }
        if self.tally is not None:
            out |= {
                "layers": self.tally.layers,
                "routed": self.tally.routed,
                "top_k": self.tally.top_k,
                "chance_jaccard": chance(self.tally.routed, self.tally.top_k),
                "usage": self.tally.usage(),
                "agreement": self.tally.agreement(self.seed),
            }
        return out


def _absent(model: AvsrModel) -> dict[str, str]:
    """Controls that need another checkpoint; `--control NAME=MODEL` brings one in."""
    if not isinstance(model.adapter, Mome):
        return {"routers": f"{NONE_HERE}: method {model.config.method!r} routes nothing"}
    told = {"no MoME": f"{NONE_HERE}: its projectors were trained with MoME"}
    if model.adapter.config.routers == "shared":
        told["disjoint routers"] = f"{NONE_HERE}: one router serves every rate"
    return told


def features_of(recogniser: Recogniser, item: Item, tasks: Sequence[Task]) -> Features:
    """Tower features of one clip; lips are looked for only where a task needs them."""
    seen = item.has_video and recogniser.video_tower is not None and any("v" in t for t in tasks)
    clip = recogniser.prepare(item.path, modality="auto" if seen else "a")
    recogniser.encode([clip])
    return Features(
        _stream(clip.audio, float(recogniser.audio_tower.hz)), _stream(clip.video, 25.0)
    )


def _stream(x: Tensor | None, hz: float) -> TokenStream | None:
    return None if x is None else TokenStream.from_features(x[None], torch.tensor([len(x)]), hz)


def _has(features: Features, rates: Rates) -> bool:
    """Whether the clip has every modality of the pair."""
    sound = rates.audio is None or features.audio is not None
    return sound and (rates.video is None or features.video is not None)
