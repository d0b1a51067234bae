"""Speed of the front ends: seconds of clip a second of clock, on one thread or several.

    python tools/bench_frontend.py ../shared/data/grid/s1/bbaf2n.mp4 --threads 2 --out speed.json

Random weights serve where only time is asked for (AV-HuBERT): no download is needed for them. The
threads are those of the networks of torch; the lip track has three of its own, one to decode, one
to follow the face and one to crop. Beside the JSON file a table of the same name ends in .md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from avsr.errors import AvsrError
from avsr.weights import pull, resolve
from frontends.audio_tower import WhisperTower
from frontends.avhubert import BASE, LARGE, AvHubert
from frontends.avhubert_tower import AvHubertTower
from frontends.faces import BlazeFace, FaceMesh
from frontends.lips import LipTracker
from frontends.media import open_clip
from frontends.video_tower import LipEncoder

LIPS = Path(__file__).resolve().parents[1] / "avsr" / "models" / "default"


def timed(work: Callable[[], Any], repeat: int) -> float:
    """Least seconds of some runs, after one that warms up."""
    work()
    spent = []
    for _ in range(repeat):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return min(spent)


@torch.no_grad()
def stages(path: Path, repeat: int) -> dict[str, float]:
    """Seconds of each stage for one clip."""
    clip = open_clip(path)
    images = [frame.image for frame in clip.frames()]
    models = pull("face-models")
    finder, tracker = BlazeFace(weights=models), LipTracker(weights=models)
    mesh = FaceMesh(weights=models)
    face = next(iter(finder.find(images[0])), None)
    crops = torch.from_numpy(tracker.track(clip).crops)[None]
    frames = torch.tensor([crops.shape[1]])
    lips = LipEncoder.from_folder(LIPS)
    found = {
        "decode": timed(lambda: [open_clip(path), list(clip.frames())], repeat),
        "detect": timed(lambda: [finder.find(image) for image in images], repeat),
        "points": timed(lambda: [face and mesh.read(image, face) for image in images], repeat),
        "track and crop, with decoding": timed(lambda: tracker.track(clip), repeat),
        "lip encoder": timed(lambda: lips(crops, frames), repeat),
    }
    for name, shape in (("base", BASE), ("large", LARGE)):
        tower = AvHubertTower(AvHubert(shape))
        found[f"AV-HuBERT {name}, lips"] = timed(lambda t=tower: t(crops, frames), repeat)
        del tower
    if clip.audio is not None:
        waves = torch.from_numpy(np.ascontiguousarray(clip.audio))[None]
        samples = torch.tensor([waves.shape[1]])
        folder = resolve("whisper-tiny.en")
        for pad in ("none", "30s"):
            whisper = WhisperTower.from_folder(folder, pad=pad)
            told = f"Whisper tiny, {'un-padded' if pad == 'none' else 'padded to 30 s'}"
            found[told] = timed(lambda w=whisper: w(waves, samples), repeat)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path, help="figures as JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    try:
        clip = open_clip(args.clip)
        spent = stages(args.clip, args.repeat)
    except AvsrError as error:
        raise SystemExit(str(error)) from None
    figures = {
        "command": " ".join(["python", *sys.argv]),
        "code": commit(),
        "clip": args.clip.name,
        "seconds": clip.duration,
        "threads": args.threads,
        "machine": machine(),
        "torch": torch.__version__,
        "clip_seconds_per_second": {k: round(clip.duration / v, 1) for k, v in spent.items()},
    }
    for name, rate in figures["clip_seconds_per_second"].items():
        print(f"{name:32} {rate:8.1f}  ({25 * rate:.0f} pictures a second)")
    if args.out is not None:
        args.out.write_text(json.dumps(figures, indent=2) + "\n")
        args.out.with_suffix(".md").write_text(table(figures))


def machine() -> str:
    """Processor and cores of this machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name.strip()}, {os.cpu_count()} cores"


def commit() -> str:
    """Commit of the code that is measured."""
    asked = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "not under version control"


def table(figures: Mapping[str, Any]) -> str:
    """The figures as a page."""
    rows = [
        f"| {name} | {rate:.1f} | {25 * rate:.0f} |"
        for name, rate in figures["clip_seconds_per_second"].items()
    ]
    return "\n".join(
        [
            "# Speed of the front ends",
            "",
            f"`{figures['command']}`",
            "",
            f"{figures['machine']}; torch {figures['torch']}, {figures['threads']} thread(s);"
            f" code {figures['code']}; one clip of {figures['seconds']:.1f} s, the least time of"
            " some runs.",
            "",
            "| stage | clip seconds a second | pictures a second |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    main()
