"""Checks of sizes that come from a file: JSON and YAML do not know what is a whole number."""

from __future__ import annotations

import math
from collections.abc import Sequence


def whole(least: int, **values: object) -> None:
    """Refuse sizes that are not whole numbers, or too small.

    Args:
        least: smallest size that makes sense.
        values: by name.

    Raises:
        ValueError: with the name and the number.
    """
    for name, value in values.items():
        if type(value) is not int:
            raise ValueError(f"{name}={value!r} must be a whole number")
        if value < least:
            raise ValueError(f"{name}={value} must be at least {least}")


def real(**values: object) -> None:
    """Refuse sizes that are not finite numbers.

    Args:
        values: by name.

    Raises:
        ValueError: with the name and what was given.
    """
    for name, value in values.items():
        if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
            raise ValueError(f"{name}={value!r} must be a finite number")


def low_rank(rank: int, alpha: int, targets: Sequence[str]) -> tuple[str, ...]:
    """Refuse sizes that make no low-rank layers.

    Args:
        rank: width of each bottleneck.
        alpha: the update is scaled by alpha / rank.
        targets: names of projections; a list, if read from JSON.

    Returns:
        The names.

    Raises:
        ValueError: sizes of another kind, no name, or one twice.
    """
    whole(1, rank=rank, alpha=alpha)
    if isinstance(targets, str) or not all(isinstance(name, str) for name in targets):
        raise ValueError(f"targets={targets!r} must be a list of names")
    if not targets:
        raise ValueError("targets=() names no projection")
    if len(set(targets)) < len(targets):
        raise ValueError(f"targets={list(targets)} names a projection twice")
    return tuple(targets)
