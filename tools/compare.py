"""Compare MoME with its rivals: train what is missing, evaluate it, write JSONs, page and plots.

    python tools/compare.py --suite grid [--only NAME,...] [--hours H] [--steps N] [--dry-run]
    python tools/compare.py --suite grid --page           # the page again, from the JSONs alone
    python tools/compare.py --suite grid --sweep dense    # learning rates, by validation loss
    python tools/compare.py --suite grid --speed 15       # seconds a step and a token, turn about
    python tools/compare.py --suite grid --losses         # on validation clips, to choose by

Data: suite file -> trainings under .cache/compare/SUITE/RUN, one process at a time -> OUT/RUN.json
-> OUT/README.md. From the repository's root. What was killed goes on with the same command; a run
whose JSON is there is not done again, with the cache or without; a run that would not end within
--hours is not begun.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
# tools/experts.py has the name of a package that is needed here, and Python looks first in the
# folder of the script it runs: let the folder come last, and the repository first.
sys.path[:] = [
    str(_HERE.parent),
    *(entry for entry in sys.path if Path(entry).resolve() != _HERE),
    str(_HERE),
]

from compare_budget import Guess, guess  # noqa: E402
from compare_eval import (  # noqa: E402
    Memory,
    check_evaluation,
    evaluate_run,
    is_evaluated,
    read_reports,
    report_path,
    write_report,
)
from compare_page import write_page  # noqa: E402
from compare_suite import Suite, read_suite  # noqa: E402
from compare_train import CACHE, Fit, Place, fit, read, train  # noqa: E402

from avsr.cli.options import count  # noqa: E402
from avsr.errors import AvsrError  # noqa: E402

OUT = Path("recipes/results")


def _hours(text: str) -> float:
    hours = float(text)
    if not hours >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time")
    return hours


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--suite", default="grid", help="name or .yaml file (default: grid)")
    parser.add_argument("--only", default="", metavar="NAME,...", help="methods or runs")
    parser.add_argument("--hours", type=_hours, metavar="H", help="begin nothing that ends later")
    parser.add_argument("--steps", type=count, metavar="N", help="instead of the suite's")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help=f"default: {OUT}")
    parser.add_argument(
        "--cache", type=Path, default=CACHE, metavar="DIR", help=f"default: {CACHE}"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="say what would be done")
    what.add_argument("--page", action="store_true", help="only make the page again")
    what.add_argument("--losses", action="store_true", help="only losses on validation clips")
    what.add_argument("--speed", type=count, metavar="ROUNDS", help="only time the methods")
    what.add_argument("--sweep", metavar="METHOD", help="only its learning rates, on validation")
    return parser


def compare(
    suite: Suite,
    places: Sequence[Place],
    out: Path,
    *,
    hours: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    run_fit: Fit = fit,
    evaluated: Callable[..., Mapping[str, Any]] = evaluate_run,
    said: Callable[[str], None] = print,
) -> list[str]:
    """Train and evaluate what is missing.

    Args:
        suite: whose runs they are.
        places: of the runs, in the order to take them.
        out: folder of the JSONs and the page.
        hours: time there is, None for no end.
        clock: seconds.
        run_fit: as in `compare_train.train`.
        evaluated: as `compare_eval.evaluate_run`.
        said: told what happens.

    Returns:
        Names of the runs that were left out or failed.
    """
    end = None if hours is None else clock() + 3600 * hours
    every = [Place(suite, run, place.cache) for place in places[:1] for run in suite.runs()]
    memory: Memory = {}
    left: list[str] = []
    for place in places:
        name, path = place.run.name, report_path(out, place.run.name)
        if is_evaluated(read(path), place):  # its training may lie on another machine
            continue
        expected = guess(every, read_reports(out, suite))
        needed = expected.training(place) + expected.evaluation(place)
        if end is not None and clock() + needed > end:
            said(f"{name}: not begun, it would take {needed / 60:.0f} min")
            left.append(name)
            continue
        try:
            facts = train(place, clock=clock, run_fit=run_fit)
            said(f"{name}: trained, {facts['seconds_per_step']:.2f} s a step")
            command = ["python", "tools/compare.py", "--suite", suite.name, "--only", name]
            if suite.shortened:
                command += ["--steps", str(suite.steps)]
            out.mkdir(parents=True, exist_ok=True)
            write_report(path, evaluated(place, memory=memory, command=command, said=said))
        except AvsrError as error:  # the others may still go well
            said(f"{name}: error: {error}")
            left.append(name)
            continue
        try:
            write_page(suite, read_reports(out, suite), out)
        except AvsrError as error:  # of the reports, not of this run
            said(f"no page: {error}")
    return left


def plan(places: Sequence[Place], out: Path, suite: Suite) -> Iterator[str]:
    """A line for each run: what is there, and how long the rest would take."""
    every = [Place(suite, run, place.cache) for place in places[:1] for run in suite.runs()]
    expected: Guess = guess(every, read_reports(out, suite))
    total = 0.0
    for place in places:
        if is_evaluated(read(report_path(out, place.run.name)), place):
            yield f"{place.run.name}: done"
            continue
        learning, reading = expected.training(place), expected.evaluation(place)
        total += learning + reading
        steps = f"{place.steps_done} of {place.steps} steps done"
        yield f"{place.run.name}: {steps}, {learning / 60:.0f} + {reading / 60:.0f} min"
    yield f"{len(places)} runs, {total / 3600:.1f} hours to go"


@contextmanager
def alone(cache: Path) -> Iterator[None]:
    """Hold the lock of a cache; a training inherits it, and keeps it if this process is killed.

    Raises:
        AvsrError: another comparison, or a training of one, is at work.
    """
    fcntl = importlib.import_module("fcntl")  # not everywhere, and needed here alone
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AvsrError(
                "another comparison or its training is at work",
                where=str(cache / "lock"),
                todo="Wait for it; one process at a time keeps the speeds comparable.",
            ) from error
        os.set_inheritable(file.fileno(), True)
        yield


def main(argv: Sequence[str] | None = None) -> int:
    """Do what was asked; 1 if some run was left out or failed."""
    args = options().parse_args(argv)

    def said(line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)

    try:
        suite = read_suite(args.suite, args.steps)
        only = [name for name in args.only.split(",") if name]
        places = [Place(suite, run, args.cache) for run in suite.runs(only)]
        if args.dry_run:
            print(*plan(places, args.out, suite), sep="\n")
            return 0
        if args.sweep is not None:
            from compare_sweep import sweep

            with alone(args.cache):
                sweep(
                    suite,
                    args.sweep,
                    clock=time.monotonic,
                    out=args.out,
                    cache=args.cache,
                    said=said,
                )
            return 0
        left: list[str] = []
        if args.speed is not None:
            from compare_speed import speed

            with alone(args.cache):
                speed(suite, only, args.out, repeats=args.speed, said=said)
        elif args.losses:
            from compare_losses import losses

            losses(suite, places, args.out, said=said)
        elif not args.page:
            check_evaluation(suite)
            with alone(args.cache):
                left = compare(suite, places, args.out, hours=args.hours, said=said)
        print(write_page(suite, read_reports(args.out, suite), args.out))
        return 1 if left else 0
    except AvsrError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
