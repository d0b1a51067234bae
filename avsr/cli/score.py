"""`avsr score`: word error rate of two files, with counts and an interval."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from avsr.cli.options import add_option, whole
from avsr.cli.outcome import FAILED, OK, guarded
from avsr.errors import AvsrError
from avsr.normalize import NORMALIZERS

__all__ = ["SCHEMA", "SUMMARY", "add_arguments", "run"]

SUMMARY = "compare two text files or manifests: WER, CER, S/D/I, interval"
SCHEMA = "avsr.score/1"

_EPILOG = """\
A text file has one utterance a line, in the same order on both sides; an empty line is an empty
utterance. A JSON-lines file has one object a line with "text" (in HYP "pred_text" comes first) and
perhaps "id": where both sides have ids they are matched by id. Rates are total errors over total
reference words; intervals are drawn over utterances (Bisani and Ney 2004).

exit status: 0 scored; 1 the files do not fit each other or --max-wer is exceeded; 2 wrong usage;
130 interrupted.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `avsr score`."""
    parser.description = "Word and character error rates of hypotheses against references."
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("reference", type=Path, metavar="REF", help="text or JSON-lines file")
    parser.add_argument("hypothesis", type=Path, metavar="HYP", help="text or JSON-lines file")
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
        parser, "--format", default="table", choices=["table", "json"], help="default: %(default)s"
    )
    add_option(
        parser,
        "--samples",
        type=whole,
        default=10_000,
        metavar="N",
        help="bootstrap draws; 0 for no interval (default: %(default)s)",
    )
    add_option(parser, "--seed", type=whole, default=0, metavar="N", help="default: %(default)s")
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
    from avsr.score import Comparison, Score, compare, score

    def scored(path: Path) -> Score:
        texts = _match(args.reference, path)
        return score(*texts, args.normalizer, samples=args.samples, seed=args.seed)

    result = scored(args.hypothesis)
    against: Comparison | None = None
    if args.against is not None:
        older = scored(args.against)
        against = compare(older, result, samples=max(args.samples, 1), seed=args.seed)
    if args.format == "json":
        report = {"schema": SCHEMA, **result.to_dict()}
        if against is not None:
            report["against"] = asdict(against)
        print(json.dumps(_finite(report), indent=2))
    else:
        print(_table(result))
        if against is not None:
            print(_sentence(against))
    if args.max_wer is not None and result.wer > args.max_wer:
        limit = f"{100 * args.max_wer:g} %"
        print(f"avsr score: WER {100 * result.wer:.2f} % is above {limit}", file=sys.stderr)
        return FAILED
    return OK


def _percent(text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / 100
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage such as 5 or 12.5")
    return value


def _finite(value: Any) -> Any:
    """JSON has no infinity: a system that went from no errors to some has no relative change."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and abs(value) == float("inf") else value


def _match(reference: Path, hypothesis: Path) -> tuple[list[str], list[str]]:
    """Texts of both files in one order, matched by id where both have ids."""
    said, heard = _read(reference, ("text",)), _read(hypothesis, ("pred_text", "text"))
    by_id, found = _by_id(said, reference), _by_id(heard, hypothesis)
    if by_id is not None and found is not None:
        missing, extra = sorted(by_id.keys() - found.keys()), sorted(found.keys() - by_id.keys())
        if missing or extra:
            what = f"{len(missing)} ids without a hypothesis and {len(extra)} without a reference"
            first = f"The first is {(missing + extra)[0]!r}; give one line for each id."
            raise AvsrError(what, where=str(hypothesis), todo=first)
        return list(by_id.values()), [found[key] for key in by_id]
    if len(said) != len(heard):
        raise AvsrError(
            f"{len(said)} references but {len(heard)} hypotheses",
            where=f"{reference}, {hypothesis}",
            todo="Give one line for each utterance, an empty one where nothing was heard.",
        )
    return [text for _, text in said], [text for _, text in heard]


def _by_id(rows: list[tuple[str | None, str]], path: Path) -> dict[str, str] | None:
    """Id -> text, or None where a row has no id."""
    ids = [key for key, _ in rows if key is not None]
    if len(ids) < len(rows):
        return None
    twice = next((key for index, key in enumerate(ids) if key in ids[:index]), None)
    if len(set(ids)) < len(ids):
        raise AvsrError(f"the id {twice!r} occurs twice", where=str(path), todo="Make ids unique.")
    return {key: text for key, text in rows if key is not None}


def _read(path: Path, keys: tuple[str, ...]) -> list[tuple[str | None, str]]:
    """Rows of (id or None, text)."""
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"is not UTF-8 text at byte {error.start}"
        raise AvsrError(what, where=str(path), todo="Give a text or JSON-lines file.") from error
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise AvsrError(what, where=str(path), todo="Give a text or JSON-lines file.") from error
    lines = content.replace("\r\n", "\n").split("\n")
    lines = lines[:-1] if lines[-1] == "" else lines
    if path.suffix in (".jsonl", ".json", ".ndjson") or content.lstrip().startswith("{"):
        rows = [(n, line) for n, line in enumerate(lines, start=1) if line.strip()]
        return [_row(line, keys, f"{path}, line {number}") for number, line in rows]
    return [(None, line) for line in lines]


def _row(line: str, keys: tuple[str, ...], where: str) -> tuple[str | None, str]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise AvsrError("is not JSON", where=where, todo="Give one object a line.") from error
    text = next((row[key] for key in keys if key in row), None) if isinstance(row, dict) else None
    if not isinstance(text, str):
        wanted = " or ".join(repr(key) for key in keys)
        raise AvsrError(f"has no {wanted} with a text", where=where, todo="Give one object a line.")
    return (str(row["id"]) if "id" in row else None), text


def _table(result: Any) -> str:
    """sclite's columns, a line for words and one for characters."""
    lines = [
        f"{'':6}{'Snt':>6}{'Ref':>8}{'Corr':>8}{'Sub':>7}{'Del':>7}{'Ins':>7}{'Err':>8}   95 %"
    ]
    for name, counts, interval in (
        ("words", result.words, result.wer_interval),
        ("chars", result.characters, result.cer_interval),
    ):
        numbers = (counts.hits, counts.substitutions, counts.deletions, counts.insertions)
        row = f"{name:6}{len(result.utterances):6}{counts.reference:8}{numbers[0]:8}"
        row += "".join(f"{number:7}" for number in numbers[1:]) + f"{100 * counts.rate:7.2f}%"
        if interval is not None:
            row += f"   {100 * interval.low:.2f} - {100 * interval.high:.2f}"
        lines.append(row)
    wrong = 100 * result.wrong / len(result.utterances)
    lines.append(
        f"utterances with errors {wrong:.1f} %, empty hypotheses {result.empty}, "
        f"normalizer {result.normalizer}"
    )
    return "\n".join(lines)


def _sentence(against: Any) -> str:
    span = f"{100 * against.interval.low:+.1f} to {100 * against.interval.high:+.1f}"
    return (
        f"WER {100 * against.relative:+.1f} % relative to --against (95 %: {span}), "
        f"better in {100 * against.improvement:.1f} % of the draws"
    )
