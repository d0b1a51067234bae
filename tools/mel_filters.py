"""Write the mel filterbanks that Whisper models use, as librosa computes them.

    python tools/mel_filters.py

librosa -> frontends/assets/mel_filters.npz. Kept as a file because importing librosa takes a
second, which the first transcript of every process would wait for.
"""

from __future__ import annotations

import numpy as np

from frontends.log_mel import BANKS, compute_filters

SIZES = (80, 128)  # tiny to large-v2, large-v3


def main() -> None:
    """Compute and write them."""
    BANKS.parent.mkdir(exist_ok=True)
    np.savez_compressed(BANKS, **{f"mel_{size}": compute_filters(size) for size in SIZES})


if __name__ == "__main__":
    main()
