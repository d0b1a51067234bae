"""The clips that visitors are looking at, in memory: decoded once, encoded once a noise level.

upload -> `Shelf.add` -> Held -> its takes, transcripts and mouth crops; the oldest goes first.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Any

from avsr.api import Recogniser
from avsr.errors import AvsrError, ConfigError
from avsr.prepare import Prepared
from avsr.serve import views
from avsr.serve.noise import Noise, add_noise
from avsr.transcript import Transcript

__all__ = ["Gone", "Held", "Shelf"]

TAKES = 4  # noisy takes of a clip that are kept
READINGS = 200  # transcripts of a clip that are kept


class Gone(AvsrError):
    """A clip, transcript or picture that the server does not hold."""


@dataclass(eq=False)
class Held:
    """One clip. Its parts are made in the worker's thread.

    Args:
        key: names it in addresses; who does not know it cannot see the clip.
        name: what its owner calls it.
        clean: as it was uploaded, encoded.
        mouth: its mouth crops as one PNG, None for sound alone.
    """

    key: str
    name: str
    clean: Prepared
    mouth: bytes | None
    _takes: OrderedDict[Noise, Prepared] = field(default_factory=OrderedDict)
    _readings: OrderedDict[str, tuple[Transcript, dict[str, Any]]] = field(
        default_factory=OrderedDict
    )

    def facts(self) -> dict[str, Any]:
        """For the page."""
        crops = self.clean.crops
        return views.clip(self.key, self.name, self.clean, 0 if crops is None else len(crops))

    def take(self, recogniser: Recogniser, noise: Noise | None) -> Prepared:
        """The clip with noise, encoded; its lips are those of the clean one.

        Args:
            recogniser: whose audio tower runs, if this noise is new.
            noise: None for the clip as it is.

        Raises:
            ConfigError: it has no sound.
        """
        if noise is None:
            return self.clean
        if self.clean.wave is None:
            raise ConfigError("the clip has no sound to add noise to", todo="Choose no noise.")
        if noise not in self._takes:
            wave = add_noise(self.clean.wave, noise)
            noisy = replace(self.clean, wave=wave, audio=None, timing=dict(self.clean.timing))
            recogniser.encode([noisy])
            _keep(self._takes, noise, noisy, TAKES)
        self._takes.move_to_end(noise)
        return self._takes[noise]

    def known(self, key: str) -> tuple[Transcript, dict[str, Any]] | None:
        """A transcript made before, and what was told of it."""
        return self._readings.get(key)

    def keep(self, key: str, made: Transcript, told: dict[str, Any]) -> None:
        """Keep a transcript for the next time, and for downloads."""
        _keep(self._readings, key, (made, told), READINGS)


class Shelf:
    """The clips that are held.

    Args:
        room: how many.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._held: OrderedDict[str, Held] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def add(self, name: str, clean: Prepared, mouth: bytes | None) -> Held:
        """Take one more; the one used longest ago goes where there is no room."""
        held = Held(secrets.token_urlsafe(16), name, clean, mouth)
        _keep(self._held, held.key, held, self._room)
        return held

    def get(self, key: str) -> Held:
        """Find one.

        Raises:
            Gone: it is not held, or not any more.
        """
        try:
            held = self._held[key]
            self._held.move_to_end(key)
        except KeyError:
            todo = "Upload it again."
            raise Gone("the clip is not held by this server (any more)", todo=todo) from None
        return held

    def remove(self, key: str) -> None:
        """Let one go; nothing happens if it is gone already."""
        self._held.pop(key, None)

    def clear(self) -> None:
        """Let all go."""
        self._held.clear()


def _keep(kept: OrderedDict[Any, Any], key: object, value: object, room: int) -> None:
    """Add an entry and drop the oldest beyond the room."""
    kept[key] = value
    while len(kept) > room:
        kept.popitem(last=False)
