"""A suite: what is compared, as one YAML file, resolved into the recipe of each run.

Data: recipes/results/suites/NAME.yaml -> Suite -> Run, Run, ... -> the YAML that `avsr train fit`
reads. The file is data: a new line under `runs` is a new run.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from compare_file import check

from avsr.config import AvsrConfig
from avsr.errors import ConfigError
from avsr.rates import Rates
from avsr.train.objective import Objective, Schedule

SUITES = Path(__file__).resolve().parents[1] / "recipes" / "results" / "suites"
EVERY = 50  # steps between checkpoints


@dataclass(frozen=True)
class Line:
    """One method of a suite.

    Args:
        name: of the method.
        title: in tables.
        kind: of adapter; says its learning rate.
        seeds: how many of the suite's seeds it is trained with.
        fixed: one model for each rate pair, instead of one for all.
        cost: how much longer a step takes than an ordinary one; for planning only.
        longer: how many times the suite's steps it trains; for a control of equal work.
        changes: what differs from the suite's recipe.
        same_as: the method that it comes to under this suite; then it has no runs of its own.
    """

    name: str
    title: str
    kind: str
    seeds: int = 1
    fixed: bool = False
    cost: float = 1.0
    longer: int = 1
    changes: Mapping[str, Any] = field(default_factory=dict)
    same_as: str | None = None


@dataclass(frozen=True)
class Run:
    """One training: a method, a seed, and the rate pair where there is a model for each."""

    line: Line
    seed: int
    pair: Rates | None = None

    @property
    def name(self) -> str:
        """As in "mome-layer-s0" and "lora-a4v2-s0"."""
        pair = "" if self.pair is None else f"-a{self.pair.audio}v{self.pair.video}"
        return f"{self.line.name}{pair}-s{self.seed}"


@dataclass(frozen=True)
class Suite:
    """A comparison.

    Args:
        name: of the suite and of its folder in the cache.
        data: the file as it was read.
        steps: optimiser steps of every run but those that are to be longer.
        lines: the methods.
        shortened: its steps are not the file's own.
    """

    name: str
    data: Mapping[str, Any]
    steps: int
    lines: tuple[Line, ...]
    shortened: bool = False

    @property
    def digest(self) -> str:
        """Of all that the file says."""
        return digest(self.data)

    def runs(self, only: Sequence[str] = ()) -> list[Run]:
        """Every run, first seeds first and costly ones last; `only` names methods or runs.

        Raises:
            ConfigError: a name that is neither.
        """
        seeds = self.data["seeds"]
        found = [
            Run(line, seed, pair)
            for number, seed in enumerate(seeds)
            for line in self.lines
            if number < line.seeds and line.same_as is None
            for pair in (self.pairs if line.fixed else [None])
        ]
        found.sort(key=lambda run: run.line.cost * run.line.longer)
        known = {name for run in found for name in (run.name, run.line.name)}
        unknown = [name for name in only if name not in known]
        if unknown:
            raise ConfigError(
                f"no runs named {', '.join(unknown)}", todo=f"There are {', '.join(sorted(known))}."
            )
        return [run for run in found if not only or {run.name, run.line.name} & set(only)]

    @property
    def pairs(self) -> list[Rates]:
        """Every rate pair of sound and lips."""
        model = self.data["recipe"]["model"]["model"]
        return [Rates(a, v) for a, v in product(model["audio_rates"], model["video_rates"])]

    def steps_of(self, line: Line) -> int:
        """Optimiser steps of a method's runs."""
        return self.steps * line.longer

    def learning_rate(self, line: Line) -> float:
        """Peak learning rate of a method's kind."""
        return float(self.data["learning_rates"][line.kind]["lr"])

    def recipe(self, run: Run, folder: Path | str) -> dict[str, Any]:
        """What `avsr train fit -c` is given for a run.

        Args:
            run: of this suite.
            folder: where its checkpoints, logs and final model go.

        Raises:
            ConfigError: the run makes no model.
        """
        out = merge(self.data["recipe"], run.line.changes)
        model, trainer = out["model"], out["trainer"]
        if run.pair is not None:
            model["model"] |= {"audio_rates": [run.pair.audio], "video_rates": [run.pair.video]}
        objective, sizes = model["objective"], model["model"]
        if run.pair is not None:
            trained = AvsrConfig.from_dict(sizes).streams
            objective["ctc_rates"] = [n for n in objective.get("ctc_rates", []) if n in trained]
        steps = self.steps_of(run.line)
        schedule = {"lr": self.learning_rate(run.line), "steps": steps}
        model["schedule"] = {**schedule, **model.get("schedule", {})}
        model["seed"] = out["seed_everything"] = run.seed
        self._check(model, run.line.name)
        if sizes.get("projector", {}).get("experts", 1) > 1 and model.get("start"):
            model["start"] = [str(Path(folder) / "start")]  # made by compare_train
        callbacks = "lightning.pytorch.callbacks"
        kept = {"dirpath": str(folder), "save_last": True, "save_top_k": 0}
        export = {"folder": str(Path(folder) / "model"), "lip_encoder": self.data["lip_encoder"]}
        trainer |= {
            "max_steps": steps,
            "logger": {
                "class_path": "lightning.pytorch.loggers.CSVLogger",
                "init_args": {"save_dir": str(folder), "name": "log"},
            },
            "callbacks": [
                {
                    "class_path": f"{callbacks}.ModelCheckpoint",
                    "init_args": {**kept, "every_n_train_steps": min(EVERY, steps)},
                },
                # Its own default is an enum, which LightningCLI cannot write down.
                {"class_path": f"{callbacks}.Timer", "init_args": {"interval": "step"}},
                {"class_path": "avsr.train.app.Export", "init_args": export},
            ],
        }
        plain: dict[str, Any] = json.loads(json.dumps(out))  # nothing shared, so no YAML aliases
        return plain

    def _check(self, model: Mapping[str, Any], name: str) -> None:
        try:
            Schedule(**model["schedule"])
            Objective(**model["objective"]).check(AvsrConfig.from_dict(model["model"]))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"the run makes no training: {error}", where=name) from error

    def shared_start(self) -> list[str]:
        """Folders that every run starts from."""
        return list(self.data["recipe"]["model"].get("start", []))


