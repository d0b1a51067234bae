"""Error against tokens for every compressor, at matched budgets, beside the floors.

    python tools/bench_compress.py --toy [--out DIR] [--methods cluster keyframe,fine=1 ...]
    python tools/bench_compress.py --model default [--minutes 35]

Data: compressors -> DIR/<method>.json, one for each, and DIR/README.md with figures. What is there
is not measured again. `--toy` trains a small transformer on made-up digits, reads them with each
method inside the model that was trained by pooling, and again after tuning with the method.

A trained model reads clips with each method that its card lets it, and with all others once it is
tuned to them for a few steps; `--minutes` ends before a piece that would not fit, and the same
command goes on from there, also without the cache. `name,budget=threshold` reads by a threshold
that meets the same mean budget, found on validation clips.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from compress_figures import FLOORS, TUNED, figures, page, slug
from compress_page import RESULTS, whole_page

from avsr.cli.outcome import guarded
from avsr.compress import compressors
from avsr.compress.pair import parse
from avsr.compress.presets import PRESETS
from avsr.errors import ConfigError
from avsr.writers import write_atomic

SCHEMA = "avsr.bench_compress/1"
TOYS = Path(".cache/toy")  # what a toy says is no result
TRAINED = [name for name in compressors if compressors[name].card.trainable]
# stack is left out of the toy, whose one projector reads tokens of one width
SETS = ("clean", "babble", "slow", "fast", "silence")
METHODS = (  # of a trained model, in the order of their worth should time run out
    "cluster",
    "affinity",
    "atome",
    "keyframe",
    "novelty",
    "weighted",
    "density-peak",
    "k-means",
    "affinity,budget=threshold",
    "window-merge,budget=threshold",
    "affinity,weights=inverse",
    "conv",
    "guided",
    "hier",
    "cif",
    "qformer",
    "stack",
    "duration",
)
TOY = [name for name in compressors if name not in ("stack", "duration")]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is not there yet, and write the page."""
    args = _parsed(argv)
    command = ["python", "tools/bench_compress.py", *(sys.argv[1:] if argv is None else argv)]
    if args.threads:
        torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    facts = {
        "schema": SCHEMA,
        "command": command,
        "seed": args.seed,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()}, {platform.system()}",
    }
    if args.toy:
        from bench_toy import Bench

        bench = Bench(
            args.out,
            steps=args.steps,
            rows=args.rows,
            seed=args.seed,
            conditions=args.conditions,
        )
        jobs = bench.jobs(list(dict.fromkeys([*FLOORS, *(args.methods or TOY)])), TRAINED)
        runs = resumed(args.out, jobs, {**facts, "toy": bench.facts})
        text = page(runs, "Compressors on toy digits")
    else:
        runs = read_runs(args.out) if args.page_only else _clips(args, facts)
        text = whole_page(runs, args.out, wanted())
    write_atomic(args.out / "README.md", text)
    for name, drawing in figures(runs).items():
        write_atomic(args.out / name, drawing)
    return 0


def wanted() -> list[tuple[str, str]]:
    """Run and condition of all that there is to measure of a trained model."""
    import bench_clips
    import bench_readings

    runs = bench_clips.runs_of([*FLOORS, *METHODS], tuned=True)
    work = bench_clips.work_of(None, runs, bench_readings.BLOCKS, speed=False)
    return [
        (run, condition)
        for run, condition, _ in work
        if run.endswith(TUNED) or compressors[parse(run)["name"]].card.foreign == "warns"
    ]


