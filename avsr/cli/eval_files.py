"""The files of `avsr eval`: report, tables, plots, alignments.

Data: rows of an evaluation -> JSON, Markdown, CSV, SVG, text.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsr.cli.eval_table import title
from avsr.cli.options import add_option
from avsr.cli.outcome import one_line
from avsr.cli.score import add_reports, save

if TYPE_CHECKING:
    from avsr.api import Recogniser
    from avsr.bootstrap import Comparison
    from avsr.evaluate import EvalOptions, Row

__all__ = ["SCHEMA", "add_files", "homeless", "peak", "write_files"]

SCHEMA = "avsr.eval/2"
"""Version 2 names the damage of each row and lists its confusions and worst utterances."""


def add_files(parser: argparse._ActionsContainer) -> None:
    """Declare the options that name a file."""
    add_reports(parser)
    add_option(
        parser,
        "--plots",
        type=Path,
        metavar="DIR",
        help="draw WER by tokens per second, by SNR, by task and by damage, as SVG",
    )


def homeless(args: argparse.Namespace) -> str | None:
    """What is wrong with the names of the files, or None."""
    for path in (args.output_json, args.output_markdown, args.output_csv, args.alignments):
        if path is not None and not path.absolute().parent.is_dir():
            return f"no folder for {one_line(path)}"
    if args.plots is not None and args.plots.exists() and not args.plots.is_dir():
        return f"--plots wants a folder, and {one_line(args.plots)} is a file"
    return None


def write_files(
    args: argparse.Namespace,
    rows: Sequence[Row],
    recogniser: Recogniser,
    options: EvalOptions,
    against: Sequence[Comparison | None],
) -> None:
    """Write what was asked for.

    Raises:
        AvsrError: one that cannot be written.
    """
    from avsr.eval_report import csv_table, markdown_table

    told = [row.to_dict(most=args.most, drawn=args.bootstrap_by) for row in rows]
    if args.output_json is not None:
        report = _head(args, recogniser, options) | {"rows": _beside(told, against)}
        text = json.dumps(report, ensure_ascii=False, indent=2) + "\n"
        save(args.output_json, text, "--output-json")
    if args.output_markdown is not None:
        save(args.output_markdown, f"{markdown_table(rows)}\n", "--output-markdown")
    if args.output_csv is not None:
        save(args.output_csv, csv_table(rows), "--output-csv")
    if args.alignments is not None:
        save(
            args.alignments,
            "\n".join(_aligned(row, args.bootstrap_by) for row in rows),
            "--alignments",
        )
    if args.plots is not None:
        _draw(args.plots, told)


def _head(args: argparse.Namespace, recogniser: Recogniser, options: EvalOptions) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "manifest": str(args.manifest),
        "filters": {"split": args.split, "corpus": args.corpus, "speaker": args.speaker},
        "limit": args.limit,
        "model": dict(recogniser.facts),
        "decode": {
            "beam_size": args.beam_size,
            "max_new_tokens": args.max_new_tokens,
            "ctc": dict(options.decode.shares(recogniser.model.config)),
        },
        "noise": None if args.noise is None else str(args.noise),
        "damages": {name: one.to_dict()["damage"] for name, one in options.damages.items()},
        "seed": args.seed,
        "bootstrap_by": args.bootstrap_by,
        "peak_memory_bytes": peak(),
    }


def _beside(
    rows: Sequence[dict[str, Any]], against: Sequence[Comparison | None]
) -> list[dict[str, Any]]:
    """Each row with how it compares with the earlier report, if there is one."""
    from avsr.score_report import finite

    if not against:
        return list(rows)
    return [
        {**row, "against": None if one is None else finite(asdict(one))}
        for row, one in zip(rows, against, strict=True)
    ]


def _aligned(row: Row, drawn: str) -> str:
    """sclite's table of a row, then words under words."""
    from avsr.alignment import printed

    ids = [one.item.id for one in row.heard]
    table = row.report(drawn=drawn).table()
    return f"== {title(row.condition)}\n\n{table}\n\n" + "\n".join(printed(row.score, ids))


def _draw(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    from avsr.errors import AvsrError
    from avsr.eval_plots import PLOTS, plots

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"cannot make the folder: {error.strerror}"
        raise AvsrError(what, where=str(folder), todo="Choose another --plots.") from error
    made = plots(rows)
    for name, text in made.items():
        save(folder / name, text, "--plots")
    for name in PLOTS:
        if name not in made:
            print(f"avsr eval: {name} not drawn: too few rows", file=sys.stderr)


def peak() -> int:
    """Most memory that this process ever held, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
