"""Error against tokens for every compressor, at matched budgets, beside the floors.

    python tools/bench_compress.py --toy --out DIR [--methods cluster keyframe,fine=1 ...]
    python tools/bench_compress.py --model default --manifest FILE --out DIR

Data: compressors -> DIR/<method>.json, one for each, and DIR/README.md with figures. What is there
is not measured again. `--toy` trains a small transformer on made-up digits, reads them with each
method inside the model that was trained by pooling, and again after tuning with the method;
a trained model reads a manifest's clips with each method that its card lets it.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from compress_figures import FLOORS, figures, page

from avsr.compress import compressors
from avsr.compress.pair import parse
from avsr.compress.presets import PRESETS
from avsr.writers import write_atomic

SCHEMA = "avsr.bench_compress/1"
TRAINED = [name for name in compressors if compressors[name].card.trainable]
# stack is left out of the toy, whose one projector reads tokens of one width
SETS = ("clean", "babble", "slow", "fast", "silence")
TOY = [name for name in compressors if name not in ("stack", "duration")]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is not there yet, and write the page."""
    args = _options().parse_args(argv)
    command = ["python", "tools/bench_compress.py", *(sys.argv[1:] if argv is None else argv)]
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
        title = "Compressors on toy digits"
    else:
        from bench_clips import jobs_of

        known = [n for n in compressors if n not in TRAINED and n != "stack"]
        jobs = jobs_of(args, list(dict.fromkeys([*FLOORS, *(args.methods or known)])))
        title = f"Compressors inside {args.model}"
    runs = resumed(args.out, jobs, facts)
    write_atomic(args.out / "README.md", page(runs, title))
    for name, drawing in figures(runs).items():
        write_atomic(args.out / name, drawing)
    return 0


def resumed(
    folder: Path, jobs: Mapping[str, Callable[[], dict[str, Any]]], facts: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Runs by name: read where they are written down, measured where they are not.

    Args:
        folder: of the JSONs.
        jobs: what measures each run.
        facts: what is written beside the figures.

    Raises:
        ValueError: a file of another schema or seed.
    """
    out = []
    for name, job in jobs.items():
        path = folder / f"{name.replace(',', '_').replace('=', '-')}.json"
        if path.is_file():
            run = json.loads(path.read_text(encoding="utf-8"))
            if (run.get("schema"), run.get("seed")) != (facts["schema"], facts["seed"]):
                raise ValueError(f"{path} is of another schema or seed: measure in a new folder")
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


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--toy", action="store_true", help="made-up digits")
    what.add_argument("--model", help="'default', or a folder with a checkpoint")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--methods", nargs="+", type=_method, metavar="NAME", help="name or name,key=value"
    )
    parser.add_argument("--seed", type=int, default=0)
    toy = parser.add_argument_group("with --toy")
    toy.add_argument("--steps", type=int, default=400, help="of training; a quarter for tuning")
    toy.add_argument("--rows", type=int, default=120, help="utterances of each test set")
    toy.add_argument("--conditions", nargs="+", choices=SETS, default=SETS, metavar="NAME")
    clips = parser.add_argument_group("with --model")
    clips.add_argument("--manifest", type=Path)
    clips.add_argument("--corpus", help="of the manifest")
    clips.add_argument("--split", default="test")
    clips.add_argument("--limit", type=int, help="clips")
    clips.add_argument("--noise", type=Path, help="sound mixed in")
    clips.add_argument("--snr", type=float, help="dB")
    return parser


def _method(text: str) -> str:
    """A compressor's name with perhaps settings, if there is such a one."""
    name = parse(text)["name"]
    if name not in compressors and name not in PRESETS:
        raise argparse.ArgumentTypeError(f"no compressor is called {name!r}")
    return text


if __name__ == "__main__":
    sys.exit(main())
