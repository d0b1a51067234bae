"""Sound of any length in a file instead of in memory.  decoded frames -> a view [S] of the file."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import IO

import numpy as np
from numpy.typing import NDArray

from frontends.container import Limits
from frontends.sound import BLOCK, Sound

__all__ = ["SpooledSound", "blocks", "forget"]


class SpooledSound(Sound):
    """Gathers frames as `Sound` does, in a file.

    Args:
        limits: how long and how large the sound may grow.
        where: the media file, for messages.
        file: empty, open for reading and writing; it must outlive the wave.
    """

    def __init__(self, limits: Limits, where: str, file: IO[bytes]) -> None:
        super().__init__(limits, where)
        self._file, self._written = file, 0

    def _size(self) -> int:
        return self._written

    def _append(self, data: bytes) -> None:
        self._file.write(data)
        self._written += len(data)

    def _resize(self, size: int) -> None:
        self._file.flush()
        self._file.truncate(size)  # longer than it was: the system fills in zeros, silence
        self._file.seek(size)
        self._written = size

    def _wave(self, pad: int) -> NDArray[np.float32]:
        if pad > 0:
            self._push(4 * pad)
        self._file.flush()
        view = mmap.mmap(self._file.fileno(), 4 * (pad + self._written // 4))
        return np.frombuffer(view, dtype=np.float32)

    def _push(self, pad: int) -> None:
        """Move everything `pad` bytes on, from the end, and put silence before it."""
        step, end = 4 * BLOCK, self._written
        while end > 0:
            start = max(0, end - step)
            self._file.seek(start)
            data = self._file.read(end - start)
            self._file.seek(start + pad)
            self._file.write(data)
            end = start
        self._file.seek(0)
        while pad > 0:
            pad -= self._file.write(bytes(min(pad, step)))

    def _silence(self, block: NDArray[np.float32]) -> bool:
        found = super()._silence(block)
        forget(block)
        return found


def blocks(wave: NDArray[np.float32], size: int = BLOCK) -> Iterator[NDArray[np.float32]]:
    """Parts of a wave, one after the other, each forgotten when the next is asked for.

    Args:
        wave: [S], in memory or spooled.
        size: samples of a part; the last may have fewer.
    """
    for start in range(0, len(wave), size):
        yield wave[start : start + size]
        forget(wave)


def forget(wave: NDArray[np.float32]) -> None:
    """Give back the memory that looking at a spooled wave took; one in memory is left alone."""
    base: object = wave
    while base is not None:
        if isinstance(base, memoryview):
            base = base.obj
        if isinstance(base, mmap.mmap):
            if hasattr(mmap, "MADV_DONTNEED"):
                base.flush()
                base.madvise(mmap.MADV_DONTNEED)
            return
        base = getattr(base, "base", None)
