"""Decoded sound -> 16 kHz mono float32 with a known start.  av.AudioFrame -> [S]."""

from __future__ import annotations

import av
import numpy as np
from av import AudioFrame, AudioResampler
from numpy.typing import NDArray

from frontends.container import Limits

__all__ = ["RATE", "Sound"]

RATE = 16_000
BLOCK = 60 * RATE  # samples looked at together
GAP = 0.05  # s; below it a jump of time stamps is rounding, above it lost or doubled sound
# Shares of the channels in the mono mix (ITU-R BS.775, normalised to sum 1); the rest count 0.5.
SHARES = {"FC": 1.0, "FL": 0.7071, "FR": 0.7071, "LFE": 0.0, "LFE2": 0.0}


class Sound:
    """Gather decoded frames into one mono wave.

    Args:
        limits: how long and how large the sound may grow.
        where: the file, for messages.
    """

    def __init__(self, limits: Limits, where: str) -> None:
        self.limits = limits
        self.where = where
        self.start: float | None = None  # s, of the first sample, on the file's clock
        self.warnings: list[str] = []
        self.broken = 0  # frames that no sound can be taken from
        self._pcm = bytearray()  # float32; grows in place, so that long sound is held once
        self._heard = 0.0  # s fed in since start
        self._jumps = 0
        self._kind: tuple[str, str, int] | None = None
        self._mono: AudioResampler | None = None

    @property
    def end(self) -> float:
        """Where the sound gathered so far ends, s on the file's clock."""
        return float("inf") if self.start is None else self.start + self._heard

    def add(self, frame: AudioFrame) -> None:
        """Take one decoded frame.

        Raises:
            MediaError: the sound grows over a limit.
        """
        if not _sane(frame):
            self.broken += 1
            return
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        length = frame.samples / frame.sample_rate
        if self.start is None:
            self.start = frame.time if frame.time is not None else 0.0
        if kind != self._kind:  # the first frame, or a stream that changes its format
            self._flush()
            self._kind = kind
            self._mono = AudioResampler(format="flt", layout="mono", rate=RATE)
        self._follow_clock(frame, length)
        mono = self._mix(frame)
        assert self._mono is not None
        for block in self._mono.resample(mono):
            self._keep(block)
        self._heard += length
        self.limits.check_seconds(self._heard, self.where)

    def finish(self, late: float) -> NDArray[np.float32] | None:
        """Return the wave [S] behind `late` seconds of silence, or None without any sound."""
        self._flush()
        if self._jumps:
            self.warnings.append(
                f"the sound has {self._jumps} gaps or overlaps, kept in step by its time stamps"
            )
        if self._size() == 0:
            return None
        pad = max(0, round(late * RATE))
        self.limits.check_seconds(late + self._size() / 4 / RATE, self.where)
        self.limits.check_bytes(4 * pad + self._size(), self.where)
        wave = self._wave(pad)
        silenced = [self._silence(wave[at : at + BLOCK]) for at in range(0, len(wave), BLOCK)]
        if any(silenced):
            self.warnings.append("the sound holds values that are not numbers; they are silenced")
        return wave

    def _size(self) -> int:
        """Bytes gathered."""
        return len(self._pcm)

    def _append(self, data: bytes) -> None:
        self._pcm += data

    def _resize(self, size: int) -> None:
        """Cut to so many bytes, or fill up with silence."""
        del self._pcm[size:]
        self._pcm += bytes(size - len(self._pcm))

    def _wave(self, pad: int) -> NDArray[np.float32]:
        """What was gathered, behind so many samples of silence."""
        self._pcm[:0] = bytes(4 * pad)
        return np.frombuffer(self._pcm, dtype=np.float32)

    def _silence(self, block: NDArray[np.float32]) -> bool:
        """Put 0 for what is no number; say whether there was any."""
        if np.isfinite(block.min()) and np.isfinite(block.max()):
            return False
        np.nan_to_num(block, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        return True

    def _mix(self, frame: AudioFrame) -> AudioFrame:
        """One channel, by shares that sum to 1 (libswresample would add 3 dB to stereo)."""
        names = [channel.name for channel in frame.layout.channels]
        data = frame.to_ndarray()
        if data.dtype.kind in "iu":
            info = np.iinfo(str(data.dtype))
            middle = 0.0 if data.dtype.kind == "i" else (float(info.max) + 1) / 2
            scale = 1.0 / (float(info.max) + 1 - middle)
            wave = (data.astype(np.float64) - middle) * scale
        else:
            wave = data.astype(np.float64)
        wave = wave if frame.format.is_planar else wave.reshape(-1, len(names)).T  # [C, S]
        shares = np.array([SHARES.get(name, 0.5) for name in names])
        shares = shares / shares.sum() if shares.sum() > 0 else np.full(len(names), 1 / len(names))
        mono = np.ascontiguousarray((shares @ wave)[None], dtype=np.float32)  # [1, S]
        result = AudioFrame.from_ndarray(mono, format="flt", layout="mono")
        result.sample_rate = frame.sample_rate
        return result

    def _follow_clock(self, frame: AudioFrame, length: float) -> None:
        """Fill lost sound with silence and cut doubled sound: later words keep their time."""
        if frame.time is None or self.start is None:
            return
        ahead = frame.time - self.start - self._heard
        if abs(ahead) <= max(GAP, 0.5 * length):
            return
        self.limits.check_seconds(self._heard + ahead, self.where)
        self._drain()
        self._jumps += 1
        self._heard += ahead
        target = max(0, round(self._heard * RATE))
        self._heard = max(0.0, self._heard)
        self.limits.check_bytes(4 * target, self.where)
        self._resize(4 * target)

    def _drain(self) -> None:
        """Empty the resampler and start it afresh."""
        self._flush()
        self._mono = AudioResampler(format="flt", layout="mono", rate=RATE)

    def _flush(self) -> None:
        if self._mono is not None and self._kind is not None:
            for block in self._mono.resample(None):
                self._keep(block)
            self._mono = None

    def _keep(self, block: av.AudioFrame) -> None:
        self.limits.check_bytes(self._size() + 4 * block.samples, self.where)
        self._append(np.ascontiguousarray(block.to_ndarray(), dtype=np.float32).tobytes())


def _sane(frame: AudioFrame) -> bool:
    """Whether a frame may be read: damaged files make frames whose planes point nowhere."""
    planes = len(frame.layout.channels) if frame.format.is_planar else 1
    known = frame.format.name.rstrip("p") in ("u8", "s16", "s32", "s64", "flt", "dbl")
    return frame.samples > 0 and frame.sample_rate > 0 and known and len(frame.planes) == planes
