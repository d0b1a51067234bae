"""Whisper's log-mel spectrogram of one waveform, at its true length.

Data: wave [S] float32, 16 kHz -> log-mel [M, F] float32, 100 frames a second.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SAMPLE_RATE = 16_000
N_FFT = 400
HOP = 160
BANKS = Path(__file__).parent / "assets" / "mel_filters.npz"  # tools/mel_filters.py


@lru_cache(maxsize=4)
def mel_filters(n_mels: int) -> Tensor:
    """Slaney-scaled mel filterbank, the one that Whisper was trained with.

    Args:
        n_mels: number of mel bands M (80, or 128 for large-v3).

    Returns:
        Filters [M, N_FFT // 2 + 1], float32.
    """
    with np.load(BANKS) as kept:
        name = f"mel_{n_mels}"
        return torch.from_numpy(kept[name] if name in kept else compute_filters(n_mels))


def compute_filters(n_mels: int) -> NDArray[np.float32]:
    """`mel_filters` by librosa.

    Args:
        n_mels: number of mel bands M.

    Returns:
        Filters [M, N_FFT // 2 + 1], float32.
    """
    from librosa.filters import mel  # a second to import

    filters: NDArray[np.float32] = mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=n_mels)
    return filters


def log_mel(wave: Tensor, n_mels: int = 80) -> Tensor:
    """Log-mel spectrogram as Whisper computes it (arXiv 2212.04356, section 2.2).

    Args:
        wave: mono sound [S], float32 in [-1, 1] at 16 kHz.
        n_mels: number of mel bands M.

    Returns:
        [M, F] float32 with F = S // 160; at least one frame, so that very short clips have one.
    """
    shortest = N_FFT  # the centred transform reflects 200 samples at each end
    if wave.shape[-1] < shortest:
        wave = torch.nn.functional.pad(wave, (0, shortest - wave.shape[-1]))
    window = torch.hann_window(N_FFT, device=wave.device)
    spectrum = torch.stft(wave, N_FFT, HOP, window=window, return_complex=True)
    power = spectrum[..., :-1].abs().square()  # Whisper drops the last frame
    mels = mel_filters(n_mels).to(wave.device) @ power  # [M, F]
    log = mels.clamp(min=1e-10).log10()
    log = torch.maximum(log, log.max() - 8.0)
    return (log + 4.0) / 4.0
