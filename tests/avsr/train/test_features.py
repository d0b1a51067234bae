"""The cache of tower features: encoded once, under a key of all that they depend on."""

import multiprocessing
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from avsr.errors import ConfigError
from avsr.manifest import read_manifest
from avsr.train.features import FeatureStore, Variant, read_noise
from frontends.audio_tower import WhisperTower
from frontends.lips import LipTracker
from frontends.video_tower import LipEncoder
from tests.frontends.clips import tone, write_clip

CLEAN, NOISY = Variant(), Variant("noise-a", snr_db=(-5.0, 20.0))
NOISE = {
    name: np.random.default_rng(k).normal(0, 0.1, 16_000).astype(np.float32)
    for k, name in enumerate(("a", "b", "c"))
}


@pytest.fixture
def item(tmp_path):
    """A clip with a picture, of which the tracker needs none."""
    path = write_clip(
        tmp_path / "clip.mkv", times=[k / 25 for k in range(20)], wave=tone(0.8, 16_000)
    )
    (tmp_path / "manifest.jsonl").write_text(
        '{"id": "clip", "video_filepath": "clip.mkv", "duration": 0.8, "text": "x"}\n'
    )
    (found,) = read_manifest(tmp_path / "manifest.jsonl")
    assert found.path == path
    return found


@pytest.fixture
def tracker(monkeypatch):
    """Crops drawn from nothing, counted."""
    calls = []

    class Track:
        crops = np.random.default_rng(0).integers(0, 255, (20, 96, 96)).astype(np.uint8)

    def track(self, clip):
        calls.append(clip)
        return Track

    monkeypatch.setattr(LipTracker, "track", track)
    found = LipTracker.__new__(LipTracker)
    found.calls = calls
    return found


@pytest.fixture
def store(home, tmp_path, tracker):
    """Open the cache anew, as another process would."""

    def make(*, noise=NOISE, folder="cache", damage=None):
        audio, lips = WhisperTower.from_folder(home.whisper), LipEncoder.from_folder(home.lips)
        if damage is not None:
            parameter = next({"audio": audio, "video": lips}[damage].parameters())
            with torch.no_grad():
                parameter.add_(0.5)
        made = FeatureStore(tmp_path / folder, audio, lips, tracker, noise)
        made.runs = []
        for tower, name in ((audio, "audio"), (lips, "video")):
            tower.register_forward_hook(lambda *_, name=name: made.runs.append(name))
        return made

    return make


@pytest.mark.parametrize("variant", [CLEAN, NOISY, Variant("m", tempo=1.1, mirror="yes")])
def test_a_second_read_runs_no_tower(store, item, tracker, variant):
    first = store()
    made = first.get(item, variant)
    assert first.runs == ["audio", "video"]
    again = store()
    for reader in (first, again):
        found = reader.get(item, variant)
        assert np.array_equal(found.audio, made.audio)
        assert np.array_equal(found.video, made.video)
    assert (len(first.runs), again.runs, len(tracker.calls)) == (2, [], 1)


def test_features_are_those_of_the_towers(store, item):
    reader = store()
    found = reader.get(item, CLEAN)
    wave = torch.from_numpy(tone(0.8, 16_000)[0])
    truth, _ = reader.audio_tower(wave[None], torch.tensor([len(wave)]))
    assert (found.audio.dtype, found.video.dtype) == (np.float16, np.float16)
    assert found.audio.shape == (40, 16)
    assert found.video.shape == (20, 8)
    np.testing.assert_allclose(found.audio, truth[0].numpy(), atol=0.02)


@pytest.mark.parametrize(("damage", "runs"), [("audio", ["audio"]), ("video", ["video"])])
def test_another_tower_reads_anew_and_mouths_are_not_sought_again(
    store, item, tracker, damage, runs
):
    store().get(item, CLEAN)
    other = store(damage=damage)
    other.get(item, CLEAN)
    assert other.runs == runs
    assert len(tracker.calls) == 1


def test_another_content_under_the_same_name_is_read_anew(store, item):
    before = store().get(item, CLEAN).audio
    size = item.path.stat().st_size
    write_clip(item.path, times=[k / 25 for k in range(20)], wave=tone(0.8, 16_000, hz=880.0))
    os.truncate(item.path, max(size, item.path.stat().st_size))
    other = store()
    assert not np.array_equal(other.get(item, CLEAN).audio, before)
    assert other.runs == ["audio", "video"]


