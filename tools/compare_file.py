"""What a suite's YAML file may say, as types that it is held to before any of it is used.

Data: what the file says -> the same, or a ConfigError that names the key.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, Literal

from jsonargparse import ArgumentError, ArgumentParser
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt

from avsr.errors import ConfigError


@dataclass
class LearningRate:
    """Peak learning rate of a kind of adapter, and how it was chosen."""

    lr: PositiveFloat
    how: str


@dataclass
class Evaluation:
    """Which clips are read, how, and under which noise."""

    manifest: str
    corpus: str
    split: str
    tasks: list[Literal["a", "v", "av"]]
    snrs: list[Literal["clean"] | float]
    noise: str | None
    batch_size: PositiveInt
    limit: PositiveInt | None = None


@dataclass
class Sweep:
    """Steps of a trial, and the learning rates that are tried of each kind."""

    steps: PositiveInt
    rates: dict[str, list[PositiveFloat]]


@dataclass
class Guess:
    """Seconds to start, of a step and of an evaluation, until runs have told better."""

    start: float
    step: float
    evaluate: float


@dataclass
class Told:
    """A method; as `compare_suite.Line`."""

    title: str
    kind: str
    seeds: PositiveInt = 1
    pairs: Literal["all", "each"] = "all"
    cost: PositiveFloat = 1.0
    longer: PositiveInt = 1
    set: dict[str, Any] = field(default_factory=dict)
    same_as: str | None = None


@dataclass
class File:
    """A suite."""

    name: str
    steps: PositiveInt
    seeds: list[NonNegativeInt]
    guess: Guess
    recipe: dict[str, Any]
    lip_encoder: str | None
    learning_rates: dict[str, LearningRate]
    sweep: Sweep
    evaluation: Evaluation
    baselines: list[str]
    runs: dict[str, Told]
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check(data: Any, where: str) -> None:
    """Hold a suite to its types, and its names to one another.

    Args:
        data: what its file says.
        where: the file.

    Raises:
        ConfigError: a key that is unknown, lacks, or has a value of another kind.
    """
    if not isinstance(data, dict):
        raise ConfigError("a suite is an object of settings", where=where)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(File)
    try:
        parser.parse_object(copy.deepcopy(data))  # it writes into what it is given
    except ArgumentError as error:
        raise ConfigError(f"no suite: {error}", where=where) from error
    runs, seeds, tasks = data["runs"], data["seeds"], data["evaluation"]["tasks"]
    kinds = {told["kind"] for told in runs.values()}
    again = {name: told["same_as"] for name, told in runs.items() if told.get("same_as")}
    faults = {
        "seeds": not seeds or len(set(seeds)) < len(seeds),
        "evaluation.tasks": not tasks or len(set(tasks)) < len(tasks),
        "baselines": not data["baselines"] or bool(set(data["baselines"]) - set(runs)),
        "learning_rates": bool(kinds - set(data["learning_rates"])),
        "seeds of a run": any(told.get("seeds", 1) > len(seeds) for told in runs.values()),
        "same_as": any(other not in runs or other in again for other in again.values()),
    }
    wrong = [key for key, fault in faults.items() if fault]
    if wrong:
        raise ConfigError(
            f"no suite: its {' and '.join(wrong)} name nothing, something twice, or what it has not"
            f" (runs {', '.join(runs)}; rates of {', '.join(data['learning_rates'])})",
            where=where,
        )
