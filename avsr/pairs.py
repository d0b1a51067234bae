"""References and hypotheses from files, matched: two paths -> list of `Pair`.

A text file has one utterance a line, in the same order on both sides. JSON lines have `text` (a
hypothesis `pred_text` first) and perhaps `id` and `speaker`. A `.trn` file is sclite's: the text,
and at the end of the line the id in brackets, of which the part up to `-` or `_`
names the speaker.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from avsr.errors import AvsrError

__all__ = ["Missing", "Pair", "match"]

Missing = Literal["strict", "present", "all"]
_TRN = re.compile(r"(.*)\(([^()\s]+)\)\s*")
_TODO = "Give a text, JSON-lines or trn file."


@dataclass(frozen=True)
class Pair:
    """One utterance.

    Args:
        id: its name; its number where the files have none.
        reference: what was said.
        hypothesis: what was heard.
        speaker: who said it; "" where the files do not tell.
    """

    id: str
    reference: str
    hypothesis: str
    speaker: str = ""


@dataclass(frozen=True)
class _Row:
    id: str | None
    text: str
    speaker: str = ""


def match(reference: Path, hypothesis: Path, missing: Missing = "strict") -> list[Pair]:
    """Read two files and put their utterances together, by id where both have ids.

    Args:
        reference: what was said.
        hypothesis: what was heard.
        missing: what a reference without a hypothesis means, as in Kaldi's compute-wer: "strict"
            refuses, "present" leaves it out, "all" counts it as one in which nothing was heard.

    Returns:
        Pairs in the order of the references.

    Raises:
        AvsrError: a file cannot be read, or the two do not fit each other.
    """
    said, heard = _read(reference, ("text",)), _read(hypothesis, ("pred_text", "text"))
    names, found = _by_id(said, reference), _by_id(heard, hypothesis)
    if names is None or found is None:
        return _in_order(said, heard, f"{reference}, {hypothesis}")
    absent, extra = sorted(names.keys() - found.keys()), sorted(found.keys() - names.keys())
    if extra or (absent and missing == "strict"):
        what = f"{len(absent)} ids without a hypothesis and {len(extra)} without a reference"
        todo = f"The first is {(absent + extra)[0]!r}; give one line for each id"
        todo += "." if extra else ", or --missing all, or present."
        raise AvsrError(what, where=str(hypothesis), todo=todo)
    pairs = [
        Pair(name, row.text, found[name].text if name in found else "", row.speaker)
        for name, row in names.items()
        if name in found or missing == "all"
    ]
    if not pairs:
        raise AvsrError("no reference has a hypothesis", where=str(hypothesis))
    return pairs


def _in_order(said: list[_Row], heard: list[_Row], where: str) -> list[Pair]:
    if len(said) != len(heard):
        raise AvsrError(
            f"{len(said)} references but {len(heard)} hypotheses",
            where=where,
            todo="Give one line for each utterance, an empty one where nothing was heard.",
        )
    return [
        Pair(left.id or right.id or str(number), left.text, right.text, left.speaker)
        for number, (left, right) in enumerate(zip(said, heard, strict=True), start=1)
    ]


def _by_id(rows: list[_Row], path: Path) -> dict[str, _Row] | None:
    """Id -> row, or None where a row has no id."""
    found = {row.id: row for row in rows if row.id is not None}
    if any(row.id is None for row in rows):
        return None
    if len(found) < len(rows):
        twice, _ = Counter(row.id for row in rows).most_common(1)[0]
        raise AvsrError(f"the id {twice!r} occurs twice", where=str(path), todo="Make ids unique.")
    return {key: replace(row, id=key) for key, row in found.items() if key is not None}


def _read(path: Path, keys: tuple[str, ...]) -> list[_Row]:
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"is not UTF-8 text at byte {error.start}"
        raise AvsrError(what, where=str(path), todo=_TODO) from error
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise AvsrError(what, where=str(path), todo=_TODO) from error
    lines = content.replace("\r\n", "\n").split("\n")
    lines = lines[:-1] if lines[-1] == "" else lines
    numbered = [(line, f"{path}, line {n}") for n, line in enumerate(lines, 1) if line.strip()]
    if path.suffix == ".trn":
        return [_trn(line, where) for line, where in numbered]
    if path.suffix in (".jsonl", ".json", ".ndjson") or content.lstrip().startswith("{"):
        return [_json(line, keys, where) for line, where in numbered]
    return [_Row(None, line) for line in lines]


def _json(line: str, keys: tuple[str, ...], where: str) -> _Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise AvsrError("is not JSON", where=where, todo="Give one object a line.") from error
    text = next((row[key] for key in keys if key in row), None) if isinstance(row, dict) else None
    if not isinstance(text, str):
        wanted = " or ".join(repr(key) for key in keys)
        raise AvsrError(f"has no {wanted} with a text", where=where, todo="Give one object a line.")
    name = str(row["id"]) if "id" in row else None
    return _Row(name, text, str(row.get("speaker") or ""))


def _trn(line: str, where: str) -> _Row:
    found = _TRN.fullmatch(line)
    if found is None:
        raise AvsrError("has no (id) at its end", where=where, todo="Write: the words (spk-001)")
    return _Row(found[2], found[1].strip(), re.split(r"[-_]", found[2], maxsplit=1)[0])
