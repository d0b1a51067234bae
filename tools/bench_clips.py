"""The real half of the compressors' bench: a trained model reads clips with each method.

Data: model, manifests, methods -> runs as `bench_toy` makes them, one for each method, and again
for each method that the model was tuned to; a run grows by a block, one condition, at a time.
Every method reads at the model's own rates: step 0 are the finest of each modality.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from bench_calibrate import calibrated, even
from bench_readings import BLOCKS, Block, read
from bench_speed import stages
from bench_takes import Noises, Takes, chosen
from bench_tune import refitted, tune
from compress_figures import TUNED, slug
from macs import Llm
from safetensors.torch import load_file, save_file

from avsr.compress import compressors
from avsr.compress.pair import parse
from avsr.compress.presets import resolved
from avsr.errors import AvsrError
from avsr.loading import load_model
from avsr.manifest import Item
from avsr.prepare import Prepared
from avsr.rates import Rates

TUNING = 320  # clips of the training split
SPEED = "speed"


@dataclass(frozen=True)
class Bench:
    """What the whole bench shares.

    Args:
        model: "default", or a folder with a checkpoint.
        manifest: of the clips.
        noise: manifest of noises.
        cache: for features and tuned weights; everything in it can be made again.
        seed: of everything.
        splits: of the clips that are read.
        limit: clips of each block at most, None for the block's own number.
        steps: of tuning.
    """

    model: str
    manifest: Path
    noise: Path
    cache: Path
    seed: int = 0
    splits: tuple[str, ...] = ("validation", "test")
    limit: int | None = None
    steps: int = 60

    def items(self, block: Block) -> list[Item]:
        """The block's clips, in an order drawn by the seed."""
        known = [n for n in (block.clips, self.limit) if n is not None]
        return chosen(self.manifest, block.corpus, self.splits, min(known, default=None), self.seed)

    def facts(self, recogniser: Any) -> dict[str, Any]:
        """What makes figures comparable: the same weights, seed and tuning."""
        named = ("name", "sha256", "trained_sha256")
        told = {key: recogniser.facts[key] for key in named if key in recogniser.facts}
        return {"weights": _digest(recogniser.model), **told}


