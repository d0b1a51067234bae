"""What a visitor chose for a reading: JSON of a request -> Settings, or a refusal.

The keys are the page's controls: modality, audio_rate, video_rate, noise, snr.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from avsr.errors import ConfigError
from avsr.rates import Rates
from avsr.serve.noise import Noise
from experts.rows import TASKS, Task

__all__ = ["Settings"]

KEYS = ("modality", "audio_rate", "video_rate", "noise", "snr")


@dataclass(frozen=True)
class Settings:
    """How to read a clip.

    Args:
        modality: None for all that the clip has.
        audio_rate: None for the finest.
        video_rate: None for the finest.
        noise: None for the clip as it is.
    """

    modality: Task | None = None
    audio_rate: int | None = None
    video_rate: int | None = None
    noise: Noise | None = None

    @classmethod
    def parse(cls, body: bytes) -> Settings:
        """Read the body of a request.

        Args:
            body: a JSON object with some of `KEYS`; null is as if it were not there.

        Raises:
            ConfigError: not such an object.
        """
        try:
            found = json.loads(body or b"{}")
        except (ValueError, RecursionError) as error:
            raise ConfigError("the settings are not JSON") from error
        if not isinstance(found, dict) or not set(found) <= set(KEYS):
            raise ConfigError("the settings are none", todo=f"Send some of {', '.join(KEYS)}.")
        modality = found.get("modality")
        if modality not in (None, *TASKS):
            raise ConfigError(f"no modality {modality!r}", todo=f"There are {', '.join(TASKS)}.")
        return cls(
            modality=cast("Task | None", modality),
            audio_rate=_whole(found, "audio_rate"),
            video_rate=_whole(found, "video_rate"),
            noise=_noise(found),
        )

    def rates(self) -> Rates | None:
        """The rates that were given, None for none."""
        if self.audio_rate is None and self.video_rate is None:
            return None
        return Rates(self.audio_rate, self.video_rate)


def _whole(found: Mapping[str, Any], key: str) -> int | None:
    value = found.get(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise ConfigError(f"{key} is {value!r}, not a whole number")


def _noise(found: Mapping[str, Any]) -> Noise | None:
    kind, snr = found.get("noise"), found.get("snr")
    if kind is None and snr is None:
        return None
    if not isinstance(kind, str) or isinstance(snr, bool) or not isinstance(snr, (int, float)):
        raise ConfigError("noise needs a kind and an SNR", todo="Send noise and snr, or neither.")
    return Noise(kind, float(snr))  # type: ignore[arg-type]  # Noise itself refuses other kinds
