"""The real half of the compressors' bench: a trained model reads clips with each method.

Data: model, manifest, methods -> runs as `bench_toy` makes them, by `avsr.evaluate`.
Every method reads at the model's own rates: the first of each modality is step 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

from compare_eval import Metered
from macs import Llm

from avsr.errors import ModelError
from avsr.evaluate import Condition, EvalOptions, evaluate, read_noise
from avsr.loading import load_model
from avsr.manifest import Item, read_manifest
from avsr.rates import Rates

SAMPLES = 100  # `evaluate`'s own intervals are not used


def jobs_of(
    args: argparse.Namespace, names: Sequence[str]
) -> dict[str, Callable[[], dict[str, Any]]]:
    """What measures each method that the model's card lets it; the others are named on the page.

    Raises:
        AvsrError: no manifest, or no such model.
    """
    if args.manifest is None:
        raise ModelError("a model needs clips to read", todo="Give --manifest.")
    items = read_manifest(args.manifest, partial(_chosen, args))[: args.limit]

    @cache
    def loaded() -> Metered:
        return Metered(load_model(args.model), {})  # towers run once for all methods

    return {name: lambda name=name: measured(loaded(), items, name, args) for name in names}


def _chosen(args: argparse.Namespace, item: Item) -> bool:
    return item.split == args.split and args.corpus in (None, item.corpus)


def measured(
    recogniser: Any, items: Sequence[Item], name: str, args: argparse.Namespace
) -> dict[str, Any]:
    """One method's points; a model that refuses it gives none, and says why."""
    try:
        recogniser.use_compressor(name)
    except ModelError as error:
        return {"points": [], "refused": str(error)}
    noise = None if args.noise is None else read_noise(args.noise)
    wanted = asked(recogniser, None if noise is None else args.snr)
    rows = evaluate(
        recogniser, items, list(wanted), options=EvalOptions(samples=SAMPLES), noise=noise
    )
    llm = Llm.of(recogniser.model.llm.config)
    points = [
        {
            "task": row.condition.task,
            "condition": "clean" if row.condition.snr is None else f"{row.condition.snr:g}dB",
            "step": wanted[row.condition],
            "tokens_per_second": row.tokens_per_second or 0.0,
            "rtf": row.rtf,
            "prefill_macs": sum(llm.prefill(one.tokens) for one in row.heard) / len(row.heard),
            "seconds": sum(one.item.duration for one in row.heard),
            "words": [pair.words.reference for pair in row.score.utterances],
            "edits": [pair.words.edits for pair in row.score.utterances],
        }
        for row in rows
    ]
    return {"note": recogniser.compression_note, "points": points}


def asked(recogniser: Any, snr: float | None) -> dict[Condition, int]:
    """Conditions and their step: the rates of both modalities go together, finest to coarsest."""
    audio, video = (recogniser.model.rates[kind] for kind in ("audio", "video"))
    levels = (None,) if snr is None else (None, snr)
    out: dict[Condition, int] = {}
    for level in levels:
        for step, rate in enumerate(audio):
            out[Condition("a", Rates(rate, None), level)] = step
        for step, pair in enumerate(zip(audio, video, strict=False)):
            out[Condition("av", Rates(*pair), level)] = step
    for step, rate in enumerate(video):
        out[Condition("v", Rates(None, rate))] = step
    return out
