"""Clips as batches of tower features: the LightningDataModule.

Data: manifest -> Batch(features, texts) of clips of like length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from avsr.language_model import TextTokenizer
from avsr.manifest import Item
from avsr.streams import TokenStream
from avsr.train.features import FeatureStore, Variant
from avsr.views import Features
from experts.sizes import real, whole
from frontends.noise import seed_of
from frontends.towers import Features as Declared

AUDIO_HZ, VIDEO_HZ = 50.0, 25.0  # frames a second of Whisper and of our lip encoder


@dataclass(frozen=True)
class Corpus:
    """One source of clips.

    Args:
        manifest: JSON-lines manifest.
        corpora: names to keep, all when empty.
        speakers: speakers to keep, all when empty.
        variants: ways of reading a clip, clean alone when empty; an epoch reads each clip in one
            of them, in turn.
        repeat: times that a clip counts per epoch.
    """

    manifest: str
    corpora: tuple[str, ...] = ()
    speakers: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = ()
    repeat: int = 1

    def __post_init__(self) -> None:
        """Check the number."""
        whole(1, repeat=self.repeat)

    @property
    def ways(self) -> tuple[Variant, ...]:
        """The variants; clean alone where none are told."""
        return self.variants or (Variant(),)


@dataclass(frozen=True)
class Masks:
    """SpecAugment (arXiv 1904.08779) on tower features, audio and video alike.

    Args:
        per_second: expected time masks a second of clip.
        longest: longest time mask, s.
        channels: share of channels that a channel mask may hide.
    """

    per_second: float = 0.4
    longest: float = 0.3
    channels: float = 0.1

    def __post_init__(self) -> None:
        """Check the numbers."""
        real(per_second=self.per_second, longest=self.longest, channels=self.channels)
        if self.per_second < 0 or self.longest < 0 or not 0 <= self.channels <= 1:
            raise ValueError(f"{self} hides less than nothing, or more than all channels")


@dataclass(frozen=True)
class Joint:
    """What a process must know of a batch of which it reads a part.

    Args:
        clips: clips of the joint batch.
        lips: how many of them have lips.
        mine: how many of them this process answers for; with 0 it reads one that another answers
            for, since every process must take part in each step.
        processes: how many share it.
        draw: seed for what the training step draws, the same on every process.
    """

    clips: int
    lips: int
    mine: int
    processes: int
    draw: int


@dataclass(frozen=True)
class Fresh:
    """What a tower that runs in the step reads, one row a clip.

    Args:
        inputs: waves [B, S] float32 at 16 kHz, or mouth crops [B, T, 96, 96] uint8.
        lengths: samples or pictures a row [B]; 0 for a clip without lips.
    """

    inputs: Tensor
    lengths: Tensor

    def to(self, device: torch.device) -> Fresh:
        """The same on a device."""
        return Fresh(self.inputs.to(device), self.lengths.to(device))


@dataclass(frozen=True)
class Batch:
    """Clips ready for the model.

    Args:
        items: the clips.
        features: their tower features; None of a modality in `fresh`.
        texts: transcript token ids [S] of each clip, without EOS.
        draw: seed for what the training step draws (tasks and rates).
        joint: the batch that this one is a part of, None if it is whole.
        fresh: by "audio" and "video", what towers read that run in the step.
    """

    items: tuple[Item, ...]
    features: Features
    texts: tuple[Tensor, ...]
    draw: int
    joint: Joint | None = None
    fresh: Mapping[str, Fresh] = field(default_factory=dict)

    def to(self, device: torch.device) -> Batch:
        """The batch with its features and texts on a device."""
        audio, video = self.features.audio, self.features.video
        features = Features(
            None if audio is None else audio.to(device), None if video is None else video.to(device)
        )
        fresh = {kind: inputs.to(device) for kind, inputs in self.fresh.items()}
        texts = tuple(t.to(device) for t in self.texts)
        return replace(self, features=features, texts=texts, fresh=fresh)


@dataclass(frozen=True)
class _Sample:
    item: Item
    audio: Tensor
    video: Tensor
    text: Tensor
    joint: Joint | None = None
    hz: tuple[float, float] = (AUDIO_HZ, VIDEO_HZ)
    fresh: frozenset[str] = frozenset()


def hide(
    features: NDArray[np.float16], hz: float, masks: Masks, rng: np.random.Generator
) -> NDArray[np.float16]:
    """Zero random spans and channels of [T, D]."""
    out: NDArray[np.float16] = features.copy()
    longest = min(int(masks.longest * hz), len(out) // 4)
    for _ in range(rng.poisson(masks.per_second * len(out) / hz)):
        width = int(rng.integers(0, longest + 1))
        start = int(rng.integers(0, len(out) - width + 1))
        out[start : start + width] = 0
    width = int(rng.integers(0, int(masks.channels * out.shape[1]) + 1))
    start = int(rng.integers(0, out.shape[1] - width + 1))
    out[:, start : start + width] = 0
    return out


class ClipDataset(Dataset[_Sample]):
    """Clips with their variants and masks; what is drawn depends on (seed, epoch, clip) alone."""

    def __init__(
        self,
        entries: Sequence[tuple[Item, tuple[Variant, ...]]],
        store: FeatureStore,
        tokenizer: TextTokenizer,
        masks: Masks | None,
        seed: int,
    ) -> None:
        self.entries, self.store, self.tokenizer = entries, store, tokenizer
        self.masks, self.seed = masks, seed

    def __len__(self) -> int:
        """Number of clips, repeats counted."""
        return len(self.entries)

    def __getitem__(self, key: Any) -> _Sample:
        """Sample of (index, epoch) or (index, epoch, joint batch)."""
        index, epoch = key[:2]
        item, variants = self.entries[index]
        rng = np.random.default_rng([self.seed, epoch, index])
        first = seed_of(item.id, "variant") + index  # repeats of a clip start at other variants
        found = self.store.get(item, variants[(first + epoch) % len(variants)])
        audio, video = found.audio, found.video
        hz = self._rates()
        fresh = self.fresh
        if self.masks is not None and not fresh:  # those are masked by their variant's damage
            shift = int(rng.integers(0, 4))  # pooling windows fall elsewhere each time
            audio = hide(audio[min(shift, len(audio) - 1) :], hz[0], self.masks, rng)
            if video is not None:
                cut = min(int(shift * hz[1] / hz[0]), len(video) - 1)
                video = hide(video[cut:], hz[1], self.masks, rng)
        text = torch.tensor(self.tokenizer.encode(" " + item.text))
        lips = self._no_lips() if video is None else video
        joint = key[2] if len(key) > 2 else None
        return _Sample(item, _float(audio), _float(lips), text, joint, hz, fresh)

    @property
    def fresh(self) -> frozenset[str]:
        """Modalities whose tower runs in the step."""
        towers = {"audio": self.store.audio_tower, "video": self.store.video_tower}
        return frozenset(k for k, tower in towers.items() if isinstance(tower, Declared))

    def has_lips(self, index: int) -> bool:
        """Whether a clip's lips are read."""
        return self.entries[index][0].has_video and self.store.video_tower is not None

    def _rates(self) -> tuple[float, float]:
        """Frames a second of sound and of lips."""
        lips = self.store.video_tower
        return self.store.audio_tower.hz, VIDEO_HZ if lips is None else lips.hz

    def _no_lips(self) -> NDArray[Any]:
        tower = self.store.video_tower
        if isinstance(tower, Declared):
            return np.zeros((0, 96, 96), np.uint8)
        return np.zeros((0, 1 if tower is None else tower.width), np.float16)


