"""Loss of every run on validation clips: what a choice between methods may be made by.

Data: trained runs -> OUT/validation/SUITE.json, a mean over rate pairs for each clip -> a table.
The tables of errors are of test clips, by which nothing is chosen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from compare_eval import commit
from compare_figures import Figure, Floats, ratio
from compare_suite import Suite
from compare_sweep import clip_losses
from compare_train import Place

from avsr.writers import write_atomic

SCHEMA = "avsr.compare_losses/1"


def losses(
    suite: Suite,
    places: Sequence[Place],
    out: Path,
    *,
    measured: Callable[[Place], Mapping[str, Sequence[float]]] = clip_losses,
    said: Callable[[str], None] = print,
) -> Path:
    """Measure the runs that are trained here, at every rate; others keep what they had.

    Args:
        suite: of the runs.
        places: of the runs.
        out: folder of the suite's results.
        measured: as `clip_losses`.
        said: told each loss.

    Returns:
        The file that was written.
    """
    path = losses_path(out, suite.name)
    found = read_losses(path)
    for place in places:
        known = found.get(place.run.name, {}).get("recipe") == place.digest
        if place.run.pair is not None or place.facts is None or known:
            continue
        told = {clip: float(np.mean(each)) for clip, each in measured(place).items()}
        found[place.run.name] = {
            "method": place.run.line.name,
            "seed": place.run.seed,
            "recipe": place.digest,
            "git_commit": commit(),
            "losses": told,
        }
        said(f"{place.run.name}: {np.mean(list(told.values())):.4f}")
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = {"schema": SCHEMA, "suite": suite.name, "split": "validation", "runs": found}
        write_atomic(path, json.dumps(whole, indent=1) + "\n")
    return path


def losses_path(out: Path, suite: str) -> Path:
    """Where the losses of a suite are kept."""
    return out / "validation" / f"{suite}.json"


def read_losses(path: Path) -> dict[str, Any]:
    """Losses by run, none where they were not measured."""
    if not path.is_file():
        return {}
    return dict(json.loads(path.read_text(encoding="utf-8"))["runs"])


def loss_rows(found: Mapping[str, Any], base: str) -> dict[str, tuple[Figure, Figure | None]]:
    """By method: the mean loss, and what it is above that of a base, with intervals over clips.

    Methods of several seeds are means over them; a difference is over the seeds that both have.
    """
    by: dict[str, dict[int, Mapping[str, float]]] = {}
    for run in found.values():
        by.setdefault(run["method"], {})[run["seed"]] = run["losses"]
    out: dict[str, tuple[Figure, Figure | None]] = {}
    for method, seeds in by.items():
        shared = sorted(set(seeds) & set(by.get(base, {})))
        apart: Figure | None = None
        if shared and method != base:
            ours, theirs = (_mean([by[m][s] for s in shared]) for m in (method, base))
            apart = ratio([(1.0, ours), (-1.0, theirs)], np.ones(len(ours)))
        own = _mean(list(seeds.values()))
        out[method] = ratio([(1.0, own)], np.ones(len(own))), apart
    return out


def _mean(seeds: Sequence[Mapping[str, float]]) -> Floats:
    """Loss of each clip [U], mean over seeds."""
    clips = sorted(seeds[0])
    out: Floats = np.mean([[one[clip] for clip in clips] for one in seeds], axis=0)
    return out
