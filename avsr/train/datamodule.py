"""Corpora and towers behind the batches: the LightningDataModule.

Data: manifests -> Loader of Batch for fit, validate, test and predict.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import lightning
import torch

from avsr.checkpoint import video_folder
from avsr.errors import ConfigError
from avsr.language_model import load_tokenizer
from avsr.manifest import Item, read_manifest
from avsr.train.data import Batch, ClipDataset, Corpus, Masks
from avsr.train.features import FeatureStore, Variant, make_babble, read_noise
from avsr.train.loader import Loader
from avsr.train.sampler import BucketSampler
from avsr.weights import resolve
from experts.sizes import whole
from frontends.lips import LipTracker
from frontends.towers import (
    audio_features,
    open_audio_tower,
    open_video_tower,
    video_features,
)


class SpeechData(lightning.LightningDataModule):
    """Clips of one or several corpora as batches of frozen tower features.

    Splits come from the manifests: `train` is fitted, `validation` selects, `test` is read by
    `avsr train test` alone.

    Args:
        train: corpora to fit.
        held_out: corpora of validation and test, always read clean.
        language_model: whose tokens the transcripts become.
        audio_tower: whose features are read.
        video_tower: folder or hub id of the encoder of lips, None to leave lips out.
        cache: folder of the feature cache.
        noise: noise manifest; only its `train` split is read.
        babble: how many babbles to make from the first corpus's LibriSpeech train speakers.
        masks: SpecAugment on features, None for none.
        batch_seconds: most seconds in a batch.
        max_clips: most clips in a batch.
        workers: loader processes.
        seed: of order, variants and masks.
        fresh: modalities whose tower runs in the step, because it is trained too (`tower_lora`):
            nothing of them is cached but the mouth crops.
    """

    def __init__(
        self,
        train: list[Corpus],
        held_out: list[Corpus],
        language_model: str = "smollm2-135m-instruct",
        audio_tower: str = "whisper-tiny.en",
        video_tower: str | None = None,
        cache: str = ".cache/features",
        noise: str | None = None,
        babble: int = 0,
        masks: Masks | None = None,
        batch_seconds: float = 100.0,
        max_clips: int = 32,
        workers: int = 0,
        seed: int = 0,
        fresh: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        whole(0, babble=babble, workers=workers, seed=seed)
        whole(1, max_clips=max_clips)
        if not 0 < batch_seconds < math.inf:
            raise ValueError(f"batch_seconds={batch_seconds} must be positive")
        self.fresh = fresh
        self.corpora, self.held_out = train, held_out
        self.language_model, self.audio_tower = language_model, audio_tower
        self.video_tower = video_tower
        self.cache, self.noise, self.babble, self.masks = cache, noise, babble, masks
        self.batch_seconds, self.max_clips, self.workers = batch_seconds, max_clips, workers
        self.seed = seed
        self._store: FeatureStore | None = None

    def store(self) -> FeatureStore:
        """The towers behind the cache, loaded once."""
        if self._store is None:
            lips = self.video_tower
            noise = read_noise(self.noise) if self.noise is not None else {}
            if self.babble:
                noise |= make_babble(self.corpora[0].manifest, self.babble, self.seed)
            sound = resolve(self.audio_tower)
            hears = audio_features if "audio" in self.fresh else open_audio_tower
            sees = video_features if "video" in self.fresh else open_video_tower
            self._store = FeatureStore(
                self.cache,
                hears(sound),
                sees(video_folder(lips)) if lips is not None else None,
                LipTracker(weights=Path(resolve("face-models"))) if lips is not None else None,
                noise,
            )
        return self._store

    def towers(self) -> dict[str, object]:
        """What makes the features, by its name in a configuration; facts of what a step runs."""
        store = self.store()
        return {"audio_tower": store.audio_tower, "video_tower": store.video_tower}

    def setup(self, stage: str) -> None:
        """Read the manifests and open the towers.

        Raises:
            ConfigError: a clip that is fitted in one manifest and held out in another.
        """
        fitted = {i.path.resolve() for c in self.corpora for i in _items(c, "train")}
        for corpus in self.held_out:
            for item in (*_items(corpus, "validation"), *_items(corpus, "test")):
                if item.path.resolve() in fitted:
                    raise ConfigError(
                        f"clip {item.id!r} is in the split {item.split!r} here, and another "
                        "manifest fits it",
                        where=corpus.manifest,
                        todo="Give each clip the same split in every manifest.",
                    )
        self.tokenizer = load_tokenizer(resolve(self.language_model))
        self.store()

    def dataset(self, corpora: Sequence[Corpus], split: str) -> ClipDataset:
        """Clips of one split; augmented only if it is `train`."""
        fitted = split == "train"
        entries: list[tuple[Item, tuple[Variant, ...]]] = []
        for corpus in corpora:
            chosen = _items(corpus, split)
            variants = corpus.ways if fitted else (Variant(),)
            entries += [(item, variants) for item in chosen] * (corpus.repeat if fitted else 1)
        if not entries:
            raise ConfigError(f"no clips of split {split!r} in {[c.manifest for c in corpora]}")
        masks = self.masks if fitted else None
        return ClipDataset(entries, self.store(), self.tokenizer, masks, self.seed)

    def train_dataloader(self) -> Loader:
        """Augmented train clips, in an order that survives a kill."""
        dataset = self.dataset(self.corpora, "train")
        trainer = self.trainer
        sampler = BucketSampler(
            [item.duration for item, _ in dataset.entries],
            batch_seconds=self.batch_seconds,
            max_clips=self.max_clips,
            seed=self.seed,
            rank=trainer.global_rank if trainer is not None else 0,
            world=trainer.world_size if trainer is not None else 1,
        )
        return Loader(dataset, sampler, self.workers)

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Lightning moves no frozen dataclass by itself."""
        return batch.to(device)

    def val_dataloader(self) -> list[Loader]:
        """Validation clips, one loader a corpus, clean."""
        return self._held_out("validation")

    def test_dataloader(self) -> list[Loader]:
        """Test clips, one loader a corpus, clean."""
        return self._held_out("test")

    predict_dataloader = test_dataloader

    def _held_out(self, split: str) -> list[Loader]:
        loaders = []
        for corpus in self.held_out:
            dataset = self.dataset([corpus], split)
            durations = [item.duration for item, _ in dataset.entries]
            sampler = BucketSampler(
                durations, batch_seconds=2 * self.batch_seconds, max_clips=32, jitter=0.0
            )
            loaders.append(Loader(dataset, sampler, passes="one"))
        return loaders

    def prepare_data(self) -> None:
        """Encode every train clip in every variant and every validation clip: fitting only reads.

        Lightning calls it once, on one process; also before it validates or tests, which read
        what they need.
        """
        if self.trainer is not None and self.trainer.state.fn != "fit":
            return
        store = self.store()
        jobs = [
            (item, variant)
            for corpus in self.corpora
            for item in _items(corpus, "train")
            for variant in corpus.ways
        ]
        for corpus in self.held_out:
            jobs += [(item, Variant()) for item in _items(corpus, "validation")]
        for item, variant in jobs:
            store.warm(item, variant)


def _items(corpus: Corpus, split: str) -> list[Item]:
    """Clips of a corpus in a split."""

    def keeps(item: Item) -> bool:
        named = not corpus.corpora or item.corpus in corpus.corpora
        return (
            item.split == split
            and named
            and (not corpus.speakers or item.speaker in corpus.speakers)
        )

    return read_manifest(corpus.manifest, keeps)
