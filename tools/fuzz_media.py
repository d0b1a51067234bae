"""Damage made clips in every way and read them: each must end in a clip or in one clear error.

    python tools/fuzz_media.py --cases 2000 --out fuzz.json

Clips of seven formats are made here, then cut short, overwritten, or changed in single bits, by a
seed. Each case is read to its last picture in a process of its own kind, which is watched from
outside: a traceback, more than 10 s, more than 1 GiB or a crash is a fault, and the exit status 1.
The clip of a fault is kept under --keep.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

SECONDS = 10.0  # a case may take
BYTES = 2**30  # a process may hold
FORMATS = {  # ending: codecs of picture and sound
    "mp4": ("libx264", "aac"),
    "mkv": ("ffv1", "flac"),
    "webm": ("libvpx", "libopus"),
    "avi": ("mpeg4", "pcm_s16le"),
    "mpg": ("mpeg1video", "mp2"),
    "wav": (None, "pcm_s16le"),
    "ogg": (None, "libopus"),
}
WAYS = ("cut", "bits", "zeros", "noise", "swap", "head")


@dataclass(frozen=True)
class Case:
    """One damaged clip.

    Args:
        number: of the case.
        ending: its format.
        way: how it was damaged.
        data: the bytes.
    """

    number: int
    ending: str
    way: str
    data: bytes


def made(ending: str) -> bytes:
    """A short clip: a moving edge and a tone."""
    picture, sound = FORMATS[ending]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip.{ending}"
        with av.open(str(path), "w") as out:
            video: Any = out.add_stream(picture, rate=25) if picture else None
            rate = 48_000 if sound in ("mp2", "libopus") else 16_000
            audio: Any = out.add_stream(sound, rate=rate, layout="mono")
            if video is not None:
                video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
                for k in range(13):
                    image = np.zeros((64, 96, 3), np.uint8)
                    image[:, : 7 * k] = 200
                    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                    out.mux(video.encode(frame.reformat(format="yuv420p")))
                out.mux(video.encode(None))
            seconds = 0.5 if picture else 3.0  # several pages of Ogg: damage loses one
            wave = 0.3 * np.sin(np.arange(int(rate * seconds)) * 2764.6 / rate)
            for first in range(0, len(wave), 1024):
                part = np.ascontiguousarray(wave[None, first : first + 1024], dtype=np.float32)
                block = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                block.sample_rate, block.pts = rate, first
                block.time_base = Fraction(1, rate)
                out.mux(audio.encode(block))
            out.mux(audio.encode(None))
        return path.read_bytes()


def damaged(whole: bytes, way: str, rng: np.random.Generator) -> bytes:
    """Damage a file in one way."""
    data: NDArray[np.uint8] = np.frombuffer(whole, dtype=np.uint8).copy()
    size = len(data)
    if way == "cut":
        return whole[: int(rng.integers(1, size))]
    if way == "bits":
        places = rng.integers(0, size, int(rng.integers(1, 40)))
        data[places] ^= np.uint8(1) << rng.integers(0, 8, len(places), dtype=np.uint8)
    elif way == "head":  # where the lengths and rates stand
        places = rng.integers(0, min(size, 512), int(rng.integers(1, 12)))
        data[places] = rng.choice([0, 1, 0x7F, 0x80, 0xFF], len(places)).astype(np.uint8)
    else:
        first = int(rng.integers(0, size))
        last = min(size, first + int(rng.integers(1, 600)))
        if way == "zeros":
            data[first:last] = 0
        elif way == "noise":
            data[first:last] = rng.integers(0, 256, last - first, dtype=np.uint8)
        else:
            other = int(rng.integers(0, size - (last - first) + 1))
            data[first:last] = data[other : other + last - first].copy()
    return data.tobytes()


def cases(count: int, seed: int) -> Iterator[Case]:
    """All cases; a case depends on its number and the seed alone."""
    whole = {ending: made(ending) for ending in FORMATS}
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        ending = list(FORMATS)[number % len(FORMATS)]
        way = WAYS[number // len(FORMATS) % len(WAYS)]
        yield Case(number, ending, way, damaged(whole[ending], way, rng))


def peak_memory() -> int:
    """Most bytes that this process held; `ru_maxrss` counts what its parent held before exec."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
    except OSError:  # no Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def read(pipe: Connection) -> None:
    """Read clips that come through a pipe, and say how each ended; a process runs this."""
    from frontends.errors import AvsrError
    from frontends.media import open_clip

    av.logging.set_level(None)
    while (path := pipe.recv()) is not None:
        try:
            clip = open_clip(path)
            shown = sum(1 for _ in clip.frames()) if clip.video is not None else 0
            told = "clip with a warning" if clip.warnings else "clip"
            detail = f"{shown} pictures"
        except AvsrError as error:
            told, detail = "refused", error.what
            if not error.where or "\n" in str(error):
                told, detail = "fault: an error that says not where", str(error)
        except Exception as error:  # what this tool is there to find
            told, detail = "fault: a traceback", f"{type(error).__name__}: {error}"
        most = peak_memory()
        pipe.send((told, detail, most))


