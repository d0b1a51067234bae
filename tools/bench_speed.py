"""Where the time of a recogniser goes: towers, compressor, projector, prefill, decoding.

Data: recogniser, a clip -> medians and quartiles of seconds, and MACs, of each stage.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from avsr.compress import Guide
from avsr.prepare import Prepared
from avsr.rates import Rates
from avsr.streams import Budget
from avsr.views import View

WARM, REPEATS = 3, 7
STAGES = ("sound tower", "lip tower", "compressor", "projector", "prefill", "whole text")


def timed(work: Callable[[], object], *, warm: int = WARM, repeats: int = REPEATS) -> list[float]:
    """Lower quartile, median and upper quartile of seconds, some calls before them not counted."""
    for _ in range(warm):
        work()
    spent = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return statistics.quantiles(spent, n=4)


def macs(work: Callable[[], object]) -> float:
    """Multiply-accumulates of matrix products and convolutions, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 2


@torch.inference_mode()
def stages(recogniser: Any, raw: Prepared, clip: Prepared, rates: Rates) -> dict[str, Any]:
    """Time each stage by itself, batch of one.

    Args:
        recogniser: with its method.
        raw: the clip as decoded, for the towers.
        clip: the same with features.
        rates: rate pair of both streams.

    Returns:
        Seconds (quartiles) and MACs of each stage; "whole text" is all of the language model's
        part: compressor, projector, prefill and decoding. With them the tokens and the load of
        the machine, which should be nought.
    """
    model = recogniser.model
    features, views = recogniser.features([clip]), [View(0, rates)]
    streams = {"audio": features.audio, "video": features.video}
    asked = {"audio": rates.audio, "video": rates.video}

    def tower(kind: str) -> Callable[[], object]:
        empty = {"wave": None, "crops": None, "audio": None, "video": None}
        source = {"audio": "wave", "video": "crops"}[kind]
        alone = {**empty, source: getattr(raw, source)}
        return lambda: recogniser.encode([replace(raw, **alone, timing={})])

    def compress() -> dict[str, Any]:
        out = {}
        for kind, other in (("audio", "video"), ("video", "audio")):
            compressor = model.compressor_of(kind)
            known = Guide(other=streams[other])
            if "density" in compressor.reads:
                known = known._replace(density=model.density(streams[kind], kind))
            out[kind] = compressor(streams[kind], Budget.rate(asked[kind]), known)
        return out

    short = compress()

    def project() -> dict[str, Any]:
        return {kind: model.project(short[kind], kind, asked[kind]) for kind in short}

    batch = model.lay_out(model.tokens(features, views), views)

    def prefill() -> object:
        with model.adapter.reading([view.kind for view in views]):
            hidden = model.llm.model(
                inputs_embeds=batch.embeds, attention_mask=batch.mask.long(), use_cache=True
            ).last_hidden_state
            return model.llm.lm_head(hidden[:, -1])  # the first token of the text

    works: Mapping[str, Callable[[], object]] = dict(
        zip(
            STAGES,
            (
                tower("audio"),
                tower("video"),
                compress,
                project,
                prefill,
                lambda: recogniser.recognise([clip], modality="av", rates=rates),
            ),
            strict=True,
        )
    )
    (made,) = recogniser.recognise([clip], modality="av", rates=rates)
    return {
        "seconds": {name: timed(work) for name, work in works.items()},
        "macs": {name: macs(work) for name, work in works.items()},
        "tokens": {kind: int(s.lengths.sum()) for kind, s in short.items()},
        "text_tokens": made.tokens["text"],
        "load": os.getloadavg()[0],
    }
