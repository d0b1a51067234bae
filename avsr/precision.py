"""Which numbers the frozen language model computes with.

Data: option name, device -> torch dtype.
"""

from __future__ import annotations

import torch

from avsr.errors import ConfigError

__all__ = ["DTYPES", "choose_dtype"]

DTYPES = ("auto", "float32", "bfloat16", "float16")


def choose_dtype(name: str, device: torch.device | str = "cpu") -> torch.dtype:
    """Turn a dtype option into a dtype.

    "auto" is the fastest that is safe: where a CPU multiplies bf16 in hardware (AMX, AVX512-BF16)
    it halves the time, where it does not it was measured to train thirty times slower than float32.

    Args:
        name: one of `DTYPES`.
        device: where the model will be.

    Raises:
        ConfigError: no such dtype.
    """
    if name not in DTYPES:
        raise ConfigError(f"unknown dtype {name!r}", todo=f"Choose one of {', '.join(DTYPES)}.")
    if name != "auto":
        chosen: torch.dtype = getattr(torch, name)
        return chosen
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if kind == "cpu" and _cpu_has_bf16() else torch.float32


def _cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 matrices itself; torch tells it under private names only."""
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, check, lambda: False)()) for check in checks)
