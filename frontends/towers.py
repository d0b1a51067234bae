"""Which tower a folder holds, and what its features look like.

Data: folder -> tower, or the facts of its features before anything large is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from frontends.audio_tower import WhisperTower
from frontends.avhubert_tower import AvHubertTower, is_avhubert
from frontends.errors import AvsrError
from frontends.speech_tower import SpeechTower, is_speech_tower
from frontends.video_tower import LipEncoder

__all__ = [
    "AudioTower",
    "Features",
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


def open_audio_tower(folder: Path | str) -> AudioTower:
    """Read the frozen tower of sound in a folder: Whisper, AV-HuBERT, WavLM, HuBERT.

    Raises:
        AvsrError: the folder holds none.
    """
    if is_speech_tower(folder):
        return SpeechTower.from_folder(folder)
    if is_avhubert(folder):
        return AvHubertTower.from_folder(folder, modality="audio")
    return WhisperTower.from_folder(folder)


def open_video_tower(folder: Path | str) -> LipTower:
    """Read the frozen tower of lips in a folder: our lip encoder or an AV-HuBERT.

    Raises:
        AvsrError: the folder holds neither.
    """
    if is_avhubert(folder):
        return AvHubertTower.from_folder(folder, modality="video")
    return LipEncoder.from_folder(folder)


def audio_features(folder: Path | str) -> Features:
    """Rate and width of a tower of sound, from its configuration alone.

    Raises:
        AvsrError: the folder holds none.
    """
    if is_avhubert(folder):
        return Features(AvHubertTower.hz, _number(folder, "config.json", "width"))
    if is_speech_tower(folder):
        return Features(SpeechTower.hz, _number(folder, "config.json", "hidden_size"))
    return Features(WhisperTower.hz, _number(folder, "config.json", "d_model"))


def video_features(folder: Path | str) -> Features:
    """Rate and width of a tower of lips, from its configuration alone.

    Raises:
        AvsrError: the folder holds none.
    """
    if is_avhubert(folder):
        return Features(AvHubertTower.hz, _number(folder, "config.json", "width"))
    return Features(LipEncoder.hz, _number(folder, "lip_encoder.json", "width"))


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
