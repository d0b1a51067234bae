"""Errors of the toolkit: what went wrong, where, and what to do about it, on one line."""

from __future__ import annotations

from frontends.errors import AvsrError, MediaError, RoiError, SetupError

__all__ = ["AvsrError", "ConfigError", "MediaError", "ModelError", "RoiError", "SetupError"]


class ModelError(AvsrError):
    """A model that is unknown, unreadable, or does not fit what is asked of it."""


class ConfigError(AvsrError):
    """A setting, recipe or manifest that cannot be followed."""
