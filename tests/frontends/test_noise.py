"""Noise is added at the level that was asked for, and the same noise every time."""

import subprocess
import sys

import numpy as np
import pytest

from frontends.errors import AvsrError
from frontends.noise import babble, measured_snr, mix, seed_of, speech_active

RATE = 16_000


def speech(seconds: float = 1.0, seed: int = 0, pause: float = 0.5) -> np.ndarray:
    """A tone with a pause in the middle of it."""
    time = np.arange(int(seconds * RATE)) / RATE
    wave = 0.2 * np.sin(2 * np.pi * (150 + 10 * seed) * time)
    quiet = abs(time / seconds - 0.5) < pause / 2
    return np.where(quiet, wave * 1e-4, wave).astype(np.float32)


def noise(samples: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.01, samples).astype(np.float32)


@pytest.mark.parametrize("snr", [-20.0, -5.0, 0.0, 0.05, 7.5, 40.0])
@pytest.mark.parametrize("samples", [100, RATE, 5 * RATE])
def test_asked_snr_is_measured_snr(snr: float, samples: int) -> None:
    clean = speech()
    noisy = mix(clean, noise(samples), snr_db=snr, seed=3)
    assert noisy.dtype == np.float32
    assert noisy.shape == clean.shape
    assert measured_snr(clean, noisy - clean) == pytest.approx(snr, abs=0.1)


def test_pauses_do_not_change_the_level_of_noise() -> None:
    gains = []
    for pause in (0.0, 0.8):
        clean = speech(pause=pause)
        gains.append(np.std(mix(clean, noise(RATE), snr_db=5.0, seed=0) - clean))
    assert gains[0] == pytest.approx(gains[1], rel=0.05)


def test_activity_is_speech_and_not_its_pause() -> None:
    active = speech_active(speech(pause=0.5))
    assert active[: RATE // 5].all()
    assert not active[RATE * 2 // 5 : RATE * 3 // 5].any()
    assert np.mean(active) == pytest.approx(0.5, abs=0.05)


def test_loudness_of_the_noise_recording_does_not_matter() -> None:
    clean = speech()
    a = mix(clean, noise(RATE), snr_db=3.0, seed=0)
    b = mix(clean, noise(RATE) * np.float32(64), snr_db=3.0, seed=0)
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_nothing_is_clipped_or_rescaled() -> None:
    clean = speech()
    noisy = mix(clean, noise(RATE), snr_db=-30.0, seed=0)
    assert np.abs(noisy).max() > 1
    louder = mix(clean * np.float32(4), noise(RATE), snr_db=-30.0, seed=0)
    np.testing.assert_allclose(louder, 4 * noisy, rtol=1e-5, atol=1e-5)


def test_the_seed_decides_and_nothing_else() -> None:
    clean, recording = speech(), noise(5 * RATE)
    np.random.seed(0)  # noqa: NPY002 - the global generator must not matter
    first = mix(clean, recording, snr_db=0.0, seed=5)
    np.random.seed(1)  # noqa: NPY002
    assert np.array_equal(first, mix(clean, recording, snr_db=0.0, seed=5))
    assert not np.array_equal(first, mix(clean, recording, snr_db=0.0, seed=6))


def test_inputs_are_left_alone() -> None:
    clean, recording = speech(), noise(100)
    before = clean.copy(), recording.copy()
    mix(clean, recording, snr_db=0.0, seed=0)
    assert np.array_equal(before[0], clean)
    assert np.array_equal(before[1], recording)


@pytest.mark.parametrize("snr", [float("nan"), float("inf"), float("-inf")])
def test_an_snr_is_a_number(snr: float) -> None:
    with pytest.raises(AvsrError, match="SNR"):
        mix(speech(), noise(RATE), snr_db=snr, seed=0)


@pytest.mark.parametrize("which", ["speech", "noise"])
def test_samples_must_be_finite_and_one_channel(which: str) -> None:
    parts = {"speech": speech(), "noise": noise(RATE)}
    good = parts[which]
    for bad in (np.where(np.arange(RATE) == 7, np.nan, good).astype(np.float32), good[None]):
        parts[which] = bad
        with pytest.raises(AvsrError, match=which):
            mix(parts["speech"], parts["noise"], snr_db=0.0, seed=0)


def test_noise_that_pauses_is_entered_where_it_sounds() -> None:
    clean = speech()
    recording = np.zeros(20 * RATE, np.float32)
    recording[-6 * RATE :] = noise(6 * RATE)
    for seed in range(10):
        noisy = mix(clean, recording, snr_db=0.0, seed=seed)
        assert np.abs(noisy).max() < 2
        assert measured_snr(clean, noisy - clean) == pytest.approx(0.0, abs=0.1)
    click = np.zeros(100 * RATE, np.float32)
    click[1234] = 1.0
    noisy = mix(clean, click, snr_db=0.0, seed=0)
    assert measured_snr(clean, noisy - clean) == pytest.approx(0.0, abs=0.1)


def test_no_noise_is_an_infinite_ratio() -> None:
    assert measured_snr(speech(), np.zeros(RATE, np.float32)) == float("inf")
    with pytest.raises(AvsrError, match="16000 samples"):
        measured_snr(speech(), noise(10))


def test_babble_has_its_length_and_level_and_is_seeded() -> None:
    speeches = [speech(0.3, i, pause=0.0) * np.float32(10.0**-i) for i in range(5)]
    mixed = babble(speeches, talkers=4, seconds=0.75, seed=1)
    assert mixed.dtype == np.float32
    assert mixed.shape == (12_000,)
    assert np.sqrt(np.mean(mixed**2)) == pytest.approx(0.1, rel=0.3)  # 0.05 * sqrt(4)
    assert np.array_equal(mixed, babble(speeches, talkers=4, seconds=0.75, seed=1))
    assert not np.array_equal(mixed, babble(speeches, talkers=4, seconds=0.75, seed=2))


def test_every_talker_is_as_loud_as_the_others() -> None:
    speeches = [speech(1.0, i, pause=0.0) * np.float32(10.0**-i) for i in range(4)]
    mixed = babble(speeches, talkers=4, seconds=1.0, seed=0)
    spectrum = np.abs(np.fft.rfft(mixed))  # one bin is 1 Hz
    peaks = [spectrum[148 + 10 * i : 153 + 10 * i].max() for i in range(4)]
    assert max(peaks) / min(peaks) < 1.2


@pytest.mark.parametrize(("talkers", "seconds"), [(0, 1.0), (6, 1.0), (2, 0.0), (2, -1.0)])
def test_babble_that_cannot_be(talkers: int, seconds: float) -> None:
    with pytest.raises(AvsrError):
        babble([speech(seed=i) for i in range(5)], talkers=talkers, seconds=seconds, seed=0)


def test_seeds_depend_on_the_clip_and_the_use() -> None:
    seeds = {seed_of(clip, salt) for clip in ("a", "b", "ab", "") for salt in ("a", "b", "")}
    assert len(seeds) == 12
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of("clip", "noise") == 8_230_655_637_321_665_137  # for ever


def test_noise_needs_neither_torch_nor_torchaudio() -> None:
    code = "import sys, frontends.noise; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
