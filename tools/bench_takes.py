"""What the bench of compressors reads: clips under each condition, as tower features on disk.

Data: manifest items, condition -> sound and crops as the condition has them -> towers, once
-> CACHE/<towers>/<condition>/<clip>.safetensors -> Prepared, ready to be recognised.

Conditions: clean; babble at 0 dB; fast and slow speech (sound and lips together, pitch kept);
silence and noise alone, with a still mouth, where every word heard is made up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from av import AudioFrame
from av.filter import Graph
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from avsr.evaluate import read_noise
from avsr.manifest import Item, read_manifest
from avsr.prepare import Prepared
from frontends.noise import mix, seed_of

RATE = 16_000
SPOKEN = ("clean", "babble", "fast", "slow")
EMPTY = ("silence", "noise")
SPEEDS = {"fast": 1.4, "slow": 0.7}
SNR = 0.0  # dB of babble
NOISES = ("environment", "music")  # kinds without words; songs are left out by name
SUNG = ("music_vocal",)

Wave = NDArray[np.float32]


def stretched(wave: Wave, speed: float) -> Wave:
    """Sound [S] at another speed and the same pitch (FFmpeg's atempo).

    Args:
        wave: mono at 16 kHz.
        speed: 2 is twice as fast; 0.5 to 100.
    """
    graph = Graph()
    source = graph.add_abuffer(sample_rate=RATE, format="flt", layout="mono")
    tempo, sink = graph.add("atempo", str(speed)), graph.add("abuffersink")
    source.link_to(tempo)
    tempo.link_to(sink)
    graph.configure()
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(wave)[None], format="flt", layout="mono")
    frame.sample_rate, frame.pts = RATE, 0
    graph.push(frame)
    graph.push(None)
    parts: list[Wave] = []
    while True:
        try:
            parts.append(graph.pull().to_ndarray().reshape(-1))
        except (EOFError, BlockingIOError):  # at the end of the stream
            break
    wanted = round(len(wave) / speed)
    found = np.concatenate(parts)[:wanted]
    return np.pad(found, (0, wanted - len(found))).astype(np.float32)


def retimed(crops: NDArray[np.uint8], speed: float) -> NDArray[np.uint8]:
    """Crops [T, 96, 96] at another speed: for each picture the one nearest in time."""
    count = max(1, round(len(crops) / speed))
    index = np.minimum((np.arange(count) + 0.5) * speed, len(crops) - 1).astype(int)
    return crops[index]


@dataclass(frozen=True)
class Noises:
    """What is mixed in, and what is heard alone.

    Args:
        babble: [S] at 16 kHz.
        alone: recordings without words.
    """

    babble: Wave
    alone: tuple[Wave, ...]

    @classmethod
    def read(cls, manifest: Path, split: str) -> Noises:
        """One split of a noise manifest: its first babble of many voices, and all that is mute.

        Args:
            manifest: items with a `kind` in their file's line.
            split: "test" for measuring, "train" for tuning.

        Raises:
            AvsrError: no such manifest, or a recording that cannot be read.
            ValueError: it has no babble, or nothing without words.
        """
        import json

        lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
        own = [line for line in lines if line["split"] == split]
        root = manifest.parent.parent

        def wave(line: dict[str, Any]) -> Wave:
            return read_noise(root / line["audio_filepath"])

        voices = [line for line in own if line["kind"] == "babble" and "4spk" in line["id"]]
        mute = [ln for ln in own if ln["kind"] in NOISES and not ln["id"].startswith(SUNG)]
        if not voices or not mute:
            raise ValueError(f"{manifest} has no babble, or no other noise, in split {split!r}")
        return cls(wave(voices[0]), tuple(map(wave, mute)))


def altered(clip: Prepared, item: Item, condition: str, noises: Noises, seed: int) -> Prepared:
    """A clip's sound and crops as a condition has them, before the towers.

    Args:
        clip: decoded, lips tracked.
        item: its line of the manifest.
        condition: one of SPOKEN or EMPTY.
        noises: recordings.
        seed: of the place in the noise.
    """
    wave, crops, drawn = clip.wave, clip.crops, seed_of(item.id, f"{seed}/{condition}")
    assert wave is not None
    if condition == "babble":
        wave = mix(wave, noises.babble, snr_db=SNR, seed=drawn)
    elif condition in SPEEDS:
        wave = stretched(wave, SPEEDS[condition])
        crops = None if crops is None else retimed(crops, SPEEDS[condition])
    elif condition in EMPTY:
        crops = None if crops is None else np.repeat(crops[:1], len(crops), 0)
        wave = np.zeros_like(wave) if condition == "silence" else _stretch(noises, len(wave), drawn)
    return replace(
        clip,
        wave=wave,
        crops=crops,
        seconds=len(wave) / RATE,
        timing={},
        audio=None,
        video=None,
        warnings=(),
    )


def _stretch(noises: Noises, samples: int, seed: int) -> Wave:
    """So much of one of the noises, from a place drawn by the seed, again from its start."""
    random = np.random.default_rng(seed)
    noise = noises.alone[int(random.integers(len(noises.alone)))]
    start = int(random.integers(len(noise)))
    return np.resize(np.roll(noise, -start), samples)


class Takes:
    """Features of clips under conditions: made when first wanted, read from disk ever after.

    Args:
        recogniser: whose towers run; a function, so that it is loaded only if it is needed.
        towers: name of the towers, which is that of the folder.
        cache: folder.
        noises: recordings; a function.
        seed: of the noise.
    """

    def __init__(
        self,
        recogniser: Callable[[], Any],
        towers: str,
        cache: Path,
        noises: Callable[[], Noises],
        seed: int,
    ) -> None:
        self._recogniser, self._noises, self._seed = recogniser, noises, seed
        self._folder = cache / towers / f"seed-{seed}"

    def of(self, items: Sequence[Item], condition: str) -> list[Prepared]:
        """The clips of one condition, with features and without sound and pictures."""
        return [self._one(item, condition) for item in items]

    def _one(self, item: Item, condition: str) -> Prepared:
        path = self._folder / condition / f"{item.id.replace('/', '_')}.safetensors"
        if not path.is_file():
            self._make(item, condition, path)
        held = load_file(path)
        return Prepared(
            path=str(item.path),
            seconds=float(held["seconds"]),
            modality="av" if "video" in held else "a",
            wave=None,
            crops=None,
            coverage=None,
            warnings=(),
            audio=held["audio"],
            video=held.get("video"),
        )

    def _make(self, item: Item, condition: str, path: Path) -> None:
        recogniser = self._recogniser()
        clip = recogniser.prepare(item.path, modality="av" if item.has_video else "a", roi=item.roi)
        made = altered(clip, item, condition, self._noises(), self._seed)
        recogniser.encode([made])
        held = {"audio": made.audio, "seconds": torch.tensor(made.seconds, dtype=torch.float64)}
        if made.video is not None:
            held["video"] = made.video
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        save_file({name: tensor.contiguous() for name, tensor in held.items()}, part)
        part.replace(path)


def chosen(
    manifest: Path, corpus: str, splits: Sequence[str], limit: int | None, seed: int
) -> list[Item]:
    """Clips of a corpus in an order drawn by the seed, so that the first n are a fair sample.

    Args:
        manifest: JSON-lines file.
        corpus: of the manifest.
        splits: of the corpus.
        limit: how many, None for all.
        seed: of the order.
    """
    items = read_manifest(manifest, lambda item: item.corpus == corpus and item.split in splits)
    items.sort(key=lambda item: hashlib.sha256(f"{seed}/{item.id}".encode()).digest())
    return items[:limit]