def read_suite(name: str | Path, steps: int | None = None) -> Suite:
    """Read a suite.

    Args:
        name: of a file in recipes/results/suites, or a path that ends in .yaml.
        steps: instead of the file's own.

    Raises:
        ConfigError: no such suite, a part of it that is lacking or of another kind, or a line that
            makes no run.
    """
    path = Path(name) if str(name).endswith(".yaml") else SUITES / f"{name}.yaml"
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        known = ", ".join(sorted(p.stem for p in SUITES.glob("*.yaml")))
        todo = f"There are {known}."
        raise ConfigError(f"no readable suite: {error}", where=str(path), todo=todo) from error
    check(data, str(path))
    own = data["steps"]
    if steps is not None:
        data["steps"] = steps
    if data["steps"] < 1:
        raise ConfigError(f"{data['steps']} steps train nothing", where=str(path))
    suite = Suite(data["name"], data, data["steps"], tuple(_lines(data)), data["steps"] != own)
    for run in suite.runs():
        try:
            suite.recipe(run, "unused")
        except (KeyError, TypeError) as error:
            told = f"the recipe lacks a part, or has it of another kind: {error}"
            raise ConfigError(told, where=f"{path}, {run.line.name}") from error
    return suite


def _lines(data: Mapping[str, Any]) -> list[Line]:
    out = []
    for name, told in data["runs"].items():
        out.append(
            Line(
                name,
                told["title"],
                told["kind"],
                told.get("seeds", 1),
                told.get("pairs") == "each",
                told.get("cost", 1.0),
                told.get("longer", 1),
                told.get("set", {}),
                told.get("same_as"),
            )
        )
    return out


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy of base in which changes replace what they name; lists as a whole."""
    out = dict(copy.deepcopy(base))
    for key, value in changes.items():
        inner = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merge(out[key], value) if inner else copy.deepcopy(value)
    return out


def digest(data: Any) -> str:
    """Of plain data, whatever the order of its keys."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
