"""Train a run of a suite, or go on with it where it was killed; what has ended stays.

Run -> CACHE/SUITE/RUN/{recipe.yaml, last.ckpt, log/, model/, done.json}. `done.json` is written
when a training has ended; the digest of the recipe in it says whether it is still the run that is
asked for.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from compare_suite import Run, Suite, digest

from avsr.errors import AvsrError, ConfigError
from avsr.writers import write_atomic

CACHE = Path(".cache/compare")
ROOT = Path(__file__).resolve().parents[1]
Fit = Callable[[Sequence[str], Path], int]


@dataclass(frozen=True)
class Place:
    """A run's folder and what it should hold.

    Args:
        suite: of the run.
        run: a run.
        cache: folder of all suites.
    """

    suite: Suite
    run: Run
    cache: Path = CACHE

    @property
    def folder(self) -> Path:
        """All of the run is here."""
        return self.cache / self.suite.name / self.run.name

    @property
    def model(self) -> Path:
        """The trained model."""
        return self.folder / "model"

    @property
    def recipe(self) -> dict[str, Any]:
        """What `avsr train fit` reads."""
        return self.suite.recipe(self.run, self.folder)

    @property
    def digest(self) -> str:
        """Of the recipe, wherever it is kept."""
        return digest(self.suite.recipe(self.run, "."))

    @property
    def facts(self) -> dict[str, Any] | None:
        """What `done.json` says, None while the training has not ended or was another."""
        found = read(self.folder / "done.json")
        return found if found is not None and found["recipe"] == self.digest else None

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.suite.steps_of(self.run.line)

    @property
    def steps_done(self) -> int:
        """Optimiser steps up to the last checkpoint."""
        return self.steps if self.facts is not None else _progress(self.folder)[0]


def fit(words: Sequence[str], log: Path) -> int:
    """Run `avsr train fit` in a process of its own and wait for it.

    Args:
        words: after "fit".
        log: file to add its output to.

    Returns:
        Its exit status.
    """
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with log.open("a", encoding="utf-8") as out:
        command = [sys.executable, "-m", "avsr", "train", "fit", *words]
        # Descriptors are left open: the lock of compare.py is held until the training has ended,
        # even if compare.py itself was killed.
        done = subprocess.run(
            command, env=env, stdout=out, stderr=out, check=False, close_fds=False
        )
        return done.returncode


def train(place: Place, *, clock: Callable[[], float], run_fit: Fit = fit) -> dict[str, Any]:
    """Train a run, or go on with it; nothing happens if it has ended.

    Args:
        place: of the run.
        clock: seconds.
        run_fit: instead of `fit`.

    Returns:
        What is in `done.json`.

    Raises:
        ConfigError: the folder holds the beginning of another training.
        AvsrError: the training failed.
    """
    facts = place.facts
    if facts is not None:
        return facts
    folder = place.folder
    recipe, text = folder / "recipe.yaml", yaml.safe_dump(place.recipe, sort_keys=False)
    if recipe.exists() and recipe.read_text(encoding="utf-8") != text:
        raise ConfigError(
            "the folder holds a training with other settings",
            where=str(folder),
            todo="Move the folder away to train anew, or give the suite and --steps it had.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    if Path(place.recipe["model"].get("start", [""])[0]) == folder / "start":
        copy_to_experts(
            place.suite.shared_start(),
            folder / "start",
            place.recipe["model"]["model"]["projector"],
        )
    write_atomic(recipe, text)
    resume = ["--ckpt_path", "last"] if (folder / "last.ckpt").exists() else []
    before = _progress(folder)[1]
    began = clock()
    if run_fit(["-c", str(recipe), *resume], folder / "fit.log") != 0:
        todo = "Its output ends with the reason; the same command goes on from the last checkpoint."
        raise AvsrError("the training failed", where=str(folder / "fit.log"), todo=todo)
    spent = clock() - began
    steps, seconds = _progress(folder)
    if steps == 0:
        raise AvsrError("the training left no checkpoint", where=str(folder))
    facts = {
        "recipe": place.digest,
        "steps": place.steps,
        "train_seconds": seconds * place.steps / steps,
        "seconds_per_step": seconds / steps,
        "seconds_to_start": max(0.0, spent - (seconds - before) * place.steps / steps),
        "resumed": bool(resume),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
    write_atomic(folder / "done.json", json.dumps(facts, indent=1) + "\n")
    return facts


def _progress(folder: Path) -> tuple[int, float]:
    """Steps and seconds of training up to the last checkpoint, both as Lightning counted them."""
    path = folder / "last.ckpt"
    if not path.exists():
        return 0, 0.0
    import torch

    state = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    told = [s["time_elapsed"] for name, s in state["callbacks"].items() if "time_elapsed" in s]
    return int(state["global_step"]), float(told[0]["train"]) if told else 0.0


def copy_to_experts(start: Sequence[str], folder: Path, sizes: Mapping[str, Any]) -> None:
    """A start folder in which each projector is as many experts as there should be, all alike.

    Args:
        start: the folders that other runs start from.
        folder: written.
        sizes: of the projector; says how many experts.
    """
    from safetensors.torch import load_file, save_file

    out = {}
    for source in start:
        for key, value in load_file(Path(source) / "model.safetensors").items():
            if key.startswith("multi_modal_projector."):
                kind, name, rest = key.split(".", 2)
                for expert in range(sizes["experts"]):
                    out[f"{kind}.{name}.experts.{expert}.{rest}"] = value.clone()
            else:
                out[key] = value
    folder.mkdir(parents=True, exist_ok=True)
    save_file(out, folder / "model.safetensors")
    shutil.copyfile(Path(start[-1]) / "config.json", folder / "config.json")  # else no start
    for source in start:
        if (Path(source) / "alignment.safetensors").is_file():
            shutil.copyfile(
                Path(source) / "alignment.safetensors", folder / "alignment.safetensors"
            )
            break


def read(path: Path) -> dict[str, Any] | None:
    """A JSON object, None where there is none."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found
