"""Mouth shapes of sounds, and how a mouth moves through them.

phonemes with times -> `MouthTrack` -> the `Mouth` at any time

The table is our own reading of what can be seen of each English sound; the blend of neighbours by
how much each insists on its shape follows the idea of Cohen and Massaro, "Modeling coarticulation
in synthetic visual speech", 1993.
"""
# The phonetic alphabet is meant as it stands.
# ruff: noqa: RUF001

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Mouth:
    """The shape of a mouth; every number is 0 (none) to 1 (as far as speech goes).

    Attributes:
        open: distance between the lips.
        wide: corners drawn apart; 0.5 at rest.
        round: lips pushed forward.
        teeth: how much of the upper teeth shows when open.
        tongue: its tip behind or between the teeth.
        tuck: lower lip under the upper teeth.
        press: lips pressed on each other.
    """

    open: float = 0.0
    wide: float = 0.5
    round: float = 0.0
    teeth: float = 0.0
    tongue: float = 0.0
    tuck: float = 0.0
    press: float = 0.0


REST = Mouth(open=0.02)
# sounds, mouth, weight: how much the shape insists on itself against its neighbours
VISEMES: tuple[tuple[str, Mouth, float], ...] = (
    ("pbm", Mouth(0.0, 0.46, 0.05, press=1.0), 5.0),
    ("fv", Mouth(0.2, 0.5, teeth=0.9, tuck=1.0), 4.0),
    ("θð", Mouth(0.25, 0.55, teeth=0.8, tongue=1.0), 2.0),
    ("tdn", Mouth(0.2, 0.58, teeth=0.8, tongue=0.5), 0.9),
    ("l", Mouth(0.32, 0.55, teeth=0.7, tongue=0.9), 1.0),
    ("sz", Mouth(0.13, 0.68, teeth=1.0), 1.5),
    ("ʃʒʧʤ", Mouth(0.22, 0.25, 0.7, teeth=0.9), 2.0),
    ("ɹr", Mouth(0.22, 0.28, 0.55, teeth=0.4), 1.2),
    ("w", Mouth(0.12, 0.02, 1.0), 3.0),
    ("j", Mouth(0.2, 0.7, teeth=0.7), 0.8),
    ("kɡŋx", Mouth(0.28, 0.52, teeth=0.4), 0.5),
    ("hʔɾ", Mouth(0.3, 0.52, teeth=0.4), 0.3),
    ("iɪI", Mouth(0.28, 0.85, teeth=0.9), 1.2),
    ("eɛA", Mouth(0.5, 0.75, teeth=0.8), 1.2),
    ("æaYW", Mouth(0.8, 0.68, teeth=0.7), 1.3),
    ("ɑʌɐ", Mouth(0.85, 0.52, 0.05, teeth=0.5), 1.2),
    ("əɜɚᵊ", Mouth(0.38, 0.5, 0.05, teeth=0.5), 0.7),
    ("ɒɔ", Mouth(0.75, 0.22, 0.55, teeth=0.2), 1.4),
    ("oO", Mouth(0.5, 0.12, 0.8, teeth=0.1), 1.5),
    ("uʊ", Mouth(0.24, 0.03, 0.95), 1.7),
)
SHAPES = {sound: (mouth, weight) for sounds, mouth, weight in VISEMES for sound in sounds}


class Timed(Protocol):
    """A phoneme symbol with its times in seconds."""

    symbol: str
    start: float
    end: float


class MouthTrack:
    """The mouth over time: each sound pulls towards its shape, near sounds pull at once.

    The shape at time t is the mean of all sounds' shapes, weighted by their insistence and a
    bell around t; lips run ahead of the sound a little, as people's do.

    Args:
        phones: with times; stress marks lend their time to the sound after them, length marks to
            the one before, pauses and stops are the mouth at rest.
        lead: s by which the lips are ahead.
        width: s, standard deviation of the bell.
    """

    STEP = 0.005

    def __init__(
        self, phones: Sequence[Timed], *, lead: float = 0.04, width: float = 0.036
    ) -> None:
        self.end = max((p.end for p in phones), default=0.0) + 1.0
        count = round((self.end + 1.0) / self.STEP)
        self._start = -1.0
        shapes = np.tile(np.array(astuple(REST)), (count, 1))
        weights = np.full(count, 0.35)
        for symbol, start, end in joined(phones):
            a = round((start - lead - self._start) / self.STEP)
            b = round((end - lead - self._start) / self.STEP)
            mouth, weight = SHAPES.get(symbol, (REST, 0.35))
            if symbol == " " and end - start < 0.12:
                weight = 0.02  # between words of one breath nobody closes the mouth
            shapes[a:b], weights[a:b] = astuple(mouth), weight
        reach = np.arange(-4 * width, 4 * width + self.STEP, self.STEP)
        bell = np.exp(-0.5 * (reach / width) ** 2)
        total = np.convolve(weights, bell, "same")
        self._shapes = np.stack(
            [np.convolve(weights * s, bell, "same") / total for s in shapes.T], axis=1
        )

    def at(self, time: float) -> Mouth:
        """The mouth at a time in seconds."""
        place = (time - self._start) / self.STEP
        grid = np.arange(len(self._shapes))
        return Mouth(*(float(np.interp(place, grid, s)) for s in self._shapes.T))


def joined(phones: Sequence[Timed]) -> list[tuple[str, float, float]]:
    """Sounds without marks: symbol, start s, end s."""
    sounds: list[tuple[str, float, float]] = []
    begun: float | None = None
    for phone in phones:
        start = phone.start if begun is None else begun
        begun = None
        if phone.symbol in "ˈˌ":
            begun = start
        elif phone.symbol in "ːʰʲ" and sounds:
            sounds[-1] = (*sounds[-1][:2], phone.end)
        else:
            sounds.append((phone.symbol, start, phone.end))
    return sounds
