"""The 26-band log filterbank that AV-HuBERT hears, four frames stacked.

Data: wave [S] float32, 16 kHz -> [T, 104] float32, 25 frames a second.

The bands are those of the package python_speech_features, which AV-HuBERT was trained with:
pre-emphasis 0.97, 25 ms frames every 10 ms without a window, 512-point power spectrum, triangles
between whole bins on the HTK mel scale, natural logarithm, on the scale of 16-bit samples.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["BANDS", "STACK", "filters", "log_filterbank", "stacked_filterbank"]

RATE = 16_000
N_FFT = 512
FRAME, HOP = 400, 160  # samples
BANDS = 26
STACK = 4  # frames of 10 ms in one frame of 25 Hz
EMPHASIS = 0.97
FULL_SCALE = 32_768.0


@lru_cache(maxsize=1)
def filters() -> Tensor:
    """Triangles [26, 257] between the bins nearest below 28 points of equal mel distance."""
    highest = 2595 * math.log10(1 + RATE / 2 / 700)
    mels = torch.linspace(0, highest, BANDS + 2, dtype=torch.float64)
    hertz = 700 * (10 ** (mels / 2595) - 1)
    edges = torch.floor((N_FFT + 1) * hertz / RATE)
    low, peak, high = (edges[k : k + BANDS, None] for k in range(3))
    bins = torch.arange(N_FFT // 2 + 1, dtype=torch.float64)
    rise, fall = (bins - low) / (peak - low), (high - bins) / (high - peak)
    rising, falling = (bins >= low) & (bins < peak), (bins >= peak) & (bins < high)
    return torch.where(rising, rise, torch.where(falling, fall, 0.0))


def log_filterbank(wave: Tensor) -> Tensor:
    """Log filterbank energies of one waveform.

    Args:
        wave: mono sound [S], float32 in [-1, 1] at 16 kHz.

    Returns:
        [F, 26] float32, 100 frames a second; the last frame is filled up with silence.
    """
    x = wave.double() * FULL_SCALE
    x = torch.cat([x[:1], x[1:] - EMPHASIS * x[:-1]])
    count = 1 + max(0, -(-(len(x) - FRAME) // HOP))
    x = F.pad(x, (0, max(0, (count - 1) * HOP + FRAME - len(x))))
    power = torch.fft.rfft(x.unfold(0, FRAME, HOP), N_FFT).abs().square() / N_FFT  # [F, 257]
    energy = power @ filters().to(x.device).T
    least = torch.finfo(torch.float64).eps
    return torch.where(energy == 0, least, energy).log().float()


def stacked_filterbank(wave: Tensor) -> Tensor:
    """Four frames of `log_filterbank` side by side, each stack of zero mean and unit deviation.

    Args:
        wave: mono sound [S], float32 in [-1, 1] at 16 kHz.

    Returns:
        [T, 104] float32 at 25 Hz, T = ceil(F / 4); a last stack that is not full ends in zeros.
    """
    frames = log_filterbank(wave)
    frames = F.pad(frames, (0, 0, 0, -len(frames) % STACK))
    stacks = frames.reshape(-1, STACK * BANDS)  # [T, 104]
    return F.layer_norm(stacks, stacks.shape[1:])
