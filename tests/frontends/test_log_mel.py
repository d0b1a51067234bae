"""The log-mel spectrogram against transformers' own, and against its definition."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from frontends.log_mel import HOP, N_FFT, SAMPLE_RATE, compute_filters, log_mel, mel_filters

WINDOW = 30 * SAMPLE_RATE


def speech_like(samples, seed=0):
    """Noise with loud and silent stretches, so that the floor 8 below the peak is met."""
    wave = torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * 0.1
    beat = torch.sin(torch.arange(samples) / 5000.0).clamp(min=0.0) ** 2
    return (wave * beat).clamp(-1.0, 1.0)


def theirs(wave, n_mels):
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(feature_size=n_mels)
    made = extractor(wave.numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt")
    return made.input_features[0]


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("samples", [WINDOW, 3 * SAMPLE_RATE + 77])
def test_equals_transformers_on_a_padded_window(n_mels, samples):
    """Tolerance 1e-4 on values of about -1 to 1.5: float32, with filters of other origin."""
    wave = speech_like(samples)
    mine = log_mel(torch.nn.functional.pad(wave, (0, WINDOW - samples)), n_mels)
    wanted = theirs(wave, n_mels)
    assert mine.shape == wanted.shape == (n_mels, 3000)
    assert mine.dtype == torch.float32
    torch.testing.assert_close(mine, wanted, rtol=0.0, atol=1e-4)
    assert mine.std() > 0.1


@pytest.mark.parametrize("n_mels", [80, 128])
def test_the_true_length_is_a_piece_of_the_padded_window(n_mels):
    """Away from the end, where the padded window sees silence and the true length its mirror."""
    wave = speech_like(2 * SAMPLE_RATE)
    mine = log_mel(wave, n_mels)
    padded = theirs(wave, n_mels)[:, : mine.shape[1]]
    inner = mine.shape[1] - 2
    torch.testing.assert_close(mine[:, :inner], padded[:, :inner], rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("samples", [400, 401, 559, 560, 16_000, 16_001, 16_159, 16_160])
def test_a_hundred_frames_a_second(samples):
    assert log_mel(speech_like(samples)).shape == (80, samples // HOP)


@pytest.mark.parametrize("samples", [0, 1, 2, 159, 160, 161, 200, 201, 399])
def test_very_short_clips_have_frames(samples):
    mel = log_mel(speech_like(samples))
    assert mel.shape == (80, 2)
    assert mel.isfinite().all()


def test_silence_is_finite_and_flat():
    mel = log_mel(torch.zeros(SAMPLE_RATE))
    assert mel.unique().tolist() == [pytest.approx((-10.0 + 4.0) / 4.0)]


def test_nothing_is_more_than_8_below_the_peak():
    mel = log_mel(speech_like(SAMPLE_RATE))
    assert mel.max() - mel.min() == pytest.approx(2.0, abs=1e-5)  # 8 decades over 4


def test_a_frame_is_its_definition():
    """One frame by numpy: mirrored edge, Hann window, power spectrum, mel bands, log."""
    wave = speech_like(4000).double().numpy()
    frame = 9
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    spans = np.lib.stride_tricks.sliding_window_view(
        np.pad(wave, N_FFT // 2, mode="reflect"), N_FFT
    )[::HOP]
    power = np.abs(np.fft.rfft(spans[:-1] * window)) ** 2
    log = np.log10(np.maximum(power @ mel_filters(80).double().numpy().T, 1e-10))
    log = (np.maximum(log, log.max() - 8.0) + 4.0) / 4.0
    torch.testing.assert_close(
        log_mel(torch.from_numpy(wave).float())[:, frame],
        torch.from_numpy(log[frame]).float(),
        rtol=0.0,
        atol=1e-4,
    )


@pytest.mark.parametrize("n_mels", [80, 128])
def test_filters_are_transformers(n_mels):
    from transformers import WhisperFeatureExtractor

    wanted = torch.from_numpy(WhisperFeatureExtractor(feature_size=n_mels).mel_filters).float().T
    torch.testing.assert_close(mel_filters(n_mels), wanted, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("n_mels", [80, 128, 64])
def test_kept_filters_are_those_of_librosa(n_mels):
    np.testing.assert_array_equal(mel_filters(n_mels).numpy(), compute_filters(n_mels))


def test_the_sizes_of_whisper_need_no_librosa():
    code = """
import sys
from frontends.log_mel import mel_filters
mel_filters(80), mel_filters(128)
assert "librosa" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
