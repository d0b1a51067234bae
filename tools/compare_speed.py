"""How long a training step and a written token take with each method of a suite, turn about.

Data: suite -> a fresh model of each method, made-up features -> seconds, round by round -> JSON.
Every method takes the same clips, tasks and rates in a round, so that a machine which slows down
for a moment slows all of them; no weights, and so no errors, come of this.
"""

from __future__ import annotations

import gc
import json
import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compare_eval import commit
from compare_figures import SPEEDS, read_speeds, speeds_path
from compare_suite import Line, Run, Suite
from paired import Clock, ratio, rounds
from torch import Tensor

from avsr.checkpoint import tower_widths
from avsr.config import AvsrConfig
from avsr.decode import DecodeOptions, decode
from avsr.errors import ConfigError
from avsr.rates import Rates
from avsr.streams import TokenStream
from avsr.train.data import AUDIO_HZ, VIDEO_HZ, Batch
from avsr.train.module import AvsrTask
from avsr.train.objective import Objective, Schedule
from avsr.views import Features, View
from avsr.writers import write_atomic

SECONDS = 3.0  # of a clip, as in GRID
WORDS, WRITTEN = 8, 24  # tokens of a transcript that is learnt, and of one that is written


def speed(
    suite: Suite,
    only: Sequence[str],
    out: Path,
    *,
    repeats: int,
    clips: int | None = None,
    said: Callable[[str], None] = print,
) -> Path:
    """Time methods and write it down; methods that were timed before and are not named stay.

    Args:
        suite: whose methods they are.
        only: names of methods, empty for all; the suite's first baseline is always timed with them.
        out: folder of the suite's results.
        repeats: rounds, at least 1.
        clips: of a step, None for as many as the suite trains with.
        said: told how far it is.

    Returns:
        The file that was written.

    Raises:
        ConfigError: no such method, or no round.
    """
    if repeats < 1:
        raise ConfigError(f"speeds take at least one round, got {repeats}")
    base = suite.data["baselines"][0]
    lines = {run.line.name: run.line for run in suite.runs([base, *only] if only else [])}
    clips = suite.data["recipe"]["data"]["max_clips"] if clips is None else clips
    # One thread's own time leaves out what other processes take of the processor.
    alone = torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    found = measure(
        suite, list(lines.values()), base=base, repeats=repeats, clips=clips, clock=clock, said=said
    )
    facts = {
        "rounds": repeats,
        "clips": clips,
        "clock": "processor" if alone else "wall",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load": os.getloadavg()[0],
        "git_commit": commit(),
    }
    path = speeds_path(out, suite.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"schema": SPEEDS, "suite": suite.name, "base": base}
    kept = read_speeds(path)
    methods = {**kept, **{name: {**times, **facts} for name, times in found.items()}}
    write_atomic(path, json.dumps({**told, "methods": methods}, indent=1) + "\n")
    return path


def measure(
    suite: Suite,
    lines: Sequence[Line],
    *,
    base: str,
    repeats: int,
    clips: int,
    clock: Clock,
    said: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Time methods against one of them.

    Args:
        suite: whose methods they are.
        lines: the methods.
        base: name of the one that the others are told as multiples of.
        repeats: rounds.
        clips: of a training step, and read at once.
        clock: seconds.
        said: told how far it is.

    Returns:
        By method and work, medians in seconds and ratios to the base with intervals.
    """
    works: dict[str, dict[str, Callable[[], object]]] = {"step": {}, "token": {}}
    written: dict[str, int] = {}
    for line in lines:
        task = made(suite, line)
        batch = made_up(task, clips)
        optimiser = task.configure_optimizers()["optimizer"]
        works["step"][line.name] = learner(task, batch, optimiser)
        reader = writer(task, batch)
        works["token"][line.name], written[line.name] = reader, reader()
        works["step"][line.name]()
        said(f"{line.name}: made")
    gc.collect()
    gc.freeze()  # or a round's collection would be charged to whoever has the turn
    found: dict[str, dict[str, Any]] = {line.name: {} for line in lines}
    for kind, chosen in works.items():
        spent = rounds(chosen, repeats=repeats, clock=clock)
        said(f"{kind}: {repeats} rounds")
        for name, seconds in spent.items():
            units = written[name] if kind == "token" else 1
            each = [s / units for s in seconds]
            rival = [s / (written[base] if kind == "token" else 1) for s in spent[base]]
            found[name][kind] = {
                "seconds": float(np.median(each)),
                "ratio": asdict(ratio(each, rival, seed=0)),
            }
    return found


def made(suite: Suite, line: Line) -> AvsrTask:
    """A method's task as its recipe has it, with fresh weights and the finest of its rates."""
    run = Run(line, suite.data["seeds"][0], suite.pairs[0] if line.fixed else None)
    told = suite.recipe(run, "unused")["model"]
    return AvsrTask(
        AvsrConfig.from_dict(told["model"]),
        Objective(**told["objective"]),
        Schedule(**told["schedule"]),
        vocabulary=told.get("vocabulary"),
        dtype=told.get("dtype", "auto"),
        seed=told["seed"],
    )


def made_up(task: AvsrTask, clips: int) -> Batch:
    """A batch of clips of equal length with random features, and transcripts of known tokens."""
    generator = torch.Generator().manual_seed(0)
    streams: list[TokenStream | None] = []
    for width, hz in zip(tower_widths(task.model.config, None), (AUDIO_HZ, VIDEO_HZ), strict=True):
        frames = round(SECONDS * hz)
        rows = None if width is None else torch.randn(clips, frames, width, generator=generator)
        streams.append(None if rows is None else TokenStream.from_rows(list(rows), hz))
    table = task.model.llm.get_input_embeddings().weight
    known = torch.arange(len(table)) if task.ctc is None else torch.tensor(task.ctc.vocabulary)
    texts = known[torch.randint(len(known), (clips, WORDS), generator=generator)]
    return Batch((None,) * clips, Features(*streams), tuple(texts), draw=0)  # type: ignore[arg-type]


def learner(task: AvsrTask, batch: Batch, optimiser: Any) -> Callable[[], object]:
    """A training step; the n-th call of every learner draws the same task and rates."""
    draws = count()

    def step() -> None:
        with warnings.catch_warnings():  # no trainer is there to log to
            warnings.simplefilter("ignore")
            loss = task.train().training_step(replace(batch, draw=next(draws)), 0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(
            [p for group in optimiser.param_groups for p in group["params"]], 1.0
        )
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def writer(task: AvsrTask, batch: Batch) -> Callable[[], int]:
    """A batch written down greedily at the finest rates; gives the number of tokens, all alike."""
    finest = [min(task.model.rates[kind], default=None) for kind in ("audio", "video")]
    views = [View(row, Rates(*finest)) for row in range(len(batch.items))]
    options = DecodeOptions(max_new_tokens=WRITTEN)
    model, end = task.model, torch.tensor([task.model.tokenizer.eos_id])

    def never_ends(head: object, given: object, logits: Tensor) -> Tensor:
        return logits.index_fill(-1, end, -torch.inf)

    def write() -> int:
        # Fresh weights end where chance has it, and a token would cost as many prefills as it had.
        head = model.llm.get_output_embeddings().register_forward_hook(never_ends)
        try:
            found = decode(model.eval(), batch.features, views, [SECONDS] * len(views), options)
        finally:
            head.remove()
        return sum(len(one.logprobs) for one in found)

    return write
