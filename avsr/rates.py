"""The rate of each modality: how many frames of a tower make one token.

Data: "4,2" or YAML -> Rates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from avsr.errors import ConfigError

_NONE = ("none", "off", "-", "")


@dataclass(frozen=True)
class Rates:
    """Frames per token of each modality; None leaves the modality out.

    Args:
        audio: audio frames (50 Hz) per token.
        video: video frames (25 Hz) per token.

    Raises:
        ConfigError: a rate below 1 or not whole, or no modality at all.
    """

    audio: int | None = 4
    video: int | None = 2

    def __post_init__(self) -> None:
        """Check the numbers."""
        for kind, rate in (("audio", self.audio), ("video", self.video)):
            whole = isinstance(rate, int) and not isinstance(rate, bool)
            if rate is not None and (not whole or rate < 1):
                raise ConfigError(
                    f"the {kind} rate is {rate!r}",
                    todo="A rate is a whole number of frames per token, at least 1",
                )
        if self.audio is None and self.video is None:
            raise ConfigError(
                "neither an audio nor a video rate is given", todo="Give at least one of them"
            )

    @classmethod
    def parse(cls, text: str) -> Rates:
        """Read `audio,video`: "4,2" is both, "4,none" sound only, "none,2" lips only.

        Raises:
            ConfigError: anything else.
        """
        parts = [part.strip().lower() for part in text.split(",")]
        if len(parts) != 2 or not all(p in _NONE or p.isdecimal() for p in parts):
            raise ConfigError(
                f"cannot read the rates {text!r}", todo='Write audio,video: "4,2" or "4,none"'
            )
        audio, video = (None if p in _NONE else int(p) for p in parts)
        return cls(audio, video)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Rates:
        """Read back what `to_dict` wrote; a modality that is not named is left out.

        Raises:
            ConfigError: an unknown key or a bad rate.
        """
        unknown = sorted(set(data) - {"audio", "video"})
        if unknown:
            raise ConfigError(f"unknown rates {unknown}", todo="Name audio and video only")
        return cls(data.get("audio"), data.get("video"))

    def to_dict(self) -> dict[str, int | None]:
        """Plain dictionary for JSON."""
        return {"audio": self.audio, "video": self.video}

    def __str__(self) -> str:
        """Write what `parse` reads."""
        return ",".join("none" if r is None else str(r) for r in (self.audio, self.video))
