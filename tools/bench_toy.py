"""The toy half of the compressors' bench: one model trained by pooling, read with each method.

Data: methods -> runs as dictionaries, each of points (task, condition, step) with the errors of
every utterance, and the time of each stage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import jiwer
import torch
from bench_compress import timed
from safetensors.torch import load_file, save_file
from toy_speech import RATES, Reader, Setting, Speaker, Task, Utterances, train

from avsr.compress import compressors
from avsr.compress.pair import parse

TESTS = {
    "clean": Setting(),
    "babble": Setting(babble=0.7),
    "slow": Setting(speed=0.7),
    "fast": Setting(speed=1.4),
    "silence": Setting(digits=(0, 0)),
}
TUNED = " (tuned)"


class Bench:
    """A toy model trained once, and the test sets.

    Args:
        folder: keeps the trained model, so that a second run need not train it.
        steps: of training; tuning takes a quarter.
        rows: utterances of each test set.
        seed: of everything.
        conditions: names of the test sets that are wanted.
    """

    def __init__(
        self,
        folder: Path,
        *,
        steps: int,
        rows: int,
        seed: int,
        conditions: Sequence[str] = tuple(TESTS),
    ) -> None:
        self.folder, self.steps, self.seed = folder, steps, seed
        self.facts = {"steps": steps, "rows": rows, "conditions": [*conditions]}
        self.speaker = Speaker(seed)
        self.sets = {
            name: self.speaker.say(rows, setting, 7_000_000 + seed)
            for name, setting in TESTS.items()
            if name in conditions
        }

    def jobs(
        self, names: Sequence[str], trained: Sequence[str]
    ) -> dict[str, Callable[[], dict[str, Any]]]:
        """What measures each method as it is and tuned; what must be trained only tuned."""
        out: dict[str, Callable[[], dict[str, Any]]] = {}
        for name in names:
            if parse(name)["name"] not in trained:
                out[name] = partial(self.run, name, tuned=False)
        for name in names:
            card = compressors[parse(name)["name"]].card
            if card.mechanism != "floor" or card.trainable:
                out[name + TUNED] = partial(self.run, name, tuned=True)
        return out

    def run(self, name: str, *, tuned: bool) -> dict[str, Any]:
        """One method's points on every test set."""
        reader = self._reader().use(parse(name))
        if tuned:
            train(reader, self.speaker, steps=self.steps // 4, seed=self.seed + 1, lr=1e-3)
        reader.eval()
        points = [
            point
            for task in get_args(Task)
            for condition, said in self.sets.items()
            for step in range(len(RATES["audio"]))
            if condition in ("clean", "babble") or task == "av"
            for point in [self._point(reader, said, task, condition, step)]
        ]
        said = next(iter(self.sets.values()))
        cut = reader.cut(said, "av", 1)
        stages = {
            "compressor": lambda: reader.cut(said, "av", 1),
            "model": lambda: reader.read(cut, 1),
        }
        with torch.inference_mode():
            timing = timed(stages)
        return {"config": parse(name), "tuned": tuned, "points": points, "timing": timing}

    def _point(
        self, reader: Reader, said: Utterances, task: Task, condition: str, step: int
    ) -> dict[str, Any]:
        with torch.inference_mode():
            cut = reader.cut(said, task, step)
        never = any(compressor.card.meets == "never" for compressor in reader.compressors.values())
        heard = reader.read(cut, 0 if never else step)
        return {
            "task": task,
            "condition": condition,
            "step": step,
            "tokens_per_second": sum(int(s.lengths.sum()) for s in cut.values()) / said.seconds,
            "seconds": said.seconds,
            "words": [len(text) for text in said.texts],
            "edits": [_edits(text, found) for text, found in zip(said.texts, heard, strict=True)],
        }

    def _reader(self) -> Reader:
        """The model trained by pooling, from its file or made now."""
        reader = Reader({"name": "pool"}, seed=self.seed)
        path = self.folder / f"toy-{self.seed}-{self.steps}.safetensors"
        if path.is_file():
            reader.load_state_dict(load_file(path))
            return reader
        train(reader, self.speaker, steps=self.steps, seed=self.seed)
        save_file(reader.state_dict(), path)
        return reader


def _edits(said: Sequence[int], heard: Sequence[int]) -> int:
    if not said:
        return len(heard)  # an empty reference has no alignment
    found = jiwer.process_words(" ".join(map(str, said)), " ".join(map(str, heard)))
    return found.substitutions + found.deletions + found.insertions
