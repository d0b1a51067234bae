"""The filterbank of AV-HuBERT against a plain loop, written from its definition."""

import math

import numpy as np
import pytest
import torch

from frontends.filterbank import log_filterbank, stacked_filterbank


def wave(samples, seed=0):
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * 0.1


def reference(samples):
    """Frame by frame, bin by bin, on 16-bit samples."""
    x = samples.double().numpy() * 32768
    x = np.append(x[0], x[1:] - 0.97 * x[:-1])
    count = 1 if len(x) <= 400 else 1 + math.ceil((len(x) - 400) / 160)
    x = np.append(x, np.zeros(max(0, (count - 1) * 160 + 400 - len(x))))
    top = 2595 * math.log10(1 + 8000 / 700)
    points = [700 * (10 ** (m / 2595) - 1) for m in np.linspace(0, top, 28)]
    edges = [math.floor(513 * p / 16000) for p in points]
    rows = []
    for k in range(count):
        power = np.abs(np.fft.rfft(x[160 * k : 160 * k + 400], 512)) ** 2 / 512
        bands = []
        for j in range(26):
            low, peak, high = edges[j : j + 3]
            total = sum(power[i] * (i - low) / (peak - low) for i in range(low, peak))
            total += sum(power[i] * (high - i) / (high - peak) for i in range(peak, high))
            bands.append(math.log(total if total else np.finfo(float).eps))
        rows.append(bands)
    return torch.tensor(rows, dtype=torch.float32)


@pytest.mark.parametrize("samples", [1, 399, 400, 401, 560, 4000])
def test_it_is_what_its_definition_says(samples):
    sound = wave(samples)
    torch.testing.assert_close(log_filterbank(sound), reference(sound), rtol=1e-5, atol=1e-5)


def test_silence_has_a_floor():
    assert torch.isfinite(stacked_filterbank(torch.zeros(2000))).all()


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (640, 1), (16_000, 25), (16_400, 26)])
def test_four_frames_are_one_of_25_hz(samples, frames):
    stacks = stacked_filterbank(wave(samples))
    assert stacks.shape == (frames, 104)
    torch.testing.assert_close(stacks.mean(1), torch.zeros(frames), rtol=0, atol=1e-5)


def test_a_stack_that_is_not_full_ends_in_zeros_before_it_is_levelled():
    sound = wave(900)  # five frames
    rest = torch.cat([log_filterbank(sound)[4], torch.zeros(78)])
    wanted = (rest - rest.mean()) / (rest.var(unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(stacked_filterbank(sound)[1], wanted, rtol=1e-5, atol=1e-5)
