"""Seeds of compressors: what is drawn by them, and nothing else drawn differently for it.

Data: seed -> draws of its own; the global generator is left as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_END = 1 << 63  # what torch and numpy both take


def checked(seed: int) -> int:
    """The seed itself.

    Raises:
        ValueError: it is outside 0 to 2^63 - 1.
    """
    if not 0 <= seed < _END:
        raise ValueError(f"seed must lie in 0 to 2^63 - 1, got {seed}")
    return seed


@contextmanager
def drawing(seed: int) -> Iterator[None]:
    """Inside, weights on the CPU are drawn by this seed alone.

    Raises:
        ValueError: as for `checked`.
    """
    with torch.random.fork_rng(devices=[]):
        # not torch.manual_seed, which seeds other devices too, and nobody would set them back
        torch.default_generator.manual_seed(checked(seed))
        yield
