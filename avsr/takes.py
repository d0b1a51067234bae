"""A clip in all the ways an evaluation reads it: sound or lips or both, clean or with noise.

manifest item -> decoded once, lips tracked once, each tower once a noise level -> Prepared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from avsr.api import Recogniser
from avsr.errors import AvsrError
from avsr.manifest import Item
from avsr.prepare import Prepared
from avsr.transcript import Modality
from frontends.damage import Damage
from frontends.noise import mix

__all__ = ["Takes", "Wave"]

Wave = npt.NDArray[np.float32]


class Takes:
    """One clip's takes, made when first asked for and kept.

    The time that each take records is what that take alone would have cost.

    Args:
        recogniser: whose towers are run.
        item: the clip.
        noise: [S] at 16 kHz, mixed in where an SNR is asked for.
        roi: "given" where the clip is a mouth crop already.
        seed: with the clip's id, of the place in the noise where this clip's begins.
        damage: what sound and lips meet before that noise.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        item: Item,
        *,
        noise: Wave | None = None,
        roi: Literal["auto", "given"] = "auto",
        seed: int = 0,
        damage: Damage | None = None,
    ) -> None:
        """See the class."""
        self.item = item
        self._recogniser, self._noise, self._roi, self._seed = recogniser, noise, roi, seed
        self._damage = damage
        self._kept: dict[tuple[str, float | None], Prepared | AvsrError] = {}

    def take(self, task: Modality, snr: float | None = None) -> Prepared | AvsrError:
        """Return the clip as a task reads it.

        Args:
            task: the streams: "a", "v" or "av".
            snr: signal-to-noise ratio in dB, None for clean; of no meaning to "v".

        Returns:
            The encoded clip, or the error that stands in its way.
        """
        makers: dict[Modality, Callable[[], Prepared]] = {
            "a": lambda: self._sound(snr),
            "v": self._lips,
            "av": lambda: self._both(snr),
        }
        return self._keep(task, None if task == "v" else snr, makers[task])

    def _keep(
        self, name: str, snr: float | None, make: Callable[[], Prepared]
    ) -> Prepared | AvsrError:
        if (name, snr) not in self._kept:
            try:
                self._kept[name, snr] = make()
            except AvsrError as error:
                self._kept[name, snr] = error
        return self._kept[name, snr]

    def _prepare(self, modality: Literal["a", "v"]) -> Prepared:
        roi = self.item.roi if self._roi == "auto" else self._roi
        return self._recogniser.prepare(self.item.path, modality=modality, roi=roi)

    def _sound(self, snr: float | None) -> Prepared:
        clean = _made(self._keep("decoded", None, lambda: self._prepare("a")))
        sound = replace(clean, timing=dict(clean.timing))
        if self._damage is not None and sound.wave is not None:
            sound.wave = self._damage.sound(sound.wave, self.item.id)
        if snr is not None and sound.wave is not None:
            assert self._noise is not None
            seed = _seed(self._seed, self.item.id)
            sound.wave = mix(sound.wave, self._noise, snr_db=snr, seed=seed)
        self._recogniser.encode([sound])
        return sound

    def _lips(self) -> Prepared:
        lips = self._prepare("v")
        if self._damage is not None and lips.crops is not None:
            lips.crops = self._damage.lips(lips.crops, self.item.id)
        self._recogniser.encode([lips])
        return lips

    def _both(self, snr: float | None) -> Prepared:
        sound, lips = _made(self.take("a", snr)), _made(self.take("v"))
        stages = dict(sound.timing)  # the file's own decoding is in both: count it once
        for stage in ("lips", "towers"):
            stages[stage] = stages.get(stage, 0.0) + lips.timing.get(stage, 0.0)
        return replace(
            sound,
            modality="av",
            crops=lips.crops,
            coverage=lips.coverage,
            video=lips.video,
            warnings=tuple(dict.fromkeys(sound.warnings + lips.warnings)),
            timing=stages,
        )


def _made(take: Prepared | AvsrError) -> Prepared:
    if isinstance(take, AvsrError):
        raise take
    return take


def _seed(seed: int, name: str) -> int:
    """A clip's own seed: the same noise for it whatever else is in the list."""
    # Not `frontends.noise.seed_of`: another digest would draw other noise than published figures.
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4], "big")