def test_each_variant_has_features_of_its_own(store, item):
    reader = store()
    variants = [
        CLEAN,
        NOISY,
        replace(NOISY, name="noise-b"),
        replace(NOISY, snr_db=(0.0, 5.0)),
        Variant(tempo=1.1),
    ]
    sounds = [reader.get(item, v).audio.tobytes() for v in variants]
    assert len(set(sounds)) == len(variants)
    looks = [reader.get(item, v).video.tobytes() for v in (CLEAN, Variant(mirror="yes"))]
    assert looks[0] != looks[1]
    assert reader.get(item, NOISY).video.tobytes() == looks[0]  # noise is heard, not seen


def test_other_noise_is_another_key_for_noisy_clips_alone(store, item):
    store().get(item, NOISY)
    store().get(item, CLEAN)
    other = store(noise={**NOISE, "d": NOISE["a"] * 2})
    other.get(item, CLEAN)
    assert other.runs == []
    other.get(item, NOISY)
    assert other.runs == ["audio"]


def test_a_variant_sounds_the_same_whoever_makes_it_and_whenever(store, item):
    found = store().get(item, NOISY).audio
    other = store(folder="elsewhere")
    for name in ("noise-b", "noise-c"):
        other.get(item, replace(NOISY, name=name))
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    assert np.array_equal(other.get(item, NOISY).audio, found)


def test_noise_is_wanted_but_there_is_none(store, item):
    with pytest.raises(ConfigError, match="no noise was given"):
        store(noise={}).get(item, NOISY)


def _write(folder, array, key, barrier, count):
    reader = FeatureStore.__new__(FeatureStore)
    reader.folder = folder
    for k in range(count):
        barrier.wait()
        reader._cached(f"{key}{k}", lambda: array)


def test_two_processes_writing_at_once_leave_whole_files(tmp_path):
    array = np.arange(200_000, dtype=np.float32)
    fork = multiprocessing.get_context("fork")
    barrier = fork.Barrier(2)
    pair = [fork.Process(target=_write, args=(tmp_path, array, "ab", barrier, 8)) for _ in "12"]
    for process in pair:
        process.start()
    for process in pair:
        process.join(60)
    assert [process.exitcode for process in pair] == [0, 0]
    files = sorted((tmp_path / "ab").iterdir())
    assert [f.name for f in files] == [f"ab{k}.npy" for k in range(8)]
    assert all(np.array_equal(np.load(file), array) for file in files)


def test_of_a_noise_manifest_only_the_train_split_is_opened(tmp_path):
    (tmp_path / "noise").mkdir()
    write_clip(tmp_path / "noise" / "wind.wav", wave=tone(0.5, 16_000))
    rows = [
        f'{{"id": "{i}", "split": "{s}", "audio_filepath": "noise/{f}.wav"}}\n'
        for i, s, f in (
            ("wind", "train", "wind"),
            ("rain", "test", "absent"),
            ("sea", "validation", "absent"),
        )
    ]
    (tmp_path / "noise" / "manifest.jsonl").write_text("".join(rows))
    assert list(read_noise(tmp_path / "noise" / "manifest.jsonl")) == ["wind"]


def test_damage_is_met_by_its_stream_alone(store, item):
    """By the vocabulary that `avsr eval --damage` reads."""
    reader = store()
    reader.get(item, CLEAN)
    blurred = reader.get(item, Variant("blur", damage=({"kind": "blur", "sigma": 3.0},)))
    assert reader.runs == ["audio", "video", "video"]
    assert not np.array_equal(blurred.video, reader.get(item, CLEAN).video)
    silenced = reader.get(item, Variant("mask", damage=({"kind": "sound_mask"},)))
    assert reader.runs == ["audio", "video", "video", "audio"]
    assert not np.array_equal(silenced.audio, reader.get(item, CLEAN).audio)
    again = store(folder="elsewhere").get(item, Variant("mask", damage=({"kind": "sound_mask"},)))
    assert np.array_equal(again.audio, silenced.audio)
