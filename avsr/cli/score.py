"""`avsr score`: word error rate of two files, with counts and an interval."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from avsr.cli.options import add_option, whole
from avsr.cli.outcome import FAILED, OK, guarded
from avsr.errors import AvsrError, ConfigError
from avsr.normalize import NORMALIZERS
from avsr.writers import write_atomic

if TYPE_CHECKING:
    from avsr.pairs import Pair
    from avsr.score_report import Report

__all__ = ["SUMMARY", "add_arguments", "add_gate", "gate", "run", "save"]

SUMMARY = "compare two text files or manifests: WER, CER, S/D/I, interval"

_EPILOG = """\
A text file has one utterance a line, in the same order on both sides; an empty line is an empty
utterance. A JSON-lines file has one object a line with "text" (in HYP "pred_text" comes first) and
perhaps "id" and "speaker"; a .trn file is sclite's, with "(speaker-id)" at the end of a line: where
both sides have ids they are matched by id. Rates are total errors over total reference words;
intervals are drawn over utterances or speakers (Bisani and Ney 2004).

exit status: 0 scored; 1 the files do not fit each other or --max-wer is exceeded; 2 wrong usage;
130 interrupted.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `avsr score`."""
    parser.description = "Word and character error rates of hypotheses against references."
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("reference", type=Path, metavar="REF", help="text, JSON-lines or trn file")
    parser.add_argument("hypothesis", type=Path, metavar="HYP", help="text, JSON-lines or trn file")
    add_option(
        parser, "--against", type=Path, metavar="HYP", help="an older system to compare with"
    )
    add_option(
        parser,
        "--normalizer",
        default="lrs3",
        choices=NORMALIZERS,
        help="how texts are made comparable (default: %(default)s)",
    )
    add_option(
        parser,
        "--missing",
        default="strict",
        choices=["strict", "present", "all"],
        help="a reference without a hypothesis: refuse, leave out, or count as nothing heard "
        "(default: %(default)s)",
    )
    add_option(
        parser,
        "--format",
        default="table",
        choices=["table", "json", "markdown", "csv"],
        help="of what is printed (default: %(default)s)",
    )
    add_reports(parser)
    add_option(
        parser,
        "--samples",
        type=whole,
        default=10_000,
        metavar="N",
        help="bootstrap draws; 0 for no interval (default: %(default)s)",
    )
    add_option(
        parser,
        "--bootstrap-by",
        default="utterance",
        choices=["utterance", "speaker"],
        help="what the bootstrap draws (default: %(default)s)",
    )
    add_option(parser, "--seed", type=whole, default=0, metavar="N", help="default: %(default)s")
    add_gate(parser)


def add_reports(parser: argparse._ActionsContainer) -> None:
    """Declare the files of a report, and how much it tells."""
    add_option(parser, "--output-json", type=Path, metavar="FILE", help="the whole report as JSON")
    add_option(parser, "--output-markdown", type=Path, metavar="FILE", help="the tables for a page")
    add_option(
        parser, "--output-csv", type=Path, metavar="FILE", help="the table for a spreadsheet"
    )
    add_option(
        parser, "--alignments", type=Path, metavar="FILE", help="words under words, as sclite's"
    )
    add_option(
        parser,
        "--most",
        type=whole,
        default=10,
        metavar="N",
        help="confusions and worst utterances to report (default: %(default)s)",
    )


def add_gate(parser: argparse._ActionsContainer) -> None:
    """Add --max-wer."""
    add_option(
        parser,
        "--max-wer",
        type=_percent,
        metavar="PERCENT",
        help="end with status 1 if the WER is higher, such as 5 for 5 %%",
    )


def run(args: argparse.Namespace) -> int:
    """Do what `avsr score` was asked, and return its exit status."""
    return guarded(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    from avsr.pairs import match

    pairs = match(args.reference, args.hypothesis, args.missing)
    older = None if args.against is None else match(args.reference, args.against, args.missing)
    report = _report(args, pairs, older)
    forms = _forms(report)
    print(forms[args.format]().removesuffix("\n"))
    for form in ("json", "markdown", "csv"):
        path = getattr(args, f"output_{form}")
        if path is not None:
            save(path, f"{forms[form]().rstrip()}\n", f"--output-{form}")
    if args.alignments is not None:
        from avsr.alignment import printed

        save(args.alignments, "\n".join(printed(report.score, report.ids)), "--alignments")
    return gate(report.score.wer, args.max_wer, "avsr score")


def _forms(report: Report) -> dict[str, Callable[[], str]]:
    return {
        "table": report.table,
        "json": lambda: json.dumps(report.to_dict(), ensure_ascii=False, indent=2),
        "markdown": report.markdown,
        "csv": report.csv,
    }


def _report(args: argparse.Namespace, pairs: list[Pair], older: list[Pair] | None) -> Report:
    from avsr.score import Score, compare, score
    from avsr.score_report import Report

    if older is not None:  # with --missing present the two may lack different ones
        both = {pair.id for pair in pairs} & {pair.id for pair in older}
        pairs, older = ([p for p in side if p.id in both] for side in (pairs, older))
    speakers = [pair.speaker for pair in pairs]
    known = all(speakers)
    if args.bootstrap_by == "speaker" and not known:
        todo = "Give REF as JSON lines with 'speaker' in each, or as .trn."
        raise ConfigError("the speakers are not known", where=str(args.reference), todo=todo)
    clusters = speakers if args.bootstrap_by == "speaker" else None

    def scored(side: list[Pair]) -> Score:
        texts = [p.reference for p in side], [p.hypothesis for p in side]
        how = {"samples": args.samples, "seed": args.seed}
        return score(*texts, args.normalizer, clusters=clusters, **how)

    result = scored(pairs)
    against = None
    if older is not None:
        draws = max(args.samples, 1)
        against = compare(scored(older), result, samples=draws, seed=args.seed, clusters=clusters)
    ids = tuple(pair.id for pair in pairs)
    return Report(
        result, ids, tuple(speakers) if known else (), against, args.bootstrap_by, args.most
    )


def save(path: Path, text: str, option: str) -> None:
    """Write a report whole.

    Raises:
        AvsrError: it cannot be written.
    """
    try:
        write_atomic(path, text)
    except OSError as error:
        what = f"cannot write the report: {error.strerror}"
        raise AvsrError(what, where=str(path), todo=f"Choose another {option}.") from error


def gate(wer: float, limit: float | None, who: str) -> int:
    """The exit status that --max-wer asks for, told on stderr where it is not 0."""
    if limit is None or wer <= limit:
        return OK
    print(f"{who}: WER {100 * wer:.2f} % is above {100 * limit:g} %", file=sys.stderr)
    return FAILED


def _percent(text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / 100
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage such as 5 or 12.5")
    return value