def _clips(args: argparse.Namespace, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Runs of a trained model, as far as the minutes reach."""
    import bench_clips
    import bench_readings

    bench = bench_clips.Bench(
        model=args.model,
        manifest=args.manifest,
        noise=args.noise,
        cache=args.cache,
        seed=args.seed,
        limit=args.limit,
        steps=args.tuning_steps,
    )
    reader = bench_clips.Reader(bench)
    told = {**facts, "bench": bench.facts(reader.recogniser()), "tuning_steps": bench.steps}
    names = list(dict.fromkeys([*FLOORS, *(args.methods or METHODS)]))
    runs = bench_clips.runs_of(names, tuned=args.tuned == "yes")
    blocks = bench_readings.blocks_of(args.blocks)
    items = {block.condition: bench.items(block) for block in blocks}
    splits = {item.id: item.split for each in items.values() for item in each}
    clips = {condition: [item.id for item in each] for condition, each in items.items()}
    check_clips(read_runs(args.out), clips)
    listed = args.out / "clips.json"
    known = json.loads(listed.read_text(encoding="utf-8")) if listed.is_file() else {}
    write_atomic(listed, json.dumps({**known, **splits}, indent=0) + "\n")
    work = bench_clips.work_of(reader, runs, blocks, speed=args.speed == "yes")
    return grown(args.out, work, told, minutes=args.minutes)


def check_clips(runs: Iterable[Mapping[str, Any]], clips: Mapping[str, Sequence[str]]) -> None:
    """Refuse to go on with other clips than those that a folder's figures are of.

    Args:
        runs: those of the folder.
        clips: what would be read now, by condition.

    Raises:
        ConfigError: a run has read others, as with another manifest or `--limit`.
    """
    for run in runs:
        for piece, told in run["done"].items():
            read = told["clips"]  # none where the model refused the method
            if read and piece in clips and list(read) != list(clips[piece]):
                raise ConfigError(
                    f"{run['name']}, {piece}, is of {len(read)} clips, and this manifest and "
                    f"--limit give {len(clips[piece])}, not the same: measure in a new folder"
                )


def grown(
    folder: Path,
    work: Iterable[tuple[str, str, Callable[[], dict[str, Any]]]],
    facts: Mapping[str, Any],
    *,
    minutes: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> list[dict[str, Any]]:
    """Runs, each grown by the pieces that it lacks, as long as there is time.

    Args:
        folder: of the JSONs, written anew after each piece.
        work: name of a run, of a piece, and what measures it.
        facts: what is written beside the figures.
        minutes: in which a piece may begin, if those of its kind have fitted so far; None for ever.
        clock: seconds.

    Returns:
        All runs of the folder.

    Raises:
        ConfigError: a file of another schema, seed, model or tuning.
    """
    began = clock()
    longest = _longest(read_runs(folder))
    for name, piece, measure in work:
        path = folder / f"{slug(name)}.json"
        run = _opened(path, name, facts)
        if piece in run["done"]:
            continue
        kind = (piece, name.endswith(TUNED))
        left = math.inf if minutes is None else 60 * minutes - (clock() - began)
        if left <= longest.get(kind, 0.0):
            print(f"{name}, {piece}: no time left; the same command goes on", file=sys.stderr)
            break
        start = clock()
        found = measure()
        spent = clock() - start
        longest[kind] = max(spent, longest.get(kind, 0.0))
        _add(run, piece, found, {"seconds": spent, "load": os.getloadavg()[0], **facts})
        write_atomic(path, json.dumps(run) + "\n")
        print(f"{name}, {piece}: {spent:.0f} s", file=sys.stderr)
    return read_runs(folder)


def _longest(runs: Iterable[Mapping[str, Any]]) -> dict[tuple[str, bool], float]:
    """The seconds that each kind of piece has taken at most."""
    out: dict[tuple[str, bool], float] = {}
    for run in runs:
        for piece, told in run["done"].items():
            kind = (piece, run["name"].endswith(TUNED))
            out[kind] = max(told["seconds"], out.get(kind, 0.0))
    return out


def _opened(path: Path, name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """A run as it is written down, or a new one."""
    shared = ("schema", "seed", "bench", "tuning_steps")
    if not path.is_file():
        return {"name": name, **{k: facts[k] for k in shared}, "points": [], "done": {}}
    return _checked(path, facts, shared)


def _checked(path: Path, facts: Mapping[str, Any], shared: Sequence[str]) -> dict[str, Any]:
    """A run as it is written down, if it shares these facts."""
    run: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    other = [key for key in shared if run.get(key) != facts.get(key)]
    if other:
        raise ConfigError(f"{path} is of another {', '.join(other)}: measure in a new folder")
    return run


def _add(
    run: dict[str, Any], piece: str, found: Mapping[str, Any], facts: Mapping[str, Any]
) -> None:
    """Put a piece's figures into its run."""
    run["points"] += found.get("points", [])
    if found.get("refused"):
        run["refused"] = found["refused"]
    if found.get("note"):
        run["note"] = found["note"]
    if "steps" in found:
        run["timing"] = found
    told = ("command", "torch", "threads", "machine", "git", "seconds", "load")
    done = {key: facts[key] for key in told if key in facts}
    run["done"][piece] = {**done, "clips": found.get("clips", [])}


def read_runs(folder: Path) -> list[dict[str, Any]]:
    """The runs of a folder, floors first, tuned ones last."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    known = [run for run in found if run.get("schema") == SCHEMA and "done" in run]
    place = {name: number for number, name in enumerate([*FLOORS, *METHODS])}

    def order(run: Mapping[str, Any]) -> tuple[bool, int, str]:
        name = run["name"].removesuffix(TUNED)
        return run["name"].endswith(TUNED), place.get(name, len(place)), name

    return sorted(known, key=order)


def resumed(
    folder: Path, jobs: Mapping[str, Callable[[], dict[str, Any]]], facts: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Runs by name: read where they are written down, measured where they are not.

    Args:
        folder: of the JSONs.
        jobs: what measures each run.
        facts: what is written beside the figures.

    Raises:
        ConfigError: a file of another schema, seed or toy.
    """
    out = []
    for name, job in jobs.items():
        path = folder / f"{name.replace(',', '_').replace('=', '-')}.json"
        if path.is_file():
            run = _checked(path, facts, ("schema", "seed", "toy"))
        else:
            run = {**facts, "name": name, **job()}
            write_atomic(path, json.dumps(run) + "\n")
            print(f"{name}: {len(run['points'])} points", file=sys.stderr)
        out.append(run)
    return out


def timed(works: Mapping[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Median seconds of each stage, after one call that is not counted."""
    out = {}
    for name, work in works.items():
        work()
        spent = []
        for _ in range(repeats):
            began = time.perf_counter()
            work()
            spent.append(time.perf_counter() - began)
        out[name] = statistics.median(spent)
    return out


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for, with the folder it goes into."""
    parser = _options()
    args = parser.parse_args(argv)
    if args.out is None:
        args.out = TOYS if args.toy else RESULTS
    if args.toy and args.out.resolve() == RESULTS.resolve():
        parser.error("the results of the repository are no place for a toy: name another --out")
    return args


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--toy", action="store_true", help="made-up digits")
    what.add_argument("--model", help="'default', or a folder with a checkpoint")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"of --toy {TOYS} without it")
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument(
        "--methods", nargs="+", type=_method, metavar="NAME", help="name or name,key=value"
    )
    parser.add_argument("--seed", type=int, default=0)
    toy = parser.add_argument_group("with --toy")
    toy.add_argument("--steps", type=int, default=400, help="of training; a quarter for tuning")
    toy.add_argument("--rows", type=int, default=120, help="utterances of each test set")
    toy.add_argument("--conditions", nargs="+", choices=SETS, default=SETS, metavar="NAME")
    clips = parser.add_argument_group("with --model")
    shared = Path("../shared/data")
    clips.add_argument("--manifest", type=Path, default=shared / "manifest.jsonl")
    clips.add_argument("--noise", type=Path, default=shared / "noise" / "manifest.jsonl")
    clips.add_argument("--cache", type=Path, default=Path(".cache/compress"), help="features")
    clips.add_argument("--limit", type=int, help="clips of a condition, fewer than there are")
    clips.add_argument("--blocks", nargs="+", metavar="NAME", help="conditions, all without it")
    clips.add_argument("--tuned", choices=["yes", "no"], default="yes", help="tuned runs too")
    clips.add_argument("--speed", choices=["yes", "no"], default="yes", help="time the stages too")
    clips.add_argument("--tuning-steps", type=int, default=60)
    clips.add_argument("--minutes", type=float, help="when to stop, None for when all is done")
    clips.add_argument("--page-only", action="store_true", help="write the page from what is there")
    return parser


def _method(text: str) -> str:
    """A compressor's name with perhaps settings, if there is such a one."""
    name = parse(text)["name"]
    if name not in compressors and name not in PRESETS:
        raise argparse.ArgumentTypeError(f"no compressor is called {name!r}")
    return text


if __name__ == "__main__":
    sys.exit(guarded(main))
