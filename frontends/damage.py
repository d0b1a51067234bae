"""Damage to clips by one vocabulary, the same in training and in evaluation.

YAML list -> Damage: wave [S] -> wave [S], crops [T, 96, 96] -> crops [T, 96, 96].

    - {kind: room, source: rirs, chance: 0.5}
    - {kind: babble, source: ../speech, talkers: [3, 8], snr_db: [-5, 20]}
    - {kind: music, source: noise/manifest.jsonl, of: music, split: test, snr_db: 0}
    - {kind: low_resolution, side: 24}

What a clip meets depends on its id, the seed and the place in the list, and on nothing else: a
damaged test set is the same for everyone who has the recordings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frontends.errors import AvsrError
from frontends.lip_damage import LIPS
from frontends.noise import seed_of
from frontends.sound_damage import SOUND, Added

__all__ = ["KINDS", "Damage"]

Wave = NDArray[np.float32]
Crops = NDArray[np.uint8]

KINDS: Mapping[str, Any] = {**SOUND, **LIPS}


class Damage:
    """A list of kinds of damage, applied in their order.

    Args:
        steps: as YAML gives them: mappings with `kind` and what that kind takes.
        seed: of all chance, together with the clip's id.
        folder: what relative sources are relative to; the working folder by default.

    Raises:
        AvsrError: an unknown kind or setting, or a value out of its range.
    """

    def __init__(
        self, steps: Sequence[Mapping[str, Any]], *, seed: int = 0, folder: Path | None = None
    ) -> None:
        if isinstance(steps, str | Mapping) or not isinstance(steps, Sequence):
            raise AvsrError(f"damage is a list of kinds, got {steps!r}", todo=_KNOWN)
        self.steps, self.seed = [_parse(step, folder) for step in steps], seed
        self._told = [dict(step) for step in steps]

    @classmethod
    def from_file(cls, path: Path | str, *, seed: int = 0) -> Damage:
        """Read a YAML or JSON file: the list, or a mapping that holds it under `damage`.

        Raises:
            AvsrError: the file cannot be read, or is no such list.
        """
        import yaml  # its users here are few

        path = Path(path)
        try:
            told = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise AvsrError(f"cannot read the damage: {reason}", where=str(path)) from error
        steps = told.get("damage", told) if isinstance(told, dict) else told
        return cls(steps, seed=seed, folder=path.parent)

    def sound(self, wave: Wave, clip: str) -> Wave:
        """Damage the sound of a clip.

        Rooms and masks change the speech; each noise then has its SNR to that speech, whatever
        other noise there is.

        Args:
            wave: [S] float32 at 16 kHz.
            clip: the clip's id.

        Raises:
            AvsrError: silent speech or noise, or a recording that cannot be read.
        """
        stem = PurePosixPath(clip).name
        speech, added = wave, []
        for kind, rng in self._met(SOUND, clip):
            if isinstance(kind, Added):
                added.append((kind, rng))
            else:
                speech = kind.apply(speech, rng, stem)
        total = speech
        for kind, rng in added:
            total = total + kind.added(speech, rng, stem)
        return np.asarray(total, dtype=np.float32)

    def lips(self, crops: Crops, clip: str) -> Crops:
        """Damage the mouth crops [T, 96, 96] of a clip."""
        for kind, rng in self._met(LIPS, clip):
            crops = kind.apply(crops, rng)
        return crops

    def touches(self, stream: str) -> bool:
        """Whether anything here damages "sound" or "lips"."""
        home = SOUND if stream == "sound" else LIPS
        return any(name in home for name, _ in self.steps)

    def to_dict(self) -> dict[str, Any]:
        """What was asked for, ready for a report."""
        return {"seed": self.seed, "damage": self._told}

    def key(self, stream: str) -> str:
        """Text that differs where "sound" or "lips" would be damaged otherwise."""
        home = SOUND if stream == "sound" else LIPS
        told = [
            [index, self._told[index], getattr(kind, "recordings", None)]
            for index, (name, kind) in enumerate(self.steps)
            if name in home
        ]
        return f"{self.seed} {json.dumps(told, sort_keys=True, default=lambda r: r.digest)}"

    def _met(self, home: Mapping[str, Any], clip: str) -> list[tuple[Any, np.random.Generator]]:
        """The kinds of one stream that a clip meets, each with its own chance."""
        met = []
        for index, (name, kind) in enumerate(self.steps):
            rng = np.random.default_rng(seed_of(clip, f"{self.seed}/{index}/{name}"))
            if rng.random() < kind.chance and name in home:
                met.append((kind, rng))
        return met


_KNOWN = f"Known kinds: {', '.join(KINDS)}"


def _parse(step: Mapping[str, Any], folder: Path | None) -> tuple[str, Any]:
    """One mapping of YAML -> its name and its kind."""
    if not isinstance(step, Mapping) or step.get("kind") not in KINDS:
        raise AvsrError(f"no such kind of damage: {step!r}", todo=_KNOWN)
    name = str(step["kind"])
    given = {key: tuple(v) if isinstance(v, list) else v for key, v in step.items()}
    del given["kind"]
    known = {f.name: f for f in fields(KINDS[name])}
    unknown = sorted(set(given) - set(known))
    absent = [k for k, f in known.items() if f.default is MISSING and k not in given]
    if unknown or absent:
        what = f"unknown {unknown[0]!r}" if unknown else f"no {absent[0]!r}"
        raise AvsrError(f"{what} in damage of kind {name!r}", todo=f"It takes {', '.join(known)}")
    if folder is not None and "source" in given:
        given["source"] = str(folder / str(given["source"]))
    try:
        return name, KINDS[name](**given)
    except (TypeError, ValueError) as error:
        raise AvsrError(f"damage of kind {name!r}: {error}") from error
