"""Frozen tower features on disk, keyed by content and configuration.

Data: Item + Variant -> audio features [Ta, D] and video features [Tv, D] as float16 arrays.

A variant is one way of damaging a clip (noise at some SNR, another tempo, a mirrored mouth); each
is drawn from the clip's id, so it is the same in every run.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from avsr.errors import ConfigError
from avsr.manifest import Item, read_manifest
from frontends.damage import Damage
from frontends.lips import LipTracker, given
from frontends.media import open_clip
from frontends.noise import babble, mix, seed_of
from frontends.towers import AudioTower, Features, LipTower

Array = NDArray[np.float32]
HALF = np.float16
_TALK = 24  # clips of talk that babble is made of


@dataclass(frozen=True)
class Variant:
    """One way of reading a clip.

    Args:
        name: distinguishes variants of equal settings; seeds their random draws.
        snr_db: range to draw a signal-to-noise ratio from, None for clean sound.
        tempo: 1.1 plays the sound 10 % faster (and higher), lips too.
        mirror: how the mouth crop is shown.
        damage: kinds of `frontends.damage`, which sound and lips meet before all else.
    """

    name: str = "clean"
    snr_db: tuple[float, float] | None = None
    tempo: float = 1.0
    mirror: str = "no"
    damage: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        """Check what the types cannot promise of a file."""
        if self.snr_db is not None and not self.snr_db[0] <= self.snr_db[1]:
            raise ValueError(f"variant {self.name!r}: snr_db={self.snr_db} goes from low to high")
        if not 0 < self.tempo < math.inf:
            raise ValueError(f"variant {self.name!r}: tempo={self.tempo} must be positive")
        if self.mirror not in ("yes", "no"):
            raise ValueError(f"variant {self.name!r}: mirror={self.mirror!r} is neither yes nor no")


@dataclass(frozen=True)
class ClipFeatures:
    """Tower features of one clip, or what a tower that runs in the step will read.

    Args:
        audio: [Ta, Da] at the audio tower's rate; a wave [S] at 16 kHz of a tower that is read
            fresh.
        video: [Tv, Dv] at the video tower's, or mouth crops [T, 96, 96]; None without lips.
    """

    audio: NDArray[Any]
    video: NDArray[Any] | None


class FeatureStore:
    """Encodes clips with the frozen towers, once.

    Args:
        folder: cache on disk.
        audio_tower: encoder of sound; its `Features` do where a step runs the tower itself.
        video_tower: encoder of lips, None to leave lips out; or the same.
        tracker: finds mouths, needed with a video tower.
        noise: waveforms to mix from, by name.
    """

    def __init__(
        self,
        folder: Path | str,
        audio_tower: AudioTower | Features,
        video_tower: LipTower | Features | None = None,
        tracker: LipTracker | None = None,
        noise: Mapping[str, Array] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.audio_tower, self.video_tower, self.tracker = audio_tower, video_tower, tracker
        self.noise = dict(noise or {})
        self._damages: dict[str, Damage] = {}
        self._audio_key = _fingerprint(audio_tower)
        self._video_key = _fingerprint(video_tower)
        self._noise_key = _digest(*(self.noise[k].tobytes() for k in sorted(self.noise)))

    def get(self, item: Item, variant: Variant) -> ClipFeatures:
        """Features of a clip, from disk if they were made before; what is read fresh never is."""
        return ClipFeatures(self._sound_of(item, variant), self._lips_of(item, variant))

    def warm(self, item: Item, variant: Variant) -> None:
        """Make what can be kept of a clip: features, and the crops for a tower that runs later."""
        if isinstance(self.audio_tower, Features):  # sound is only decoded: nothing to keep
            self._lips_of(item, variant)
        else:
            self.get(item, variant)

    def _sound_of(self, item: Item, variant: Variant) -> NDArray[Any]:
        if isinstance(self.audio_tower, Features):
            return self._wave(item, variant)
        settings, noise = f"tempo {variant.tempo}", ""
        damage = self._damage(variant)
        if damage is not None and damage.touches("sound"):
            settings += f" damage {variant.name} {damage.key('sound')}"
        if variant.snr_db is not None:
            settings += f" snr {variant.snr_db} {variant.name}"
            noise = self._noise_key
        key = _digest(_identity(item), self._audio_key, settings, noise)
        found: NDArray[Any] = self._cached(key, lambda: self._audio(item, variant))
        return found

    def _lips_of(self, item: Item, variant: Variant) -> NDArray[Any] | None:
        if not item.has_video or self.video_tower is None:
            return None
        if isinstance(self.video_tower, Features):
            return self._seen(item, variant)
        looks = f"mirror {variant.mirror} tempo {variant.tempo}"
        damage = self._damage(variant)
        if damage is not None and damage.touches("lips"):
            looks += f" damage {variant.name} {damage.key('lips')}"
        key = _digest(_identity(item), self._video_key, looks)
        found: NDArray[Any] = self._cached(key, lambda: self._video(item, variant))
        return found

    def crops(self, item: Item) -> NDArray[np.uint8]:
        """Mouth crops [T, 96, 96] of a clip; kept apart, since every encoder reads the same."""
        key = _digest("roi" if item.roi == "auto" else "roi given", _identity(item))

        def track() -> NDArray[np.uint8]:
            if item.roi == "given":
                return given(open_clip(item.path, streams="v")).crops
            if self.tracker is None:
                raise ConfigError("lips are wanted, but no lip tracker was given")
            return self.tracker.track(open_clip(item.path, streams="v")).crops

        crops: NDArray[np.uint8] = self._cached(key, track)
        return crops

    def _damage(self, variant: Variant) -> Damage | None:
        """The damage of a variant, parsed once; None without any."""
        if not variant.damage:
            return None
        told = json.dumps(variant.damage, sort_keys=True)
        if told not in self._damages:
            self._damages[told] = Damage(variant.damage)
        return self._damages[told]

    def _cached(self, key: str, make):  # type: ignore[no-untyped-def]
        """Array of that key, made and written atomically if it is not there."""
        path = self.folder / key[:2] / f"{key}.npy"
        if path.exists():
            return np.load(path)
        array = make()
        path.parent.mkdir(exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.tmp")
        with open(part, "wb") as file:
            np.save(file, array)
        os.replace(part, path)
        return array

    def _wave(self, item: Item, variant: Variant) -> Array:
        """A clip's sound [S] as the variant has it."""
        wave = open_clip(item.path, streams="a").audio
        if wave is None:
            raise ConfigError("a clip of the manifest has no sound", where=str(item.path))
        damage = self._damage(variant)
        if damage is not None:
            wave = damage.sound(wave, f"{variant.name}/{item.id}")
        wave = stretch(wave, variant.tempo)
        if variant.snr_db is not None:
            seed = seed_of(item.id, variant.name)
            rng = np.random.default_rng(seed)
            names = sorted(self.noise)
            if not names:
                raise ConfigError("a variant wants noise, but no noise was given")
            noise = self.noise[names[int(rng.integers(len(names)))]]
            wave = mix(wave, noise, snr_db=float(rng.uniform(*variant.snr_db)), seed=seed)
        return np.ascontiguousarray(wave, dtype=np.float32)

    def _audio(self, item: Item, variant: Variant) -> NDArray[np.float16]:
        assert not isinstance(self.audio_tower, Features)
        sound = torch.from_numpy(self._wave(item, variant))
        features, _ = self.audio_tower(sound[None], torch.tensor([len(sound)]))
        out: NDArray[np.float16] = features[0].numpy().astype(HALF)
        return out

    def _seen(self, item: Item, variant: Variant) -> NDArray[np.uint8]:
        """A clip's mouth crops as the variant has them."""
        crops = self.crops(item)
        damage = self._damage(variant)
        if damage is not None:
            crops = damage.lips(crops, f"{variant.name}/{item.id}")
        if variant.mirror == "yes":
            crops = np.ascontiguousarray(crops[:, :, ::-1])
        if variant.tempo != 1.0:
            index = (np.arange(round(len(crops) / variant.tempo)) * variant.tempo).round()
            crops = crops[index.astype(int).clip(0, len(crops) - 1)]
        return np.ascontiguousarray(crops)

    def _video(self, item: Item, variant: Variant) -> NDArray[np.float16]:
        assert self.video_tower is not None
        assert not isinstance(self.video_tower, Features)
        crops = self._seen(item, variant)
        with torch.no_grad():
            frames = torch.from_numpy(crops)[None]
            features, _ = self.video_tower(frames, torch.tensor([len(crops)]))
        out: NDArray[np.float16] = features[0].numpy().astype(HALF)
        return out


