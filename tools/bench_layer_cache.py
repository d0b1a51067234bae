"""How often a cache of Whisper's layers hits when the encoder is run again on a growing buffer.

    python tools/bench_layer_cache.py [--limit N]

Data: clips of LibriSpeech, a hop at a time from the start -> features of whole and cached passes
-> text of the last pass -> hits of each layer, work, cosine and errors in OUT/layer_cache.json,
for the page of `bench_compress`.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from bench_compress import RESULTS
from bench_padding import MODEL as WHISPER
from bench_padding import Decoder
from bench_takes import RATE, chosen
from layer_cache import LayerCache, Policy, spoken, whole_pass
from torch import Tensor

from avsr.cli.outcome import guarded
from avsr.loading import load_model
from avsr.prepare import Prepared
from avsr.rates import Rates
from avsr.score import score
from avsr.weights import resolve
from avsr.writers import write_atomic
from frontends.audio_tower import WhisperTower
from frontends.media import open_clip

STEP = 0.64  # seconds
CASES = (
    (Policy(), STEP),
    (Policy(), STEP / 2),
    (Policy(), STEP * 2),
    (Policy(threshold=0.95), STEP),
    (Policy(share=0.1), STEP),
    (Policy(share=0.25), STEP),
    (Policy(share=0.5), STEP),
    (Policy(share=0.25, every=2), STEP),
    (Policy(share=0.25, every=8), STEP),
)
Write = Callable[[Tensor, float], str]


def passes(samples: int, hop: float) -> list[int]:
    """Samples that each pass reads, the last all of them."""
    step = round(hop * RATE)
    return [*range(step, samples, step), samples]


@torch.inference_mode()
def measured(
    tower: WhisperTower,
    write: Write,
    waves: Sequence[Tensor],
    policy: Policy,
    hop: float,
    whole: Callable[[int, int], Tensor],
) -> dict[str, Any]:
    """One policy on all clips: tallies, cosine to whole passes, texts of the last pass of each.

    Args:
        tower: encoder.
        write: features [T, D] and seconds -> text.
        waves: [S] each, at 16 kHz.
        policy: of the cache.
        hop: seconds between passes.
        whole: number of a wave and samples of it -> features of a whole pass, of sound alone.
    """
    cache = LayerCache(tower, policy)
    texts, cosines = [], []
    for number, wave in enumerate(waves):
        ends = passes(len(wave), hop)
        with cache.caching() as encode:
            made = [encode(wave[:end]) for end in ends]
        for end, found in zip(ends, made, strict=True):
            same = whole(number, end)
            near = torch.cosine_similarity(same, found[: len(same)], dim=-1)
            cosines.append(near.mean())
        texts.append(write(made[-1], len(wave) / RATE))
    return {
        "policy": asdict(policy),
        "name": str(policy),
        "hop": hop,
        "layers": [asdict(tally) for tally in cache.tallies],
        "cosine": float(torch.stack(cosines).mean()),
        "texts": texts,
    }


def memory(tower: WhisperTower, waves: Sequence[Tensor]) -> Callable[[int, int], Tensor]:
    """Whole passes over waves [S], each made once: number, samples -> features [T, D]."""

    @functools.cache
    @torch.inference_mode()
    def whole(number: int, samples: int) -> Tensor:
        # A copy, or all 30 s would be held.
        return whole_pass(tower, waves[number][:samples])[: spoken(samples)].clone()

    return whole


def readers(model: str) -> dict[str, tuple[WhisperTower, Write]]:
    """Whisper as it was made, padded and with its own decoder; and the default model."""
    folder = resolve(WHISPER)
    decoder, recogniser = Decoder(folder), load_model(model)
    finest = Rates(recogniser.model.rates["audio"][0], None)

    def own(features: Tensor, seconds: float) -> str:
        clip = Prepared("", seconds, "a", None, None, None, (), audio=features)
        return recogniser.recognise([clip], modality="a", rates=finest)[0].text

    return {
        f"{WHISPER}, padded": (
            WhisperTower.from_folder(folder, pad="30s"),
            lambda features, seconds: decoder.write(features[None]),
        ),
        "default model, not padded": (recogniser.audio_tower, own),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--manifest", type=Path, default=Path("../shared/data/manifest.jsonl"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--limit", type=int, default=30, help="clips")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of clips")
    args = parser.parse_args(argv)
    splits = ("validation", "test")
    items = chosen(args.manifest, "librispeech", splits, args.limit, args.seed)
    waves = [torch.from_numpy(open_clip(item.path, streams="a").audio) for item in items]
    plain = replace(Policy(), every=1)  # every pass whole
    rows = []
    for reader, (tower, write) in readers(args.model).items():
        whole = memory(tower, waves)
        for policy, hop in ((plain, 60.0), *CASES):
            found = {"reader": reader, **measured(tower, write, waves, policy, hop, whole)}
            texts = found.pop("texts")
            pairs = score([item.text for item in items], texts, samples=0).utterances
            found["edits"] = [pair.words.edits for pair in pairs]
            found["words"] = [pair.words.reference for pair in pairs]
            rows.append(found)
            print(reader, policy, hop, sum(found["edits"]), file=sys.stderr, flush=True)
    command = ["python", "tools/bench_layer_cache.py", *(sys.argv[1:] if argv is None else argv)]
    told = {
        "schema": "avsr.bench_layer_cache/1",
        "command": command,
        "seed": args.seed,
        "clips": [item.id for item in items],
        "rows": rows,
    }
    write_atomic(args.out / "layer_cache.json", json.dumps(told) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
