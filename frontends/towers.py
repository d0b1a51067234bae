"""Which tower a folder holds, and what its features look like.

Data: folder -> tower, or the facts of its features before anything large is read.

A new kind is one file and one entry of `AUDIO_KINDS` or `VIDEO_KINDS`, which the file may make
itself: docs/extend/tower.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from frontends.audio_tower import WhisperTower
from frontends.avhubert_tower import AvHubertTower, is_avhubert
from frontends.errors import AvsrError
from frontends.speech_tower import SpeechTower, is_speech_tower
from frontends.video_tower import LipEncoder

__all__ = [
    "AUDIO_KINDS",
    "VIDEO_KINDS",
    "AudioTower",
    "Features",
    "Kind",
    "LipTower",
    "audio_features",
    "open_audio_tower",
    "open_video_tower",
    "video_features",
]

AudioTower = WhisperTower | AvHubertTower | SpeechTower
LipTower = LipEncoder | AvHubertTower


@dataclass(frozen=True)
class Features:
    """What a tower declares of its features.

    Args:
        hz: frames a second.
        width: D.
    """

    hz: float
    width: int


@dataclass(frozen=True)
class Kind:
    """One kind of tower, as its folders tell it.

    Args:
        found: whether a folder holds one, by its configuration alone.
        features: what its features will be like, by the same.
        open: reads it. A tower is an `nn.Module` that stays frozen and in eval mode, has `hz` and
            `width`, and is called as (inputs, lengths [B]) -> (features [B, T, D], lengths [B]).
    """

    found: Callable[[Path | str], bool]
    features: Callable[[Path | str], Features]
    open: Callable[[Path | str], Any]


def _avhubert(folder: Path | str) -> Features:
    return Features(AvHubertTower.hz, _number(folder, "config.json", "width"))


def _speech(folder: Path | str) -> Features:
    return Features(SpeechTower.hz, _number(folder, "config.json", "hidden_size"))


# By name; the first that finds itself in a folder opens it. Where none does, the folder is taken
# for Whisper's or a lip encoder's, whose reader says what is wrong with it.
AUDIO_KINDS: dict[str, Kind] = {
    "speech": Kind(is_speech_tower, _speech, SpeechTower.from_folder),
    "avhubert": Kind(is_avhubert, _avhubert, partial(AvHubertTower.from_folder, modality="audio")),
}
VIDEO_KINDS: dict[str, Kind] = {
    "avhubert": Kind(is_avhubert, _avhubert, partial(AvHubertTower.from_folder, modality="video")),
}


def open_audio_tower(folder: Path | str) -> AudioTower:
    """Read the frozen tower of sound in a folder: Whisper, or one of `AUDIO_KINDS`.

    Raises:
        AvsrError: the folder holds none.
    """
    kind = _find(AUDIO_KINDS, folder)
    tower: AudioTower = (WhisperTower.from_folder if kind is None else kind.open)(folder)
    return tower


def open_video_tower(folder: Path | str) -> LipTower:
    """Read the frozen tower of lips in a folder: our lip encoder, or one of `VIDEO_KINDS`.

    Raises:
        AvsrError: the folder holds neither.
    """
    kind = _find(VIDEO_KINDS, folder)
    tower: LipTower = (LipEncoder.from_folder if kind is None else kind.open)(folder)
    return tower


def audio_features(folder: Path | str) -> Features:
    """Rate and width of a tower of sound, from its configuration alone.

    Raises:
        AvsrError: the folder holds none.
    """
    kind = _find(AUDIO_KINDS, folder)
    if kind is not None:
        return kind.features(folder)
    return Features(WhisperTower.hz, _number(folder, "config.json", "d_model"))


def video_features(folder: Path | str) -> Features:
    """Rate and width of a tower of lips, from its configuration alone.

    Raises:
        AvsrError: the folder holds none.
    """
    kind = _find(VIDEO_KINDS, folder)
    if kind is not None:
        return kind.features(folder)
    return Features(LipEncoder.hz, _number(folder, "lip_encoder.json", "width"))


def _find(kinds: dict[str, Kind], folder: Path | str) -> Kind | None:
    return next((kind for kind in kinds.values() if kind.found(folder)), None)


def _number(folder: Path | str, file: str, key: str) -> int:
    try:
        found = json.loads((Path(folder) / file).read_text(encoding="utf-8"))[key]
        if type(found) is not int or found < 1:
            raise ValueError(f"{key} is {found!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        kind = "lip encoder" if file == "lip_encoder.json" else "tower"
        raise AvsrError(
            f"not a {kind}: {error}",
            where=str(folder),
            todo="Copy the folder again, whole; lip encoders are made by tools/pretrain_lips.py.",
        ) from error
    return found
