"""The page that answers which compressor to take: figures where there are any, else a plain no.

Data: runs of `bench_compress` and FOLDER/page.md, whose marks name the parts made here -> Markdown.

A method is chosen on validation clips alone, and what it is worth is told on test clips. Where no
interval on the test clips excludes zero, nothing is recommended over pooling.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench_tune import tune
from compress_figures import (
    FLOORS,
    NONE_YET,
    STREAMS,
    TUNED,
    Point,
    Run,
    against,
    check_pairs,
    detailed,
    kinds_of,
    matched,
    only,
    place,
    silence_table,
    table,
    verdict,
    wer,
)
from compress_whisper import layers, padding
from compress_wins import wins

from avsr.bootstrap import interval
from avsr.errors import ConfigError

RESULTS = Path(__file__).resolve().parents[1] / "recipes" / "results" / "compression"
SPLITS = ("validation", "test")


def whole_page(runs: Sequence[Run], folder: Path, wanted: Sequence[tuple[str, str]] = ()) -> str:
    """The page of a folder: its words, and at each mark the part of that name.

    Args:
        runs: those of the folder.
        folder: perhaps with a `page.md` of its own, `clips.json`, `padding.json` and
            `layer_cache.json`.
        wanted: run and condition of all that there is to measure.

    Raises:
        ConfigError: a mark that names no part, or runs of different clips.
    """
    check_pairs(runs)
    splits = _splits(folder)
    parts: Mapping[str, Callable[[], str]] = {
        "measured": lambda: measured(runs),
        "answer": lambda: answer(runs, splits),
        "wins": lambda: wins(runs, splits),
        "trained": lambda: trained(runs),
        "shipped": lambda: shipped(runs),
        "rates": learning_rates,
        "router": lambda: router(runs),
        "padding": lambda: padding(folder / "padding.json"),
        "cascade": lambda: cascade(runs, splits),
        "layers": lambda: layers(folder / "layer_cache.json"),
        "tables": lambda: tables(runs),
        "details": lambda: tables(detailed(runs), ("clean", "babble"), svg="no"),
        "empty": lambda: silence_table(runs),
        "speed": lambda: speed(runs),
        "refused": lambda: refused(runs, wanted),
    }
    own = folder / "page.md"
    words = (own if own.is_file() else RESULTS / "page.md").read_text(encoding="utf-8")

    def filled(mark: re.Match[str]) -> str:
        if mark[1] not in parts:
            raise ConfigError(f"page.md has a mark {mark[1]!r}, which names no part")
        return parts[mark[1]]()

    return re.sub(r"<!-- ([a-z]+) -->", filled, words)


def _splits(folder: Path) -> Mapping[str, str]:
    """Split of each clip by its id."""
    path = folder / "clips.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def measured(runs: Sequence[Run]) -> str:
    """What there is: conditions, how many methods and clips, with which command and machine."""
    pieces: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for run in runs:
        for piece, told in run.get("done", {}).items():
            pieces.setdefault(piece, []).append((run["name"], told))
    if not pieces:
        return NONE_YET
    lines = ["| condition | clips | as it is | tuned | minutes |", "|---|---|---|---|---|"]
    for piece, found in pieces.items():
        clips = max(len(told["clips"]) for _, told in found)
        tuned = sum(name.endswith(TUNED) for name, _ in found)
        spent = sum(told["seconds"] for _, told in found) / 60
        lines.append(f"| {piece} | {clips} | {len(found) - tuned} | {tuned} | {spent:.0f} |")
    commands = {" ".join(told["command"]) for found in pieces.values() for _, told in found}
    first = next(iter(pieces.values()))[0][1]
    bench = runs[0].get("bench", {})
    lines += [
        "",
        *(f"`{command}`" for command in sorted(commands)),
        "",
        f"Seed {runs[0]['seed']}, torch {first['torch']} on {first['threads']} threads of "
        f"{first['machine']}; trained weights `{bench.get('weights', '')[:12]}`; tuned runs had "
        f"{runs[0].get('tuning_steps')} steps.",
    ]
    return "\n".join(lines)


def answer(runs: Sequence[Run], splits: Mapping[str, str]) -> str:
    """For each modality and budget: the method that validation picks, and what test says of it."""
    lines = [
        "| streams | tokens/s | model | picked on validation | against `pool` on test | advice |",
        "|---|---|---|---|---|---|",
    ]
    for tuned in (False, True):
        own = {run["name"]: run for run in runs if run["name"].endswith(TUNED) == tuned}
        name = "pool" + (TUNED if tuned else "")
        if name not in own:
            continue
        for reference in own[name]["points"]:
            if reference["condition"] == "clean":
                lines.append(_advice(own, name, reference, splits))
    return "\n".join(lines) if len(lines) > 2 else NONE_YET


def _advice(runs: Mapping[str, Run], pool: str, reference: Point, splits: Mapping[str, str]) -> str:
    """One row of the answer."""
    rivals = {
        name: point
        for name, run in runs.items()
        if name not in FLOORS and name != pool
        for point in run["points"]
        if place(point) == place(reference) and matched(point, reference)
    }
    kinds = kinds_of(runs[pool], reference, splits)
    told = f"| {STREAMS[reference['task']]} | {reference['tokens_per_second']:.1f} | "
    told += "tuned to the method | " if pool.endswith(TUNED) else "trained by pooling | "
    chosen = {name: only(point, kinds, "validation") for name, point in rivals.items()}
    ready = [name for name, point in chosen.items() if sum(point["words"])]
    if not ready:
        return told + "no rival at these tokens | - | `pool` |"
    best = min(ready, key=lambda name: wer(chosen[name]))  # of equal ones the first measured
    found = against(only(rivals[best], kinds, "test"), only(reference, kinds, "test"))
    if found is None:
        return told + f"{best} | no test clips yet | `pool` |"
    advice = f"`{best.removesuffix(TUNED)}`" if found.high < 0 else "`pool`"
    advice += "" if found.high < 0 or found.low > 0 else ", undecided"
    return told + f"{best} | {verdict(found)} | {advice} |"


def trained(runs: Sequence[Run]) -> str:
    """Each method against pooling when the model was tuned to each for the same steps."""
    own = [run for run in runs if run["name"].endswith(TUNED)]
    if not any(run["name"] == "pool" + TUNED for run in own) or len(own) < 2:
        return NONE_YET
    return _differences(own, "pool" + TUNED)


def shipped(runs: Sequence[Run]) -> str:
    """Each tuned method against pooling as it is shipped, tuned pooling among them.

    What the steps of tuning did and what the method did are not told apart here.
    """
    own = [run for run in runs if run["name"].endswith(TUNED)]
    pool = [run for run in runs if run["name"] == "pool"]
    return _differences([*pool, *own], "pool") if pool and own else NONE_YET


def learning_rates() -> str:
    """Peak rates of learning at which tuned runs were tuned, a sentence."""
    known = inspect.signature(tune).parameters
    own, model = (f"{known[name].default:g}" for name in ("new_lr", "lr"))
    return (
        f"A method's own weights, such as the kernels of `conv`, were tuned at a peak learning "
        f"rate of {own}, all that the model had before at {model}; of other rates these figures "
        "say nothing."
    )


def router(runs: Sequence[Run]) -> str:
    """Adaptive segments in the model trained by pooling, which has never seen any."""
    wanted = ("cluster", "affinity", "atome", "density-peak")
    own = [run for run in runs if run["name"] in (*wanted, "pool")]
    return _differences(own, "pool") if len(own) > 1 else NONE_YET


def _differences(runs: Sequence[Run], pool: str) -> str:
    """Differences from pooling at every clean and noisy point."""
    by_name = {run["name"]: run for run in runs}
    if pool not in by_name:
        return NONE_YET
    points = [p for p in by_name[pool]["points"] if p["condition"] in ("clean", "babble")]
    names = [
        f"{p['task']}, {p['condition']}, {p['tokens_per_second']:.1f} tokens/s" for p in points
    ]
    lines = [f"| | {' | '.join(names)} |", "|" + "---|" * (1 + len(names))]
    for name, run in by_name.items():
        found = {place(p): p for p in run["points"]}
        cells = []
        for point in points:
            same = found.get(place(point))
            if same is None:
                cells.append("-")
            elif name == pool:
                cells.append(_with_interval(point))
            else:
                cells.append(verdict(against(same, point)))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _with_interval(point: Point) -> str:
    span = interval(point["edits"], point["words"], samples=2000)
    return f"WER {100 * wer(point):.1f} ({100 * span.low:.1f} to {100 * span.high:.1f})"


def cascade(runs: Sequence[Run], splits: Mapping[str, str]) -> str:
    """Coarse first, fine where the coarse text is doubted: errors against tokens of all passes.

    The share that is read again is 10, 20, ... 90 % of validation clips, by the mean
    log-probability of the coarse text; test clips meet the same thresholds.
    """
    pool = next((run for run in runs if run["name"] == "pool"), None)
    ready = [] if pool is None else [p for p in pool["points"] if "sure" in p]
    lines = [
        "| streams, condition | coarse alone | fine alone | cascade | chord at its tokens |",
        "|---|---|---|---|---|",
    ]
    for coarse in ready:
        fine = [p for p in ready if place(p) == (*place(coarse)[:2], 0)]
        if coarse["step"] == 0 or not fine or not sum(coarse["words"]):
            continue
        kinds = kinds_of(pool, coarse, splits)  # type: ignore[arg-type]
        known = [only(p, kinds, "validation") for p in (coarse, fine[0])]
        test = [only(p, kinds, "test") for p in (coarse, fine[0])]
        if not known[0]["words"] or not test[0]["words"]:
            continue
        shares = [n / 10 for n in range(1, 10)]
        best = max(shares, key=lambda share: (_gain(known, share), -share))
        limit = _limit(known[0], best)
        tokens, errors = _cascaded(test, limit)
        chord = _chord(test, tokens)
        ends = [f"{100 * wer(p):.1f} at {_spent(p):.0f}" for p in test]
        lines.append(
            f"| {STREAMS[coarse['task']]}, {coarse['condition']} | {' | '.join(ends)} "
            f"| {100 * errors:.1f} at {tokens:.0f} ({100 * best:.0f} % doubted) "
            f"| {100 * chord:.1f} |"
        )
    return "\n".join(lines) if len(lines) > 2 else NONE_YET


def _spent(point: Point) -> float:
    return sum(point["tokens"]) / len(point["tokens"])


def _limit(coarse: Point, share: float) -> float:
    """The confidence below which a share of the clips lies."""
    ranked = sorted(coarse["sure"])
    return ranked[min(len(ranked) - 1, round(share * len(ranked)))]


def _cascaded(two: Sequence[Point], limit: float) -> tuple[float, float]:
    """Mean tokens of all passes, and error rate."""
    coarse, fine = two
    doubted = [sure < limit for sure in coarse["sure"]]
    tokens = sum(coarse["tokens"]) + sum(
        t for t, again in zip(fine["tokens"], doubted, strict=True) if again
    )
    edits = [
        f if again else c
        for c, f, again in zip(coarse["edits"], fine["edits"], doubted, strict=True)
    ]
    return tokens / len(doubted), sum(edits) / sum(coarse["words"])


def _chord(two: Sequence[Point], tokens: float) -> float:
    """Error rate at so many tokens if chance said which clips are read again."""
    low, high = map(_spent, two)
    share = min(1.0, (tokens - low) / (high - low)) if high > low else 0.0
    return wer(two[0]) + share * (wer(two[1]) - wer(two[0]))


def _gain(two: Sequence[Point], share: float) -> float:
    """How far below the chord a share lies."""
    tokens, errors = _cascaded(two, _limit(two[0], share))
    return _chord(two, tokens) - errors


def tables(runs: Sequence[Run], only: Sequence[str] | None = None, *, svg: str = "yes") -> str:
    """A table for each task and condition in which something was said."""
    seen = [(p["condition"], p["task"]) for run in runs for p in run["points"] if sum(p["words"])]
    parts = []
    for condition, task in dict.fromkeys(seen):
        if only is not None and condition not in only:
            continue
        parts += [f"### {STREAMS[task].capitalize()}, {condition}", ""]
        parts += [f"![]({task}_{condition}.svg)", ""] if svg == "yes" else []
        parts += [table(runs, task, condition), ""]
    return "\n".join(parts).strip() or NONE_YET


def speed(runs: Sequence[Run]) -> str:
    """Medians and work of each stage, on one clip."""
    timed = [run for run in runs if run.get("timing", {}).get("steps")]
    if not timed:
        return NONE_YET
    steps = sorted(timed[0]["timing"]["steps"])
    stages = list(timed[0]["timing"]["steps"][steps[0]]["seconds"])
    parts = []
    for step in steps:
        lines = [
            f"| step {step} | tokens | {' | '.join(stages)} | decoding |",
            "|" + "---|" * (3 + len(stages)),
        ]
        loads = []
        for run in timed:
            found = run["timing"]["steps"][step]
            loads.append(found["load"])
            cells = [
                f"{1e3 * q[1]:.1f} ({1e3 * q[0]:.1f} to {1e3 * q[2]:.1f}) ms, "
                f"{found['macs'][name] / 1e9:.2f} GMAC"
                for name, q in found["seconds"].items()
            ]
            medians = {name: q[1] for name, q in found["seconds"].items()}
            inside = sum(medians[name] for name in ("compressor", "projector", "prefill"))
            rest = 1e3 * (medians["whole text"] - inside)
            tokens = " + ".join(str(count) for count in found["tokens"].values())
            lines.append(
                f"| {run['name']} | {tokens} | {' | '.join(cells)} "
                f"| {rest:.0f} ms, {found['text_tokens']} tokens |"
            )
        parts += [*lines, "", f"Load of the machine while timing: {max(loads):.1f}.", ""]
    return "\n".join(parts).strip()


def refused(runs: Sequence[Run], wanted: Sequence[tuple[str, str]] = ()) -> str:
    """What is not measured, and why.

    Args:
        runs: those that are there.
        wanted: run and condition of all that there is to measure.
    """
    lines = [f"- {run['name']}: {run['refused']}" for run in runs if "refused" in run]
    done = {(run["name"], piece) for run in runs for piece in run.get("done", {})}
    told = {run["name"] for run in runs if "refused" in run}
    for condition in dict.fromkeys(condition for _, condition in wanted):
        for how in ("as it is", "tuned"):
            own = [
                name
                for name, piece in wanted
                if piece == condition and name.endswith(TUNED) == (how == "tuned")
            ]
            lacking = [n for n in own if (n, condition) not in done and n not in told]
            if lacking:
                names = ", ".join(f"`{name.removesuffix(TUNED)}`" for name in lacking)
                some = "all" if len(lacking) == len(own) else names
                lines.append(f"- {condition}, {how}, not measured yet: {some}")
    return "\n".join(lines) or "Nothing."
