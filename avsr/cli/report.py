"""What a command says about its inputs on stderr: a line of text, or a JSON object, for each.

Data: errors and warnings -> lines. With "json" every line of stderr is one object of schema
`avsr.message/1`, so that a program need not read English.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, Literal

from avsr.cli.outcome import one_line
from avsr.errors import AvsrError

__all__ = ["SCHEMA", "JsonLines", "Level", "Style", "line", "say"]

SCHEMA = "avsr.message/1"
Style = Literal["text", "json"]
Level = Literal["error", "warning", "info"]


def line(
    level: Level,
    told: AvsrError | str,
    *,
    name: str | None = None,
    style: Style = "text",
) -> str:
    """Write one message as a line.

    Args:
        level: how bad it is.
        told: the error, or a sentence.
        name: the input it is about; None for the whole call.
        style: as text or as a JSON object.

    Returns:
        The line, without its end.
    """
    error = told if isinstance(told, AvsrError) else AvsrError(told)
    if style == "json":
        return json.dumps(_object(level, error, name, isinstance(told, AvsrError)))
    place = "" if error.where == name else error.where  # the line begins with the name
    text = one_line(AvsrError(error.what, where=place, todo=error.todo))
    return f"{'avsr' if name is None else one_line(name)}: {level}: {text}"


def _object(level: str, error: AvsrError, name: str | None, typed: bool) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "level": level,
        "input": name,
        "kind": type(error).__name__ if typed else None,
        "what": error.what,
        "where": error.where or None,
        "todo": error.todo or None,
        "exit_status": error.exit_code if typed else None,
    }


def say(told: AvsrError, style: Style) -> None:
    """Print an error of the whole call on stderr."""
    print(line("error", told, style=style), file=sys.stderr)


class JsonLines(logging.Formatter):
    """What the package logs, as JSON objects too."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        level: Level = "info"
        if record.levelno >= logging.ERROR:
            level = "error"
        elif record.levelno >= logging.WARNING:
            level = "warning"
        return line(level, record.getMessage(), style="json")
