"""`avsr demo`: the packaged clip at every trained rate pair."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from avsr.cli.model import add_model, load
from avsr.cli.outcome import OK, guarded, one_line
from avsr.errors import SetupError

__all__ = ["CLIP", "SUMMARY", "add_arguments", "run"]

SUMMARY = "transcribe the packaged clip at every rate"

CLIP = Path(__file__).parent.parent / "models" / "demo.mp4"
"""Made by this project; how is told in the model card beside it."""

_ABOUT = "The clip is synthetic, made by this project: rendered lips and a synthetic voice."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `avsr demo`."""
    parser.description = "Transcribe the packaged clip from sound and lips, at every trained rate."
    add_model(parser)


def run(args: argparse.Namespace) -> int:
    """Do what `avsr demo` was asked, and return its exit status."""
    return guarded(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    if not CLIP.is_file():
        todo = "Install the package again, or name a clip of yours to avsr transcribe."
        raise SetupError("the packaged clip is missing", where=str(CLIP), todo=todo)
    recogniser = load(args)
    print(_ABOUT)
    began = time.perf_counter()
    clip = recogniser.prepare(CLIP, modality="av")
    recogniser.encode([clip])
    shared = time.perf_counter() - began
    print(f"{clip.seconds:.1f} s long; decoding, lips and towers once for all: {shared:.2f} s")
    print(" audio  video  tokens  seconds  text")
    for rates in recogniser.pairs("av"):
        began = time.perf_counter()
        (made,) = recogniser.recognise([clip], modality="av", rates=rates)
        spent = time.perf_counter() - began
        tokens = made.tokens["audio"] + made.tokens["video"]
        print(f"{rates.audio:6} {rates.video:6} {tokens:7} {spent:8.2f}  {one_line(made.text)}")
    return OK
