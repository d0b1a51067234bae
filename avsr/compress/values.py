"""Values of parameters, as they come from YAML or a command line, against a class's annotations.

A class checks what its numbers mean; here is checked that they are numbers at all.
"""

from __future__ import annotations

import math
import types
from collections.abc import Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

__all__ = ["check_values"]

_NAMES = {int: "a whole number", float: "a finite number", str: "a word", type(None): "null"}


def check_values(kind: type, given: dict[str, Any]) -> None:
    """Refuse values of other types than a class's parameters have.

    Args:
        kind: the class.
        given: parameters by name.

    Raises:
        ValueError: names the parameter and what it must be.
    """
    hints = get_type_hints(kind.__init__)  # type: ignore[misc]
    for name, value in given.items():
        hint = hints.get(name, Any)
        if not _fits(value, hint):
            raise ValueError(f"{name} must be {_told(hint)}, got {value!r}")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type; of types that files cannot hold all are taken."""
    origin = get_origin(hint)
    if origin is Literal:
        return value in get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in get_args(hint))
    if origin in (list, tuple, Sequence):
        if isinstance(value, str) or not isinstance(value, Sequence):
            return False
        return all(_fits(one, get_args(hint)[0]) for one in value)
    if hint is int:
        return type(value) is int
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    if hint in (str, type(None)):
        return isinstance(value, hint)
    return True


def _told(hint: Any) -> str:
    """A type in words."""
    origin = get_origin(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, get_args(hint)))
    if origin in (Union, types.UnionType):
        return " or ".join(map(_told, get_args(hint)))
    if origin in (list, tuple, Sequence):
        return f"a list, each {_told(get_args(hint)[0])}"
    return _NAMES.get(hint, str(hint))
