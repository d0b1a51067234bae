"""What is read of a batch: features of its clips, and each clip at the rates of a view.

Data: tower features -> Features; clip and rates -> View.
"""

from __future__ import annotations

from dataclasses import dataclass

from avsr.rates import Rates
from avsr.streams import TokenStream
from experts import Row, Task

__all__ = ["Features", "View", "task_of"]


@dataclass(frozen=True)
class Features:
    """Tower features of a batch of clips; a row without a modality has length 0 there.

    Args:
        audio: audio stream at 50 Hz [B, Ta, Da], None if no clip has sound.
        video: video stream at 25 Hz [B, Tv, Dv], None if no clip has lips.
    """

    audio: TokenStream | None
    video: TokenStream | None


@dataclass(frozen=True)
class View:
    """One clip of a batch read at one rate pair; a rate of None leaves the modality out."""

    row: int
    rates: Rates

    @property
    def kind(self) -> Row:
        """The same rates, as the adapter knows them."""
        return Row(self.rates.audio, self.rates.video)


def task_of(rates: Rates) -> Task:
    """Which task a rate pair asks for."""
    if rates.video is None:
        return "a"
    return "v" if rates.audio is None else "av"
