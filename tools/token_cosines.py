"""How alike the tokens of two rates are before the LLM: cosines of projected and pooled tokens.

Data: the streams of one clip at several rates -> matrices [N, M], and their means over clips.
Pooling alone makes neighbouring rates alike; the pooled tokens before the projector show how much.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, Literal

import torch
from agreement import overlap
from expert_tally import mean_interval, rounded
from torch import Tensor

from avsr.model import AvsrModel
from avsr.rates import Rates
from avsr.streams import Budget, TokenStream
from avsr.views import Features, View

Stage = Literal["projected", "pooled"]


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """[N, D], [M, D] -> [N, M]; a zero vector is alike to nothing."""
    one, other = (torch.nn.functional.normalize(x.float(), dim=-1) for x in (first, second))
    return one @ other.mT


class Cosines:
    """Sums over clips for every two streams of a model."""

    def __init__(self) -> None:
        self._clips: dict[tuple[Stage, str, str], list[tuple[float | None, float]]]
        self._clips = defaultdict(list)
        self._first: dict[tuple[Stage, str, str], Tensor] = {}

    @torch.inference_mode()
    def add(self, model: AvsrModel, features: Features) -> None:
        """Compare the streams of one clip, at all trained rates of the modalities that it has.

        Args:
            model: in eval mode.
            features: of this clip alone, batch 1.
        """
        stages: dict[Stage, Mapping[str, TokenStream]] = {
            "projected": model.tokens(
                features, [View(0, pair) for pair in _alone(model, features)]
            ),
            "pooled": dict(_pooled(model, features)),
        }
        for stage, streams in stages.items():
            for one, other in combinations(streams, 2):
                a, b = streams[one], streams[other]
                if a.x.shape[-1] == b.x.shape[-1] and _comparable(stage, one, other):
                    self._compare((stage, one, other), a, b)

    def _compare(self, key: tuple[Stage, str, str], a: TokenStream, b: TokenStream) -> None:
        n, m = int(a.lengths[0]), int(b.lengths[0])
        if n == 0 or m == 0:
            return
        matrix = cosines(a.x[0, :n], b.x[0, :m]).cpu()
        spans = [(s.t0[0, :size].cpu(), s.t1[0, :size].cpu()) for s, size in ((a, n), (b, m))]
        shared = overlap(*spans)
        total = float(shared.sum())
        aligned = float((matrix * shared).sum()) / total if total > 0 else None
        self._clips[key].append((aligned, float(matrix.mean())))
        self._first.setdefault(key, matrix)

    def to_list(self, seed: int) -> list[dict[str, Any]]:
        """One row for each two streams: means over clips, and the first clip's matrix."""
        return [
            {
                "stage": key[0],
                "first": key[1],
                "second": key[2],
                "clips": len(clips),
                "aligned": mean_interval([a for a, _ in clips if a is not None], seed),
                "any": mean_interval([b for _, b in clips], seed),
                "matrix": rounded(self._first[key]),
            }
            for key, clips in self._clips.items()
        ]


def _alone(model: AvsrModel, features: Features) -> list[Rates]:
    """Each trained rate by itself."""
    audio = () if features.audio is None else model.rates["audio"]
    video = () if features.video is None else model.rates["video"]
    return [Rates(rate, None) for rate in audio] + [Rates(None, rate) for rate in video]


def _pooled(model: AvsrModel, features: Features) -> Iterator[tuple[str, TokenStream]]:
    for kind, stream in (("audio", features.audio), ("video", features.video)):
        if stream is not None:
            budgets = [Budget.rate(rate) for rate in model.rates[kind]]
            short = model.compressors[kind].multi(stream, budgets)
            yield from zip((f"{kind}_{r}" for r in model.rates[kind]), short, strict=True)


def _comparable(stage: Stage, one: str, other: str) -> bool:
    """Two towers have no space in common, even where their widths agree by accident."""
    return stage == "projected" or one.split("_")[0] == other.split("_")[0]
