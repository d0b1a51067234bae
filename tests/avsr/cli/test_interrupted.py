"""SIGKILL at any moment leaves whole files or none, and --resume ends as if nothing had been.

The command runs in a process of its own, with a recogniser that needs no weights.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CLIPS = 12
FORMATS = ("txt", "srt", "json")
WHOLE = hasattr(os, "O_TMPFILE")  # Linux: a file has no name before it is whole

COMMAND = """
import sys, time, types
from avsr.cli import main
from avsr.transcript import Segment, Transcript

class Fake:
    def transcribe(self, paths, **_):
        time.sleep(0.01)
        made = []
        for path in paths:
            text = f"{path} " * 2000  # long enough to be caught half written
            made.append(Transcript(text, (Segment(0.0, 1.0, text),), input={"path": path}))
        return made

api = types.ModuleType("avsr.loading")
api.load_model = lambda *_, **__: Fake()
sys.modules["avsr.loading"] = api
utils = types.ModuleType("transformers.utils")
utils.logging = types.SimpleNamespace(
    disable_progress_bar=lambda: None, set_verbosity_error=lambda: None
)
sys.modules["transformers"] = types.ModuleType("transformers")
sys.modules["transformers.utils"] = utils
print("ready", flush=True)
sys.exit(main(sys.argv[1:]))
"""


def start(folder: Path) -> subprocess.Popen[str]:
    words = ["transcribe", "in", "-o", "out", "-f", ",".join(FORMATS), "--resume", "-q"]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def clips(folder: Path) -> Path:
    (folder / "in").mkdir(parents=True)
    for number in range(CLIPS):
        (folder / "in" / f"{number:02d}.mp4").touch()
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()} if folder.is_dir() else {}


def killed_and_resumed(tmp_path: Path, kills: int) -> None:
    whole = clips(tmp_path / "whole")
    with start(whole) as run:
        assert run.stdout is not None
        run.stdout.readline()
        ready = time.monotonic()
        assert run.wait() == 0
    length = time.monotonic() - ready
    wanted = files(whole / "out")
    assert len(wanted) == CLIPS * len(FORMATS)
    moments = random.Random(0)
    for number in range(kills):
        broken = clips(tmp_path / f"broken{number}")
        with start(broken) as run:
            assert run.stdout is not None
            run.stdout.readline()
            time.sleep(moments.uniform(0.0, length))
            run.kill()
        for name, content in files(broken / "out").items():
            if name.startswith(".avsr-"):  # about to be renamed
                assert not WHOLE or content in wanted.values()
                continue
            assert content == wanted[name]
            if name.endswith(".json"):
                json.loads(content)
        with start(broken) as run:
            assert run.wait() == 0
        assert files(broken / "out") == wanted


def test_killed_once_and_resumed(tmp_path: Path) -> None:
    killed_and_resumed(tmp_path, kills=1)


@pytest.mark.slow
def test_killed_at_twenty_moments_and_resumed(tmp_path: Path) -> None:
    killed_and_resumed(tmp_path, kills=20)
