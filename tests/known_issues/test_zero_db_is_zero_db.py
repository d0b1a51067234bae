"""An SNR of 0.0 dB is falsy: `if snr:` took it for "unset" and drew a random level.

Seen in the transforms of auto_avsr, Llama-AVSR, Omni-AVSR and Dr-SHAP-AV.
"""

import ast
from pathlib import Path

import numpy as np
import pytest

import frontends.noise
from frontends.noise import measured_snr, mix


def _speech() -> np.ndarray:
    return (0.1 * np.sin(np.arange(16_000) / 20)).astype(np.float32)


@pytest.mark.parametrize("zero", [0.0, -0.0, 0])
def test_zero_db_is_measured_at_zero_db(zero: float) -> None:
    clean = _speech()
    noise = np.random.default_rng(0).normal(size=64_000).astype(np.float32)
    for seed in range(5):
        noisy = mix(clean, noise, snr_db=zero, seed=seed)
        assert measured_snr(clean, noisy - clean) == pytest.approx(0.0, abs=0.1)


def test_no_snr_is_asked_for_its_truth() -> None:
    tree = ast.parse(Path(frontends.noise.__file__).read_text(encoding="utf-8"))
    tests = [n.test for n in ast.walk(tree) if isinstance(n, ast.If | ast.IfExp | ast.While)]
    bare = [t.id for t in tests if isinstance(t, ast.Name)]
    assert not [name for name in bare if "snr" in name]