class Reader:
    """A model that reads blocks with one method after another.

    Args:
        bench: what is shared.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.recogniser = cache(lambda: load_model(bench.model))
        split = cache(lambda split: Noises.read(bench.noise, split))
        self._takes = {
            name: Takes(
                self.recogniser,
                self._towers(),
                bench.cache / name,
                lambda name=name: split(name),
                bench.seed,
            )
            for name in ("test", "train")
        }
        self._ready: tuple[str, Any] = ("", None)

    def _towers(self) -> str:
        """The frozen towers by their weights: features of others are not these."""
        recogniser = self.recogniser()
        hashed = hashlib.sha256()
        for tower in (recogniser.audio_tower, recogniser.video_tower):
            hashed.update(b"" if tower is None else _digest(tower).encode())
        return hashed.hexdigest()[:12]

    def ready(self, name: str) -> Any:
        """The recogniser that reads with a method, tuned to it if the name says so.

        Raises:
            ModelError: the model was not trained with it, and its card refuses that.
            ValueError: it cannot be tuned to it.
        """
        if self._ready[0] != name:
            self._ready = (name, self._made(name))
        return self._ready[1]

    def _made(self, name: str) -> Any:
        method, tuned = name.removesuffix(TUNED), name.endswith(TUNED)
        config = resolved(parse(method))
        budget = config.pop("budget", "rate")
        recogniser = load_model(self.bench.model) if tuned else self.recogniser()
        if tuned:
            refitted(recogniser, config)
            self._tuned(recogniser, name)
        elif budget == "threshold":
            clips = self._takes["test"].of(self._unlabelled(), "clean")
            made = calibrated(config, recogniser.features(clips), recogniser.model.rates)
            _put(recogniser, made)
            told = {kind: each.to_dict() for kind, each in made.items()}
            recogniser.compression_note = f"thresholds found on validation clips: {told}"
        else:
            recogniser.use_compressor(config)
        return recogniser

    def _unlabelled(self) -> list[Item]:
        """Clips whose features say where a threshold meets a budget: validation alone."""
        bench = self.bench
        return chosen(bench.manifest, "grid", ("validation",), bench.limit, bench.seed)

    def _tuned(self, recogniser: Any, name: str) -> None:
        bench = self.bench
        limit = TUNING if bench.limit is None else min(TUNING, 8 * bench.limit)
        base = f"{_digest(recogniser.model)[:12]}-{bench.steps}-{bench.seed}"
        base += "" if limit == TUNING else f"-{limit}"  # fewer clips make another model
        path = bench.cache / "tuned" / f"{slug(name)}-{base}.safetensors"
        if path.is_file():
            recogniser.model.load_state_dict(load_file(path))
            recogniser.model.eval()
            return
        items = chosen(bench.manifest, "grid", ("train",), limit, bench.seed)
        conditions = ("clean", "babble")
        takes = [
            (clip, item.text)
            for number, item in enumerate(items)
            for clip in self._takes["train"].of([item], conditions[number % 2])
        ]
        tune(recogniser, takes, steps=bench.steps, seed=bench.seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in recogniser.model.state_dict().items()}, path)

    def measure(self, name: str, block: Block) -> dict[str, Any]:
        """The points of one block read with one method, or why there are none."""
        try:
            recogniser = self.ready(name)
        except (AvsrError, ValueError) as error:
            return {"points": [], "refused": str(error)}
        items = self.bench.items(block)
        clips = self._takes["test"].of(items, block.take)
        llm = Llm.of(recogniser.model.llm.config)
        points = [
            {
                "task": task,
                "condition": block.condition,
                "step": step,
                "rates": rates.to_dict(),
                **read(recogniser, items, clips, task, rates, block),
            }
            for task in block.tasks
            for rates, step in steps_of(recogniser, task)
        ]
        if "budget" in parse(name.removesuffix(TUNED)):
            for point in points:
                point["pool"] = self._pooled(recogniser, items, clips, point, block)
        for point in points:
            used = point.pop("prompts")
            point["prefill_macs"] = sum(map(llm.prefill, used)) / len(used)
        note = getattr(recogniser, "compression_note", None)
        return {"points": points, "clips": [item.id for item in items], "note": note}

    def _pooled(
        self,
        recogniser: Any,
        items: Sequence[Item],
        clips: Sequence[Prepared],
        point: Mapping[str, Any],
        block: Block,
    ) -> dict[str, Any]:
        """Pooling at the tokens that a method has made of each stream, for one of its points."""
        features, own = recogniser.features(clips), recogniser.model.compressors
        streams = {"audio": features.audio, "video": features.video}
        made = {k: even(streams[k], n) for k, n in point["streams"].items() if n}
        _put(recogniser, {**own, **made})
        try:
            rates = Rates(**point["rates"])
            found = read(recogniser, items, clips, point["task"], rates, block)
        finally:
            recogniser.model.compressors = own
        kept = ("tokens_per_second", "words", "edits", "detail_words", "detail_edits")
        return {key: found[key] for key in kept if key in found}

    def speed(self, name: str) -> dict[str, Any]:
        """Seconds and MACs of each stage on one clip, at each step of both streams."""
        try:
            recogniser = self.ready(name)
        except (AvsrError, ValueError) as error:
            return {"refused": str(error)}
        block = BLOCKS[0]
        item = self.bench.items(block)[0]
        (clip,) = self._takes["test"].of([item], block.take)
        raw = recogniser.prepare(item.path, modality="av", roi=item.roi)
        found = {
            str(step): stages(recogniser, raw, clip, rates)
            for rates, step in steps_of(recogniser, "av")
        }
        return {"clip": item.id, "seconds": clip.seconds, "steps": found}


def steps_of(recogniser: Any, task: str) -> list[tuple[Rates, int]]:
    """Rates of a task and their step: those of both modalities go together, finest first."""
    audio, video = (recogniser.model.rates[kind] for kind in ("audio", "video"))
    if task == "a":
        pairs = [Rates(rate, None) for rate in audio]
    elif task == "v":
        pairs = [Rates(None, rate) for rate in video]
    else:
        pairs = [Rates(*pair) for pair in zip(audio, video, strict=False)]
    return [(rates, step) for step, rates in enumerate(pairs)]


def _put(recogniser: Any, made: Mapping[str, Any]) -> None:
    """Let a recogniser read with these compressors."""
    recogniser.model.compressors = torch.nn.ModuleDict(dict(made))


def _digest(module: torch.nn.Module) -> str:
    """Of a module's weights."""
    hashed = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        hashed.update(name.encode())
        hashed.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return hashed.hexdigest()


def runs_of(names: Sequence[str], *, tuned: bool) -> list[str]:
    """Runs of these methods: as they are, then tuned; floors are not tuned."""
    out = list(names)
    if not tuned:
        return out
    wanted = ["pool", *(name for name in names if name != "pool")]
    for name in wanted:
        config = resolved(parse(name))
        if "budget" not in config and compressors[config["name"]].card.mechanism != "floor":
            out.append(name + TUNED)
    return out


def work_of(
    reader: Reader | None, runs: Sequence[str], blocks: Sequence[Block], *, speed: bool
) -> Iterator[tuple[str, str, Callable[[], dict[str, Any]]]]:
    """Run, condition and what measures it, in the order of their worth.

    A block is done with all runs as they are before the next; tuned runs follow, a run at a time,
    since tuning is the dear part of them.
    """
    plain = [run for run in runs if not run.endswith(TUNED)]
    for block in blocks:
        for run in plain:
            yield run, block.condition, lambda r=run, b=block: reader.measure(r, b)
    if speed:
        for run in plain:
            yield run, SPEED, lambda r=run: reader.speed(r)
    for run in runs:
        if run.endswith(TUNED):
            for block in blocks[:2]:
                yield run, block.condition, lambda r=run, b=block: reader.measure(r, b)
