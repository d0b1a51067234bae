"""D2: `noise_snr` was a setting that nothing read; the noise was at any level and unseeded.

Seen in the dataset of MMS-LLaMA and in its issue 3.
"""

import numpy as np
import pytest

from frontends.damage import Damage
from frontends.noise import measured_snr
from frontends.recordings import Recordings


@pytest.fixture
def damage(monkeypatch, tmp_path):
    (tmp_path / "noise.wav").touch()
    noise = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    monkeypatch.setattr(Recordings, "read", lambda self, index: noise)
    return lambda snr, seed=0: Damage(
        [{"kind": "noise", "source": str(tmp_path), "snr_db": snr}], seed=seed
    )


def test_the_level_that_is_set_is_the_level_that_is_heard(damage):
    clean = (0.1 * np.sin(np.arange(16_000) / 20)).astype(np.float32)
    for snr in (-7.5, 0.0, 12.0):
        noisy = damage(snr).sound(clean, "clip")
        assert measured_snr(clean, noisy - clean) == pytest.approx(snr, abs=0.1)
        assert np.array_equal(noisy, damage(snr).sound(clean, "clip"))
    assert not np.array_equal(
        damage(0.0, seed=1).sound(clean, "clip"), damage(0.0).sound(clean, "clip")
    )
