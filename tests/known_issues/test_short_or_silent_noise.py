"""Noise shorter than the speech raised, and silent noise or speech gave infinities and NaNs.

Seen in auto_avsr's AddNoise (`randint`) and torchaudio's `add_noise` (division by a power of 0).
"""

import numpy as np
import pytest

from frontends.errors import AvsrError
from frontends.noise import babble, measured_snr, mix

SPEECH = (0.1 * np.sin(np.arange(8_000) / 20)).astype(np.float32)
NOISE = np.random.default_rng(0).normal(size=16_000).astype(np.float32)


@pytest.mark.parametrize("samples", [1, 2, 799, 7_999, 8_000, 8_001])
def test_noise_of_any_length_lasts_to_the_end(samples: int) -> None:
    noisy = mix(SPEECH, NOISE[:samples], snr_db=10.0, seed=4)
    added = noisy - SPEECH
    assert np.isfinite(noisy).all()
    assert np.abs(added[-400:]).max() > 0
    assert measured_snr(SPEECH, added) == pytest.approx(10.0, abs=0.1)


def test_short_noise_goes_round_from_a_seeded_offset() -> None:
    firsts = {
        round(float((mix(SPEECH, NOISE[:50], snr_db=0.0, seed=s) - SPEECH)[0]), 5)
        for s in range(20)
    }
    assert len(firsts) > 10
    added = mix(SPEECH, NOISE[:50], snr_db=0.0, seed=0) - SPEECH
    np.testing.assert_allclose(added[:50], added[50:100], atol=1e-6)


@pytest.mark.parametrize("silence", [np.zeros(8_000), np.zeros(0), np.full(8_000, 1e-9)])
def test_silence_has_no_snr(silence: np.ndarray) -> None:
    quiet = silence.astype(np.float32)
    with pytest.raises(AvsrError, match="noise is silent"):
        mix(SPEECH, quiet, snr_db=0.0, seed=0)
    with pytest.raises(AvsrError, match="speech is silent"):
        mix(quiet, NOISE, snr_db=0.0, seed=0)
    with pytest.raises(AvsrError, match="speech is silent"):
        babble([SPEECH, quiet], talkers=2, seconds=0.5, seed=0)
