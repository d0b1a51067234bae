"""Errors of the toolkit: what went wrong, where, and what to do about it, on one line."""

from __future__ import annotations

from frontends.errors import AvsrError, MediaError, RoiError

__all__ = ["AvsrError", "ConfigError", "MediaError", "ModelError", "RoiError", "SetupError"]


class ModelError(AvsrError):
    """A model that is unknown, unreadable, or does not fit what is asked of it."""


class ConfigError(AvsrError):
    """A setting, recipe or manifest that cannot be followed."""


class SetupError(AvsrError):
    """Something the work needs is missing here: weights, network, or an optional package.

    Args:
        what: what is missing, without a full stop.
        where: the file, package or cache it concerns.
        todo: what the user can do about it.
        exit_code: the exit status a command line gives for it.
    """

    def __init__(self, what: str, *, where: str = "", todo: str = "", exit_code: int = 3) -> None:
        super().__init__(what, where=where, todo=todo, exit_code=exit_code)