def _float(array: NDArray[Any]) -> Tensor:
    """Features are float16 on disk and float32 in a batch; crops stay what they are."""
    return torch.from_numpy(array if array.dtype == np.uint8 else array.astype(np.float32))


def collate(samples: Sequence[_Sample], draw: int = 0) -> Batch:
    """Pad samples into a batch."""
    joint, fresh, hz = samples[0].joint, samples[0].fresh, samples[0].hz
    rows = {"audio": [s.audio for s in samples], "video": [s.video for s in samples]}
    return Batch(
        items=tuple(s.item for s in samples),
        features=Features(
            None if "audio" in fresh else _stream(rows["audio"], hz[0]),
            None if "video" in fresh else _stream(rows["video"], hz[1]),
        ),
        texts=tuple(s.text for s in samples),
        draw=draw if joint is None else joint.draw,
        joint=joint,
        fresh={kind: _fresh(rows[kind]) for kind in sorted(fresh)},
    )


def _fresh(rows: Sequence[Tensor]) -> Fresh:
    lengths = torch.tensor([len(row) for row in rows])
    return Fresh(pad_sequence(list(rows), batch_first=True), lengths)


def _stream(rows: Sequence[Tensor], hz: float) -> TokenStream | None:
    return TokenStream.from_rows(rows, hz) if any(len(row) for row in rows) else None
