"""Kinds of damage to sound: noise, babble, rooms, gaps.

Data: speech [S] float32 at 16 kHz -> the same length.  Noise is added at its SNR to the speech as
the room leaves it, whatever other noise is added: `frontends.damage` sees to the order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frontends.damage_kind import Kind, Range, check, drawn, masks
from frontends.errors import AvsrError
from frontends.noise import RATE, babble, mix
from frontends.recordings import Recordings

__all__ = ["SOUND", "Added", "Babble", "Noise", "Room", "SoundMask"]

Wave = NDArray[np.float32]

PEAK = 0.5  # share of an impulse response's peak at which its direct sound begins
SPARE = 3  # recordings a talker of a babble is given


@dataclass(frozen=True, kw_only=True)
class _Source(Kind):
    """What is drawn from recordings.

    Args:
        source: folder or manifest of recordings.
        split: of a manifest, the only split to read.
        of: of a manifest, the only kind to read.
    """

    source: str
    split: str = ""
    of: str = ""

    @cached_property
    def recordings(self) -> Recordings:
        """The recordings, listed when first needed."""
        return Recordings(self.source, split=self.split, of=self.of)


@dataclass(frozen=True, kw_only=True)
class Added(_Source):
    """Something added at an SNR: give `snr_db` or `levels`.

    Args:
        snr_db: over the active samples of the speech; two numbers for a range.
        levels: SNRs of which a clip gets one; null leaves it clean.
    """

    snr_db: Range | None = None
    levels: tuple[float | None, ...] = ()

    def __post_init__(self) -> None:
        """Check the levels."""
        super().__post_init__()
        if (self.snr_db is None) == (not self.levels):
            raise ValueError("give snr_db or levels, one of the two")
        for level in (self.snr_db, *self.levels):
            if level is not None:
                check("an SNR", level, -100, 100)

    def level(self, rng: np.random.Generator) -> float | None:
        """Draw an SNR; None for clean."""
        if self.snr_db is not None:
            return drawn(self.snr_db, rng)
        return self.levels[int(rng.integers(len(self.levels)))]

    def added(self, speech: Wave, rng: np.random.Generator, clip: str) -> Wave:
        """What is added to the speech of a clip [S]."""
        snr = self.level(rng)
        if snr is None:
            return np.zeros_like(speech)
        noise = self.noise(len(speech), rng, clip)
        noisy = mix(speech, noise, snr_db=snr, seed=int(rng.integers(2**62)))
        added: Wave = noisy - speech
        return added

    def noise(self, samples: int, rng: np.random.Generator, clip: str) -> Wave:
        """A recording for a clip of so many samples."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Noise(Added):
    """One recording: noise, music, or one more talker."""

    def noise(self, samples: int, rng: np.random.Generator, clip: str) -> Wave:
        """Draw a recording."""
        return self.recordings.draw(rng, 1, but=clip)[0]


@dataclass(frozen=True, kw_only=True)
class Babble(Added):
    """Several talkers at once, mixed from recordings of speech.

    Args:
        talkers: how many; two numbers for a range.
    """

    talkers: int | tuple[int, int] = (3, 8)

    def __post_init__(self) -> None:
        """Check the talkers."""
        super().__post_init__()
        check("talkers", self.talkers, 1, 100)

    def noise(self, samples: int, rng: np.random.Generator, clip: str) -> Wave:
        """Mix so much babble as the clip is long."""
        ends = (self.talkers,) * 2 if isinstance(self.talkers, int) else self.talkers
        talkers = int(rng.integers(ends[0], ends[1] + 1))
        said = self.recordings.draw(rng, SPARE * talkers, but=clip)
        seconds = max(1, samples) / RATE
        return babble(said, talkers=talkers, seconds=seconds, seed=int(rng.integers(2**62)))


@dataclass(frozen=True, kw_only=True)
class Room(_Source):
    """A room: speech convolved with an impulse response.

    The direct sound stays where it was, so that lips and sound stay together, and the whole keeps
    the power of the speech.
    """

    def apply(self, speech: Wave, rng: np.random.Generator, clip: str) -> Wave:
        """Put speech [S] into a room drawn from the recordings."""
        response = self.recordings.draw(rng, 1)[0].astype(np.float64)
        peak = np.abs(response).max()
        if peak == 0:
            raise AvsrError("an impulse response is silent", where=self.source, todo="Leave it out")
        response = response[int(np.argmax(np.abs(response) >= PEAK * peak)) :]
        size = len(speech) + len(response) - 1
        spectrum = np.fft.rfft(speech, size) * np.fft.rfft(response, size)
        wet = np.fft.irfft(spectrum, size)[: len(speech)]
        power = float(np.mean(np.square(wet))) if len(wet) else 0.0
        if power == 0:
            return speech
        gain = np.sqrt(np.mean(np.square(speech, dtype=np.float64)) / power)
        placed: Wave = (gain * wet).astype(np.float32)
        return placed


@dataclass(frozen=True, kw_only=True)
class SoundMask(Kind):
    """Adaptive time masking (arXiv 2201.01763) of sound: spans are silenced.

    Args:
        per_second: spans a second of clip.
        longest: s; a span is as long as is drawn from 0 to this.
    """

    per_second: float = 1.0
    longest: float = 0.4

    def __post_init__(self) -> None:
        """Check the sizes."""
        super().__post_init__()
        check("per_second", self.per_second, 0, 100)
        check("longest", self.longest, 0, 10)

    def apply(self, speech: Wave, rng: np.random.Generator, clip: str) -> Wave:
        """Silence spans of [S]."""
        masked: Wave = speech.copy()
        for span in masks(len(speech), RATE, self.per_second, self.longest, rng):
            masked[span] = 0
        return masked


SOUND: dict[str, Any] = {
    "noise": Noise,
    "music": Noise,
    "speech": Noise,
    "babble": Babble,
    "room": Room,
    "sound_mask": SoundMask,
}
