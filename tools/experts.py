"""How the experts of a model are used, by layer, rate pair and kind of token, with controls.

    python tools/experts.py MODEL MANIFEST [--split validation] [--limit 20] [--out DIR]

Data: checkpoint + manifest -> DIR/experts.json, SVG figures, and a summary in Markdown, also on
stdout.
`--control disjoint=OTHER` puts the same study of another checkpoint beside it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
# This file has the name of a package that it and its neighbours need, and Python looks first in
# the folder of the script it runs: let the folder come last, and the repository first.
sys.path[:] = [
    str(_HERE.parent),
    *(entry for entry in sys.path if Path(entry).resolve() != _HERE),
    str(_HERE),
]
if __name__ == "experts":  # another tool asked for the package and got this file: give way
    del sys.modules["experts"]
    importlib.import_module("experts")


from avsr.cli.options import commas, count, whole  # noqa: E402

TASKS = ("a", "v", "av")
_TAKEN = ("model", "command", "manifest", "split", "tasks", "seed", "threads", "torch")


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help='"default", a checkpoint folder or a hub id')
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--split", default="validation", help="default: validation")
    parser.add_argument("--corpus", help="only clips of this corpus")
    parser.add_argument("--limit", type=count, metavar="N", help="so many clips, drawn by the seed")
    parser.add_argument("--tasks", type=commas(*TASKS), default=TASKS, help="default: a,v,av")
    parser.add_argument("--seed", type=whole, default=0, help="of clips, controls and intervals")
    parser.add_argument("--dtype", default="auto", help="of the LLM (default: auto)")
    parser.add_argument("--out", type=Path, default=Path("experts"), metavar="DIR")
    parser.add_argument(
        "--control",
        action="append",
        default=[],
        type=_control,
        metavar="NAME=MODEL",
        help="another checkpoint, such as one with disjoint routers or one without MoME",
    )
    return parser


def _control(text: str) -> tuple[str, str]:
    name, given, model = text.partition("=")
    if not name or not given or not model:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=MODEL")
    if not re.fullmatch(r"\w[\w.-]*", name) or name in _TAKEN:
        raise argparse.ArgumentTypeError(
            f"{name!r} cannot be a control's name: letters and numbers, and none of "
            f"{', '.join(_TAKEN)}"
        )
    return name, model


def _check_controls(names: Sequence[str]) -> None:
    """Refuse a name that two controls have.

    Raises:
        ConfigError: it is told.
    """
    from avsr.errors import ConfigError

    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"two controls are called {twice[0]!r}", todo="Name each its own way.")


def chosen(items: Sequence[Any], limit: int | None, seed: int) -> list[Any]:
    """The clips to read: all, or some drawn by the seed, in the manifest's order."""
    import numpy as np

    if limit is None or limit >= len(items):
        return list(items)
    picks = np.random.default_rng(seed).choice(len(items), size=limit, replace=False)
    return [items[i] for i in sorted(picks.tolist())]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study and write it down."""
    args = options().parse_args(argv)
    import torch
    from expert_figures import figures, summary
    from expert_study import study

    from avsr.cautions import untrained
    from avsr.errors import AvsrError
    from avsr.loading import load_model
    from avsr.manifest import read_manifest
    from avsr.writers import write_atomic

    try:
        _check_controls([name for name, _ in args.control])
        tasks = [task for task in TASKS if task in args.tasks]
        items = read_manifest(
            args.manifest,
            lambda item: item.split == args.split and args.corpus in (None, item.corpus),
        )
        items = chosen(items, args.limit, args.seed)
        if not items:
            print(f"no clips of split {args.split!r}", file=sys.stderr)
            return 2
        named = {"": args.model, **dict(args.control)}
        print(f"{len(items)} clips of split {args.split!r} of {args.manifest}", file=sys.stderr)
        args.out.mkdir(parents=True, exist_ok=True)
        report: dict[str, Any] = {}
        for name, model in named.items():
            recogniser = load_model(model, dtype=args.dtype)
            for task in tasks:
                note = untrained(recogniser.facts, task)
                if note is not None:
                    print(f"{model}: {note}", file=sys.stderr)
            found = study(
                recogniser,
                items,
                tasks,
                seed=args.seed,
                said=lambda line: print(line, file=sys.stderr, flush=True),
            )
            if not found["clips"]:
                print("no clip could be read", file=sys.stderr)
                return 1
            folder = args.out / name
            folder.mkdir(exist_ok=True)
            for file, text in figures(found).items():
                write_atomic(folder / file, text)
            about = f"## {model}, {len(found['clips'])} clips\n\n{summary(found)}\n"
            write_atomic(folder / "summary.md", about)
            print(about)
            report[name or "model"] = {"name": str(model), **found}
    except (AvsrError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    facts = {
        "command": ["python", "tools/experts.py", *(sys.argv[1:] if argv is None else argv)],
        "manifest": str(args.manifest),
        "split": args.split,
        "tasks": tasks,
        "seed": args.seed,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    write_atomic(args.out / "experts.json", json.dumps({**facts, **report}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
