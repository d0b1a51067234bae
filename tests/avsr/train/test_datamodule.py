"""Which clips are read when, what a batch holds, and a place that no loader loses."""

from itertools import islice

import pytest
import torch

from avsr.errors import ConfigError
from avsr.train.data import Corpus, Masks
from avsr.train.datamodule import SpeechData
from avsr.train.loader import Loader
from avsr.train.sampler import BucketSampler


@pytest.fixture
def speech(home):
    """The data module of the tiny corpus."""

    def make(**changes):
        corpus = Corpus(str(home.manifest), ("tones",))
        settings = {
            "train": [corpus],
            "held_out": [corpus],
            "language_model": str(home.llm),
            "audio_tower": str(home.whisper),
            "cache": str(home.folder / "features"),
            "masks": Masks(per_second=2.0),
            "batch_seconds": 2.0,
            "max_clips": 4,
        }
        made = SpeechData(**{**settings, **changes})
        made.setup("fit")
        return made

    return make


def ids(batches):
    return [[item.id for item in batch.items] for batch in batches]


def flat(batches):
    return sorted(name for names in ids(batches) for name in names)


@pytest.fixture
def opened(speech, monkeypatch):
    """Clips whose features were read."""
    from avsr.train.features import FeatureStore

    seen, get = [], FeatureStore.get
    monkeypatch.setattr(
        FeatureStore, "get", lambda self, item, v: (seen.append((item, v)), get(self, item, v))[1]
    )
    return seen


def test_each_loader_reads_its_own_split(speech, opened):
    data = speech()
    loader = data.train_dataloader()
    assert flat(islice(loader, len(loader))) == sorted(f"train{k}" for k in range(14))
    data.prepare_data()
    (loader,) = data.val_dataloader()
    assert flat(loader) == [f"validation{k}" for k in range(3)]
    assert {item.split for item, _ in opened} == {"train", "validation"}
    (loader,) = data.test_dataloader()
    assert flat(loader) == ["test0", "test1"]


def test_what_is_held_out_is_read_clean_and_unmasked(speech, home, opened):
    from avsr.train.features import Variant

    noisy = Corpus(str(home.manifest), variants=(Variant("n", snr_db=(0.0, 1.0)),), repeat=3)
    data = speech(held_out=[noisy])
    (loader,) = data.val_dataloader()
    first, second = list(loader), list(loader)
    assert flat(first) == [f"validation{k}" for k in range(3)]
    assert {variant for _, variant in opened} == {Variant()}
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.features.audio.x, other.features.audio.x)


def test_every_validation_reads_all_of_it_even_if_the_last_was_cut_short(speech):
    (loader,) = speech(batch_seconds=0.5).val_dataloader()
    assert len(loader) > 1
    assert len(list(islice(loader, 1))) == 1
    assert flat(loader) == flat(loader) == [f"validation{k}" for k in range(3)]


def test_masks_and_draws_follow_clip_and_epoch_alone(speech):
    first, again = speech().train_dataloader(), speech().train_dataloader()
    one, other = list(islice(first, 12)), list(islice(again, 12))
    for a, b in zip(one, other, strict=True):
        assert (a.draw, a.items) == (b.draw, b.items)
        assert torch.equal(a.features.audio.x, b.features.audio.x)
    assert len({batch.draw for batch in one}) == len(one)
    dataset = first.dataset
    assert not torch.equal(dataset[0, 0].audio[:20], dataset[0, 1].audio[:20])
    assert torch.equal(dataset[0, 0].text, torch.tensor([3, 4]))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("taken", [0, 3, 9])
def test_a_loader_goes_on_where_the_trained_batches_end(speech, workers, taken):
    data = speech(workers=workers)
    truth = ids(islice(data.train_dataloader(), 14))
    stopped, resumed = data.train_dataloader(), data.train_dataloader()
    read = ids(islice(stopped, taken))  # with workers, more were read ahead
    resumed.load_state_dict(stopped.state_dict())
    assert read + ids(islice(resumed, 14 - taken)) == truth


def test_an_endless_loader_loses_nothing_however_it_is_cut(speech):
    data = speech()
    truth = ids(islice(data.train_dataloader(), 20))
    loader, read = data.train_dataloader(), []
    while len(read) < 20:
        read += ids(islice(loader, 7))
    assert read[:20] == truth


def test_ranks_draw_alike_and_answer_for_every_clip_once(speech):
    dataset = speech().train_dataloader().dataset
    seconds = [item.duration for item, _ in dataset.entries]

    def load(**place):
        sampler = BucketSampler(seconds, batch_seconds=2.0, max_clips=3, **place)
        loader = Loader(dataset, sampler)
        return list(islice(loader, len(loader)))

    for whole, *parts in zip(load(), *(load(rank=r, world=3) for r in range(3)), strict=True):
        assert {part.draw for part in parts} == {whole.draw}
        assert sum(part.joint.mine for part in parts) == whole.joint.clips == len(whole.items)
        assert set().union(*(part.items for part in parts)) == set(whole.items)
        for part in parts:
            assert len(part.items) == max(1, part.joint.mine)


def test_a_batch_moves_to_a_device(speech):
    batch = next(iter(speech().train_dataloader()))
    moved = speech().transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert moved.features.audio.x.device.type == "meta"
    assert {text.device.type for text in moved.texts} == {"meta"}
    assert (moved.items, moved.draw, moved.joint) == (batch.items, batch.draw, batch.joint)


def test_only_the_named_speakers_are_read(speech, home, opened):
    named = Corpus(str(home.manifest), speakers=("speaker1", "nobody"))
    data = speech(train=[named], held_out=[named])
    loader = data.train_dataloader()
    assert flat(islice(loader, len(loader))) == sorted(f"train{k}" for k in range(1, 14, 3))
    (loader,) = data.val_dataloader()
    assert flat(loader) == ["validation1"]
    opened.clear()
    data.prepare_data()
    assert {item.speaker for item, _ in opened} == {"speaker1"}


def test_no_speakers_named_are_all_speakers(speech, home):
    loader = speech(train=[Corpus(str(home.manifest), speakers=())]).train_dataloader()
    read = list(islice(loader, len(loader)))
    assert flat(read) == sorted(f"train{k}" for k in range(14))
    assert {item.speaker for batch in read for item in batch.items} == {
        f"speaker{k}" for k in range(3)
    }


def test_a_speaker_counts_in_his_own_corpus_alone(speech, home):
    """One manifest, two entries: all of it, and some speakers once more."""
    more = Corpus(str(home.manifest), ("tones",), ("speaker0",), repeat=2)
    other = Corpus(str(home.manifest), ("nonesuch",), ("speaker0",))
    loader = speech(train=[Corpus(str(home.manifest)), more, other]).train_dataloader()
    times = {k: 3 if k % 3 == 0 else 1 for k in range(14)}
    assert flat(islice(loader, len(loader))) == sorted(
        f"train{k}" for k, count in times.items() for _ in range(count)
    )


def test_no_clips_of_a_split_says_so(speech, home):
    with pytest.raises(ConfigError, match="no clips of split 'train'"):
        speech(train=[Corpus(str(home.manifest), ("nonesuch",))]).train_dataloader()