class Reader:
    """A process that reads, begun again when it has died or been ended."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("spawn")
        self.begin()

    def begin(self) -> None:
        """Start it and wait until it has loaded what it needs."""
        self.pipe, theirs = self.context.Pipe()
        self.process = self.context.Process(target=read, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.pipe.send("/nonexistent")  # refused: now all is loaded
        self.pipe.recv()

    def one(self, path: Path) -> tuple[str, str, float, int]:
        """How the reading of a file ended, its detail, seconds and bytes."""
        began = time.monotonic()
        self.pipe.send(str(path))
        told, detail, most = "fault: more than 10 s", "", 0
        try:
            if self.pipe.poll(SECONDS):
                told, detail, most = self.pipe.recv()
        except EOFError:
            told = "fault: the process died"
        spent = time.monotonic() - began
        if most > BYTES:
            told = "fault: more than 1 GiB"
        if told.startswith("fault:") and "traceback" not in told:
            self.end()
            self.begin()
        return told, detail, spent, most

    def end(self) -> None:
        """Stop it."""
        self.process.kill()
        self.process.join()


def fuzz(count: int, seed: int, keep: Path | None) -> dict[str, Any]:
    """Run all cases, and return the figures."""
    ended: Counter[str] = Counter()
    by_format: dict[str, Counter[str]] = {ending: Counter() for ending in FORMATS}
    faults, slowest, largest = [], 0.0, 0
    reader = Reader()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for case in cases(count, seed):
                path = Path(folder) / f"case.{case.ending}"
                path.write_bytes(case.data)
                told, detail, spent, most = reader.one(path)
                ended[told] += 1
                by_format[case.ending][told] += 1
                slowest, largest = max(slowest, spent), max(largest, most)
                if told.startswith("fault:"):
                    fault = {"case": case.number, "format": case.ending, "way": case.way}
                    faults.append({**fault, "what": told, "detail": detail[:300]})
                    if keep is not None:
                        keep.mkdir(parents=True, exist_ok=True)
                        (keep / f"{case.number}.{case.ending}").write_bytes(case.data)
    finally:
        reader.end()
    return {
        "cases": count,
        "seed": seed,
        "av": av.__version__,
        "ended": dict(ended.most_common()),
        "formats": {ending: dict(told) for ending, told in by_format.items()},
        "slowest_seconds": round(slowest, 3),
        "largest_bytes": largest,
        "faults": faults,
    }


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="figures as JSON")
    parser.add_argument("--keep", type=Path, help="folder for the clips of faults")
    args = parser.parse_args()
    figures = fuzz(args.cases, args.seed, args.keep)
    text = json.dumps(figures, indent=2)
    print(text)
    if args.out is not None:
        args.out.write_text(text + "\n")
    raise SystemExit(1 if figures["faults"] else 0)


if __name__ == "__main__":
    main()
