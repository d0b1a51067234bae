"""A clip in all the ways an evaluation reads it: sound or lips or both, clean or with noise.

manifest item -> decoded once, lips tracked once, each tower once a noise level -> Prepared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
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
        damages: what sound and lips may meet before that noise, by name.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        item: Item,
        *,
        noise: Wave | None = None,
        roi: Literal["auto", "given"] = "auto",
        seed: int = 0,
        damages: Mapping[str, Damage] | None = None,
    ) -> None:
        """See the class."""
        self.item = item
        self._recogniser, self._noise, self._roi, self._seed = recogniser, noise, roi, seed
        self._damages = {} if damages is None else damages
        self._kept: dict[tuple[str, float | None, str | None], Prepared | AvsrError] = {}

    def take(
        self, task: Modality, snr: float | None = None, damage: str | None = None
    ) -> Prepared | AvsrError:
        """Return the clip as a task reads it.

        Args:
            task: the streams: "a", "v" or "av".
            snr: signal-to-noise ratio in dB, None for clean; of no meaning to "v".
            damage: a name of `damages`, None for nothing.

        Returns:
            The encoded clip, or the error that stands in its way.
        """
        makers: dict[Modality, Callable[[], Prepared]] = {
            "a": lambda: self._sound(snr, self._met("sound", damage)),
            "v": lambda: self._lips(self._met("lips", damage)),
            "av": lambda: self._both(snr, damage),
        }
        if task == "v":  # what only the sound meets is the same to lips
            snr, damage = None, damage if self._met("lips", damage) is not None else None
        elif task == "a":
            damage = damage if self._met("sound", damage) is not None else None
        return self._keep((task, snr, damage), makers[task])

    def _met(self, stream: Literal["sound", "lips"], name: str | None) -> Damage | None:
        """The damage of that name, where it touches a stream."""
        damage = None if name is None else self._damages[name]
        return damage if damage is not None and damage.touches(stream) else None

    def _keep(
        self, key: tuple[str, float | None, str | None], make: Callable[[], Prepared]
    ) -> Prepared | AvsrError:
        if key not in self._kept:
            try:
                self._kept[key] = make()
            except AvsrError as error:
                self._kept[key] = error
        return self._kept[key]

    def _decoded(self, modality: Literal["a", "v"]) -> Prepared:
        """The clip's own sound or lips, to be changed in a copy."""
        roi = self.item.roi if self._roi == "auto" else self._roi

        def make() -> Prepared:
            return self._recogniser.prepare(self.item.path, modality=modality, roi=roi)

        clean = _made(self._keep((f"decoded {modality}", None, None), make))
        return replace(clean, timing=dict(clean.timing))

    def _sound(self, snr: float | None, damage: Damage | None) -> Prepared:
        sound = self._decoded("a")
        if damage is not None and sound.wave is not None:
            sound.wave = damage.sound(sound.wave, self.item.id)
        if snr is not None and sound.wave is not None:
            assert self._noise is not None
            seed = _seed(self._seed, self.item.id)
            sound.wave = mix(sound.wave, self._noise, snr_db=snr, seed=seed)
        self._recogniser.encode([sound])
        return sound

    def _lips(self, damage: Damage | None) -> Prepared:
        lips = self._decoded("v")
        if damage is not None and lips.crops is not None:
            lips.crops = damage.lips(lips.crops, self.item.id)
        self._recogniser.encode([lips])
        return lips

    def _both(self, snr: float | None, damage: str | None) -> Prepared:
        sound, lips = _made(self.take("a", snr, damage)), _made(self.take("v", None, damage))
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