def stretch(wave: Array, tempo: float) -> Array:
    """Play a waveform [S] at another speed, pitch included, as speed perturbation does."""
    if tempo == 1.0:
        return wave
    from torchaudio.functional import resample

    out: Array = resample(torch.from_numpy(wave), round(160 * tempo), 160).numpy()
    return out


def read_noise(manifest: Path | str) -> dict[str, Array]:
    """Training noise by name; files of other splits are never read.

    Raises:
        ConfigError: as for `noise_files`.
    """
    out = {}
    for name, path in noise_files(manifest).items():
        clip = open_clip(path, streams="a")
        if clip.audio is not None:
            out[name] = clip.audio
    return out


def noise_files(manifest: Path | str) -> dict[str, Path]:
    """Files of training noise by name.

    Raises:
        ConfigError: the manifest cannot be read.
    """
    path = Path(manifest)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(
            f"cannot read the manifest of noise: {error.strerror}",
            where=str(path),
            todo="Correct data.noise, or leave it out.",
        ) from error
    rows = [json.loads(line) for line in lines if line]
    home = path.parent.parent  # names are relative to the corpus folder, one above the manifest
    return {row["id"]: home / row["audio_filepath"] for row in rows if row["split"] == "train"}


def make_babble(manifest: Path | str, count: int, seed: int) -> dict[str, Array]:
    """Babble of three to eight LibriSpeech train speakers, 20 s each.

    Args:
        manifest: the corpus's manifest.
        count: how many.
        seed: of the choice of talkers.

    Raises:
        ConfigError: too few clips of such speakers.
    """
    items = read_manifest(manifest, lambda i: i.split == "train" and i.corpus == "librispeech")
    if len(items) < _TALK:
        raise ConfigError(
            f"babble is made of {_TALK} training clips of LibriSpeech, and there are {len(items)}",
            where=str(manifest),
            todo="Name a manifest that has them first in data.train, or leave data.babble out.",
        )
    rng = np.random.default_rng(seed)
    out = {}
    for number in range(count):
        chosen = rng.choice(len(items), size=_TALK, replace=False)
        waves = [open_clip(items[i].path, streams="a").audio for i in chosen]
        speech = [wave for wave in waves if wave is not None]
        talkers = int(rng.integers(3, 9))
        out[f"babble_{number}"] = babble(speech, talkers=talkers, seconds=20.0, seed=seed + number)
    return out


def _fingerprint(tower: torch.nn.Module | Features | None) -> str:
    """Digest of a tower's weights; of one that runs elsewhere nothing is kept."""
    if tower is None or isinstance(tower, Features):
        return ""
    return _digest(*(p.detach().cpu().numpy().tobytes() for p in tower.state_dict().values()))


def _identity(item: Item) -> str:
    """Name, size and digest of the first megabyte of a clip's file."""
    with open(item.path, "rb") as file:
        return f"{item.id} {item.path.stat().st_size} {_digest(file.read(1 << 20))}"


def _digest(*parts: str | bytes) -> str:
    hashed = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        hashed.update(len(data).to_bytes(8, "little") + data)
    return hashed.hexdigest()[:32]
