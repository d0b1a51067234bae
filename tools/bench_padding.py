"""What Whisper loses when it encodes the true length of a clip instead of 30 s of it and silence.

    python tools/bench_padding.py [--limit N]

Data: clips -> Whisper's own decoder on the encoder's output, padded and not -> errors of each
clip in OUT/padding.json, for the page of `bench_compress`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from bench_compress import RESULTS
from bench_takes import chosen

from avsr.baseline import WhisperBaseline, spell_digits
from avsr.cli.outcome import guarded
from avsr.score import score
from avsr.weights import resolve
from avsr.writers import write_atomic
from frontends.audio_tower import WhisperTower
from frontends.media import open_clip

MODEL = "whisper-tiny.en"
CLIPS = {"grid": None, "librispeech": 60}


class Decoder:
    """Whisper's decoder over any encoder output.

    Args:
        folder: of the whole model.
    """

    def __init__(self, folder: Path) -> None:
        self.whole = WhisperBaseline(folder)

    @torch.inference_mode()
    def write(self, features: torch.Tensor) -> str:
        """Text of features [1, T, D]."""
        from transformers import GenerationMixin
        from transformers.modeling_outputs import BaseModelOutput

        begin = torch.tensor([self.whole.start])
        ids = GenerationMixin.generate(
            self.whole.model,
            encoder_outputs=BaseModelOutput(last_hidden_state=features),
            decoder_input_ids=begin,
            decoder_attention_mask=torch.ones_like(begin),
            generation_config=self.whole.settings,
        )
        rest = ids[:, len(self.whole.start) :]
        return spell_digits(self.whole.tokenizer.batch_decode(rest, skip_special_tokens=True)[0])


@torch.inference_mode()
def encoded(tower: WhisperTower, wave: Any) -> torch.Tensor:
    """Features [1, T, D] of the true length of a wave [S]."""
    features, counts = tower(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))
    return features[:, : int(counts)]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--manifest", type=Path, default=Path("../shared/data/manifest.jsonl"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    folder = resolve(MODEL)
    decoder = Decoder(folder)
    tower = WhisperTower.from_folder(folder, pad="none")
    rows = []
    for corpus, most in CLIPS.items():
        known = [n for n in (most, args.limit) if n is not None]
        items = chosen(
            args.manifest, corpus, ("validation", "test"), min(known, default=None), args.seed
        )
        found: dict[str, Any] = {"corpus": corpus, "clips": [item.id for item in items]}
        texts: dict[str, list[str]] = {"padded": [], "unpadded": []}
        for item in items:
            wave = open_clip(item.path, streams="a").audio
            texts["padded"] += decoder.whole.transcribe([wave])
            texts["unpadded"].append(decoder.write(encoded(tower, wave)))
        for kind, said in texts.items():
            pairs = score([item.text for item in items], said, samples=0).utterances
            found[kind] = [pair.words.edits for pair in pairs]
            found["words"] = [pair.words.reference for pair in pairs]
        rows.append(found)
        print(corpus, {k: sum(found[k]) / sum(found["words"]) for k in texts}, file=sys.stderr)
    command = ["python", "tools/bench_padding.py", *(sys.argv[1:] if argv is None else argv)]
    told = {"schema": "avsr.bench_padding/1", "command": command, "model": MODEL, "rows": rows}
    write_atomic(args.out / "padding.json", json.dumps(told) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
