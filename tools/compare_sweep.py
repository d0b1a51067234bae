"""Learning rates of a method, by validation loss: the only choosing that a comparison does.

Line of a suite -> short trainings -> text loss on the validation split -> table. No clip of
another held-out split can be opened from here: `ValidationData` has no way to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from compare_eval import commit
from compare_suite import Run, Suite
from compare_train import CACHE, Fit, Place, fit, train

from avsr.errors import ConfigError
from avsr.rates import Rates
from avsr.train.data import ClipDataset, Corpus
from avsr.train.datamodule import SpeechData
from avsr.train.loader import Loader
from avsr.views import View
from avsr.writers import write_atomic


class ValidationData(SpeechData):
    """Held-out clips of the validation split, and of no other."""

    def dataset(self, corpora: Sequence[Corpus], split: str) -> ClipDataset:
        """Clips of the validation split.

        Raises:
            ConfigError: another split.
        """
        if split != "validation":
            raise ConfigError(
                f"a sweep chooses, and may not open the split {split!r}",
                todo="Choose by validation; test clips are for `tools/compare.py` without --sweep.",
            )
        return super().dataset(corpora, split)

    def train_dataloader(self) -> Loader:
        """Training is done by `avsr train fit`."""
        raise ConfigError("a sweep reads no training clips itself")


def swept(suite: Suite, method: str) -> list[Suite]:
    """The suite with its short length and one of the learning rates each.

    Raises:
        ConfigError: no such method, or one that has no run of its own.
    """
    [line] = [line for line in suite.lines if line.name == method] or [None]
    if line is None or line.same_as is not None:
        known = ", ".join(line.name for line in suite.lines if line.same_as is None)
        raise ConfigError(f"no method {method!r} to sweep", todo=f"There are {known}.")
    told = suite.data["sweep"]
    out = []
    for lr in told["rates"][line.kind]:
        rates = {**suite.data["learning_rates"], line.kind: {"lr": lr, "how": "sweep"}}
        data = {**suite.data, "learning_rates": rates, "steps": told["steps"]}
        named = f"{suite.name}-sweep/lr{lr:.3g}"
        out.append(replace(suite, name=named, data=data, steps=told["steps"]))
    return out


def sweep(
    suite: Suite,
    method: str,
    *,
    clock: Callable[[], float],
    out: Path,
    cache: Path = CACHE,
    run_fit: Fit = fit,
    said: Callable[[str], None] = lambda line: None,
) -> list[dict[str, float]]:
    """Train a method briefly at each learning rate of its kind and measure its validation loss.

    Args:
        suite: whose method it is.
        method: its name.
        clock: seconds.
        out: folder of the suite's results; `sweeps/METHOD.json` of it is written.
        cache: folder of all suites.
        run_fit: as in `compare_train.train`.
        said: told each result.

    Returns:
        "lr" and "loss" of each rate, in the order of the suite's.
    """
    found = []
    for short in swept(suite, method):
        [line] = [line for line in short.lines if line.name == method]
        place = Place(
            short, Run(line, short.data["seeds"][0], short.pairs[0] if line.fixed else None), cache
        )
        train(place, clock=clock, run_fit=run_fit)
        one = {"lr": short.learning_rate(line), "loss": validation_loss(place)}
        said(f"{method}: lr {one['lr']:.3g}, validation loss {one['loss']:.4f}")
        found.append(one)
    report = {
        "suite": suite.name,
        "method": method,
        "command": f"python tools/compare.py --suite {suite.name} --sweep {method}",
        "steps": suite.data["sweep"]["steps"],
        "seed": suite.data["seeds"][0],
        "split": "validation",
        "git_commit": commit(),
        "found": found,
    }
    folder = out / "sweeps"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / f"{method}.json", json.dumps(report, indent=1) + "\n")
    return found


def validation_loss(place: Place) -> float:
    """Mean over rate pairs and clips of a trained run's cross-entropy on validation clips."""
    each = [loss for losses in clip_losses(place).values() for loss in losses]
    return sum(each) / len(each)


def clip_losses(place: Place) -> dict[str, list[float]]:
    """A trained run's cross-entropy on validation clips, by clip, at every rate pair it reads."""
    from avsr.checkpoint import load_checkpoint
    from avsr.precision import choose_dtype

    told = yaml.safe_load((place.folder / "recipe.yaml").read_text(encoding="utf-8"))
    parts: dict[str, Any] = told["model"]["model"]
    model, _ = load_checkpoint(place.model, dtype=choose_dtype(told["model"].get("dtype", "auto")))
    data = ValidationData(
        train=[],
        held_out=[
            Corpus(c["manifest"], tuple(c.get("corpora", ())), tuple(c.get("speakers", ())))
            for c in told["data"]["held_out"]
        ],
        cache=told["data"]["cache"],
        max_clips=told["data"]["max_clips"],
        batch_seconds=told["data"]["batch_seconds"] / 2,
        **{k: parts[k] for k in ("language_model", "audio_tower", "video_tower")},
    )
    data.setup("validate")
    losses: dict[str, list[float]] = {}
    for loader in data.val_dataloader():
        for batch in loader:
            lips = batch.features.video
            seen = [False] * len(batch.items) if lips is None else (lips.lengths > 0).tolist()
            for row in model.config.scales:
                rates = Rates(row.audio, row.video)
                views = [View(n, rates) for n, has in enumerate(seen) if has or row.video is None]
                if views:
                    with torch.no_grad():
                        found = model(batch.features, views, batch.texts, balance=0.0)
                    for view, loss in zip(views, found.per_view.tolist(), strict=True):
                        losses.setdefault(batch.items[view.row].id, []).append(loss)
    return losses
