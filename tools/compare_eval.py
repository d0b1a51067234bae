"""Evaluate one trained run as `avsr eval` does, and keep what the page needs in one JSON.

checkpoint + test clips -> every task, rate pair and noise level -> errors of each utterance.
Towers and lips are the same for all runs of a suite, so their features are made once a process.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from compare_suite import Suite
from compare_train import ROOT, Place

from avsr.errors import ConfigError
from avsr.manifest import Item, read_manifest
from avsr.writers import write_atomic

SCHEMA = "avsr.compare/1"
COUNTS = {"S": "substitutions", "D": "deletions", "I": "insertions", "words": "reference"}
OUTCOME = ("clips", "failed", "seconds")  # of an evaluation, beside what was asked for
Memory = dict[Any, Any]


class Metered:
    """A recogniser that remembers features from run to run, and how fast it wrote.

    Args:
        recogniser: from `avsr.load_model`.
        memory: shared by all recognisers with the same towers.
    """

    def __init__(self, recogniser: Any, memory: Memory) -> None:
        self.recogniser, self.memory = recogniser, memory
        self.written: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])

    def __getattr__(self, name: str) -> Any:
        """Whatever is not said here is the recogniser's."""
        return getattr(self.recogniser, name)

    def prepare(self, path: Any, *, modality: Any = "auto", roi: Any = "auto") -> Any:
        """As the recogniser's, once a file."""
        key = (str(path), modality, roi)
        if key not in self.memory:
            self.memory[key] = self.recogniser.prepare(path, modality=modality, roi=roi)
        kept = self.memory[key]
        return replace(kept, timing=dict(kept.timing))

    def encode(self, clips: Sequence[Any]) -> None:
        """As the recogniser's, once for each sound and each mouth."""
        for clip in clips:
            for source, target in (("wave", "audio"), ("crops", "video")):
                given = getattr(clip, source)
                if given is None or getattr(clip, target) is not None:
                    continue
                key = (target, hashlib.sha256(given.tobytes()).digest())
                if key not in self.memory:
                    alone = replace(clip, wave=None, crops=None, audio=None, video=None)
                    setattr(alone, source, given)
                    self.recogniser.encode([alone])
                    self.memory[key] = getattr(alone, target)
                setattr(clip, target, self.memory[key])

    def recognise(self, clips: Sequence[Any], **options: Any) -> Any:
        """As the recogniser's; counts text tokens and the language model's seconds."""
        found = self.recogniser.recognise(clips, **options)
        for one in found:
            meter = self.written[one.modality, _pair(one.rates)]
            meter[0] += one.tokens["text"]
            meter[1] += one.timing["language_model"]
        return found

    def speed(self, task: str, rates: Mapping[str, int | None]) -> float | None:
        """Text tokens written a second of the language model's work, prefill included."""
        tokens, seconds = self.written[task, _pair(rates)]
        return tokens / seconds if seconds > 0 else None


def _pair(rates: Mapping[str, int | None]) -> str:
    return f"{rates['audio']},{rates['video']}"


def clips_of(told: Mapping[str, Any]) -> list[Item]:
    """The clips of a suite's evaluation.

    Raises:
        ConfigError: there are none.
    """
    items = read_manifest(
        told["manifest"],
        lambda item: item.split == told["split"] and item.corpus == told["corpus"],
    )[: told.get("limit")]
    if not items:
        raise ConfigError("no clip to evaluate on", where=str(told["manifest"]))
    return items


def check_evaluation(suite: Suite) -> None:
    """Refuse, before anything is trained, an evaluation that cannot be made or is no test.

    Raises:
        ConfigError: no clips, no noise where some is wanted, or one that a training hears.
    """
    from avsr.train.features import noise_files

    told, data = suite.data["evaluation"], suite.data["recipe"]["data"]
    clips_of(told)
    loud = [snr for snr in told["snrs"] if snr != "clean"]
    if (told["noise"] is None) == bool(loud):
        raise ConfigError(f"noise {told['noise']} does not go with snrs {told['snrs']}")
    if not loud:
        return
    noise = Path(told["noise"]).resolve()
    if not noise.is_file():
        raise ConfigError("no such noise", where=str(noise), todo="Correct evaluation.noise.")
    heard = noise_files(data["noise"]).values() if data.get("noise") is not None else ()
    if noise in {path.resolve() for path in heard}:
        raise ConfigError(
            "every training hears this noise: its errors under it would tell nothing",
            where=str(noise),
            todo="Choose one of another split for evaluation.noise.",
        )


