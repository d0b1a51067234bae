"""Peak memory of transcribing recordings of different lengths: it should not grow with them.

    python tools/memory.py ../shared/data/manifest.jsonl --minutes 5 60
    python tools/memory.py ../shared/data/manifest.jsonl --minutes 5 60 --modality a

Data: manifest -> clips joined, in order, until they last as long as wanted, pictures and sound
copied as they are -> `avsr transcribe` in a process of its own -> a Markdown table of peak memory
held, seconds, and share of the shortest one's memory.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.stream

from avsr.cli.outcome import guarded
from avsr.manifest import Item, read_manifest

HEAD = "| minutes | peak MB | seconds | of the shortest |\n|---:|---:|---:|---:|"


def join(clips: Iterable[Path], to: Path, seconds: float) -> float:
    """Join clips of one kind, packet by packet, and return how long they are together.

    Args:
        clips: with the same codecs and sizes; taken again from the first where they are too few.
        to: an mp4 or mkv to write.
        seconds: least length.

    Raises:
        ValueError: no clips, or one that does not tell its length.
    """
    files = list(clips)
    if not files:
        raise ValueError("no clips to join")
    at, number = Fraction(0), 0
    with av.open(str(to), "w") as out:
        tracks: dict[str, av.stream.Stream] = {}
        last: dict[str, int] = {}
        while at < seconds:
            with av.open(str(files[number % len(files)])) as clip:
                number += 1
                streams = [s for s in clip.streams if s.type in ("audio", "video")]
                length = Fraction(clip.duration or 0, av.time_base)  # of the longer of its tracks
                if length <= 0:
                    raise ValueError("a clip does not tell its length")
                for stream in streams:
                    if stream.type not in tracks:
                        tracks[stream.type] = out.add_stream_from_template(stream)
                for packet in clip.demux(streams):
                    if packet.dts is None:
                        continue
                    kind, shift = packet.stream.type, round(at / packet.time_base)
                    # A clip may begin a little before 0, for pictures that are decoded ahead.
                    dts = max(packet.dts + shift, last.get(kind, packet.dts + shift - 1) + 1)
                    last[kind] = packet.dts = dts
                    packet.pts = max(packet.pts + shift, dts)
                    packet.stream = tracks[kind]
                    out.mux(packet)
                at += length
    return float(at)


def peak(command: Sequence[str]) -> tuple[int, float]:
    """Run a command; return its most resident memory in bytes and its seconds.

    What this process holds counts too, as the system hands the mark on: it holds little.

    Raises:
        RuntimeError: it failed.
    """
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_maxrss * unit, time.perf_counter() - began


def chosen(item: Item, modality: str) -> bool:
    """Whether a clip is of the kind that is joined: one speaker's, so that all are alike."""
    if modality == "a":
        return item.corpus == "librispeech" and item.split == "test"
    return item.has_video and item.speaker == "grid-s1"


def main(words: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--minutes", type=float, nargs="+", default=[5.0, 60.0])
    parser.add_argument("--modality", choices=["a", "av"], default="av")
    parser.add_argument("--model", default="default")
    parser.add_argument("--batch-size", type=int, default=1)
    args = parser.parse_args(words)
    clips = [item.path for item in read_manifest(args.manifest, lambda i: chosen(i, args.modality))]
    print(HEAD)
    first = 0
    for minutes in sorted(args.minutes):
        with tempfile.TemporaryDirectory(prefix="avsr-") as folder:
            path = Path(folder, "joined.mkv" if args.modality == "a" else "joined.mp4")
            seconds = join(clips, path, 60 * minutes)
            command = [sys.executable, "-m", "avsr", "transcribe", str(path), "-q"]
            command += ["-m", args.model, "--modality", args.modality]
            command += ["--batch-size", str(args.batch_size)]
            size, spent = peak(command)
        first = first or size
        cells = (f"{seconds / 60:.1f}", f"{size / 1e6:.0f}", f"{spent:.0f}", f"{size / first:.3f}")
        print(f"| {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
