"""Noise that a visitor may add to a clip: its kinds, and a clip's sound with it.

Sound [S] + kind + SNR in dB -> noisy sound [S], by `frontends.noise`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from avsr.errors import AvsrError, ConfigError
from frontends.media import open_clip
from frontends.noise import babble, mix, seed_of

__all__ = ["HIGHEST", "LOWEST", "Noise", "NoiseKind", "add_noise", "kinds"]

NoiseKind: TypeAlias = Literal["white", "babble"]
Wave: TypeAlias = NDArray[np.float32]

LOWEST, HIGHEST = -20.0, 40.0  # dB
VOICE = Path(__file__).parent.parent / "models" / "demo.mp4"
SPEEDS = (0.75, 0.85, 0.93, 1.07, 1.18, 1.33)  # of the packaged voice: a talker each
SECONDS = 20.0  # of babble; a longer clip hears it again


@dataclass(frozen=True)
class Noise:
    """What is added to a clip's sound.

    Args:
        kind: "white", or "babble": the packaged synthetic voice at six speeds at once.
        snr_db: signal-to-noise ratio over the clip's speech, in dB.

    Raises:
        ConfigError: no such kind, or an SNR out of range.
    """

    kind: NoiseKind
    snr_db: float

    def __post_init__(self) -> None:
        if self.kind not in get_args(NoiseKind):
            raise ConfigError(f"no noise {self.kind!r}", todo=f"There are: {', '.join(kinds())}.")
        if not LOWEST <= self.snr_db <= HIGHEST:
            raise ConfigError(f"an SNR of {self.snr_db} dB", todo=f"Stay in {LOWEST} to {HIGHEST}.")


def kinds() -> tuple[NoiseKind, ...]:
    """The kinds there are; without the packaged voice no babble."""
    return ("white", "babble") if VOICE.is_file() else ("white",)


def add_noise(wave: Wave, noise: Noise) -> Wave:
    """Mix noise into a clip, the same for the same clip length every time.

    Args:
        wave: speech [S] at 16 kHz.
        noise: kind and level.

    Returns:
        Noisy speech [S].

    Raises:
        AvsrError: the speech is silent, or there is no voice to babble.
    """
    seed = seed_of(str(len(wave)), f"avsr.serve/{noise.kind}")
    if noise.kind == "white":
        rng = np.random.default_rng(seed)
        other: Wave = rng.standard_normal(len(wave), dtype=np.float32)
    else:
        other = _babble()
    return mix(wave, other, snr_db=noise.snr_db, seed=seed)


@cache
def _babble() -> Wave:
    """Several voices made of one, by playing it faster and slower."""
    voice = open_clip(VOICE, streams="a").audio
    if voice is None:
        raise AvsrError("the packaged clip has no sound", where=str(VOICE))
    talkers = []
    for speed in SPEEDS:
        moments = np.arange(0, len(voice) - 1, speed)
        talkers.append(np.interp(moments, np.arange(len(voice)), voice).astype(np.float32))
    return babble(talkers, talkers=len(talkers), seconds=SECONDS, seed=0)
