"""Errors a user can act on: what went wrong, where, and what to do."""

from __future__ import annotations

from typing import ClassVar

__all__ = ["AvsrError", "MediaError", "RoiError", "SetupError"]


class AvsrError(Exception):
    """A wrong input or setting, told in one line.

    Args:
        what: what is wrong, without a full stop.
        where: the file, option or place it concerns.
        todo: what the user can do about it.
        exit_code: the exit status a command line gives for it, None for that of its kind.
    """

    status: ClassVar[int] = 1

    def __init__(
        self, what: str, *, where: str = "", todo: str = "", exit_code: int | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.todo = todo
        self.exit_code = self.status if exit_code is None else exit_code

    def __str__(self) -> str:
        """Return ``what (where). todo`` on one line."""
        place = f" ({self.where})" if self.where else ""
        advice = f". {self.todo}" if self.todo else ""
        return " ".join(f"{self.what}{place}{advice}".split())

    def __reduce__(self) -> tuple[object, ...]:
        """Keep every part across processes."""
        return (_rebuild, (type(self), self.what, self.where, self.todo, self.exit_code))


class MediaError(AvsrError):
    """A media file that cannot be used."""


class RoiError(AvsrError):
    """A picture in which no mouth can be found."""


class SetupError(AvsrError):
    """Something the work needs is missing here: weights, network, or an optional package."""

    status = 3


def _rebuild(kind: type[AvsrError], what: str, where: str, todo: str, code: int) -> AvsrError:
    return kind(what, where=where, todo=todo, exit_code=code)