def evaluate_run(
    place: Place,
    *,
    memory: Memory,
    command: Sequence[str],
    samples: int = 2000,
    said: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Evaluate a run whose training has ended.

    Args:
        place: of the run.
        memory: features of earlier runs; filled.
        command: that makes this JSON.
        samples: bootstrap draws of the intervals.
        said: told how far it is.

    Returns:
        The report.
    """
    from avsr.evaluate import EvalOptions, conditions, evaluate, read_noise
    from avsr.loading import load_model

    told, began = place.suite.data["evaluation"], time.perf_counter()
    items = clips_of(told)
    metered = Metered(load_model(place.model), memory)
    trained = metered.model.config
    tasks = [task for task in told["tasks"] if "v" not in task or trained.video_rates]
    snrs = [None if snr == "clean" else float(snr) for snr in told["snrs"]]
    done = 0

    def step(clips: int) -> None:
        nonlocal done
        done += clips
        said(f"{place.run.name}: {done} of {len(items)} clips")

    rows = evaluate(
        metered,  # type: ignore[arg-type]
        items,
        conditions({task: metered.pairs(task) for task in tasks}, tasks, snrs=snrs),
        options=EvalOptions(batch_size=told["batch_size"], samples=samples),
        noise=read_noise(told["noise"]) if told.get("noise") else None,
        progress=step,
    )
    training = place.facts
    assert training is not None
    return {
        **head(place, command),
        "training": training,
        "parameters": parameters(metered.model),
        "evaluation": {
            **told,
            "clips": len(items),
            "failed": max((len(row.failed) for row in rows), default=0),
            "seconds": time.perf_counter() - began,
        },
        "ids": [item.id for item in items],
        "rows": [row_of(row, metered) for row in rows],
    }


def head(place: Place, command: Sequence[str]) -> dict[str, Any]:
    """What a report says of its run."""
    run = place.run
    return {
        "schema": SCHEMA,
        "suite": place.suite.name,
        "suite_sha256": place.suite.digest,
        "run": run.name,
        "recipe_sha256": place.digest,
        "method": run.line.name,
        "title": run.line.title,
        "kind": run.line.kind,
        "seed": run.seed,
        "pair": None if run.pair is None else str(run.pair),
        "steps": place.steps,
        "learning_rate": place.suite.learning_rate(run.line),
        "command": list(command),
        "git_commit": commit(),
    }


def commit() -> str:
    """Commit of the working tree, with "+" where code has changed since; "" outside git.

    Results are no code: each run of a comparison writes some.
    """

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        name = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--", ".", ":(exclude)recipes/results")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{name}+" if changed else name


def parameters(model: Any) -> dict[str, int]:
    """Trained parameters: those that widen the LLM, active on a token and in all; projectors'."""
    return {
        "active": model.adapter.active_parameters,
        "stored": model.adapter.stored_parameters,
        "projectors": sum(p.numel() for p in model.multi_modal_projector.parameters()),
    }


def row_of(row: Any, metered: Metered) -> dict[str, Any]:
    """One condition, with the errors of each utterance."""
    condition, span = row.condition, row.score.wer_interval
    pairs = row.score.utterances
    rates = condition.rates.to_dict()
    return {
        "task": condition.task,
        "rates": rates,
        "snr_db": condition.snr,
        "wer": row.score.wer,
        "interval": None if span is None else [span.low, span.high],
        "tokens_per_second": row.tokens_per_second,
        "decode_tokens_per_second": metered.speed(condition.task, rates),
        "truncated": row.truncated,
        "utterances": {k: [getattr(p.words, v) for p in pairs] for k, v in COUNTS.items()},
    }


def report_path(out: Path, name: str) -> Path:
    """Where a run's JSON is kept."""
    return out / f"{name}.json"


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report, a condition a line."""
    rest = {k: v for k, v in report.items() if k != "rows"}
    text = json.dumps(rest, indent=1, ensure_ascii=False)[:-2]
    rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in report["rows"])
    write_atomic(path, f'{text},\n "rows": [\n{rows}\n ]\n}}\n')


def is_evaluated(found: Mapping[str, Any] | None, place: Place) -> bool:
    """Whether a report is of this very run, evaluated as the suite says now."""
    if found is None or found.get("schema") != SCHEMA:
        return False
    told = {k: v for k, v in found["evaluation"].items() if k not in OUTCOME}
    return told == place.suite.data["evaluation"] and found["recipe_sha256"] == place.digest


def read_reports(out: Path, suite: Suite) -> list[dict[str, Any]]:
    """The reports of a suite, by name."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("*.json"))]
    return [r for r in found if r.get("schema") == SCHEMA and r.get("suite") == suite.name]
