"""Whatever clip is given: `avsr transcribe` and `avsr roi` end in a result or one clear error."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from avsr.cli import main
from tests.avsr.train.folders import write_lips, write_llm, write_whisper
from tests.frontends.clips import numbered, tone, write_clip

pytestmark = pytest.mark.slow  # some fifty clips, all kinds

TIMES = {
    "25": [k / 25 for k in range(10)],
    "23.976": [k * 1001 / 24000 for k in range(10)],
    "29.97": [k * 1001 / 30000 for k in range(12)],
    "50": [k / 50 for k in range(20)],
    "60": [k / 60 for k in range(24)],
    "vfr": np.cumsum([0, 0.02, 0.09, 0.04, 0.03, 0.1, 0.04, 0.04]).tolist(),
    "late": [0.2 + k / 25 for k in range(8)],
}
CODECS = {
    "mp4": ("libx264", "aac"),
    "mov": ("libx264", "pcm_s16le"),
    "mkv": ("ffv1", "flac"),
    "webm": ("libvpx", "libopus"),
    "avi": ("mpeg4", "pcm_s16le"),
    "ts": ("libx264", "aac"),
}
FINE = ("25", "23.976", "29.97")
KINDS = [(ending, rate) for ending in ("mp4", "mov", "mkv", "webm") for rate in TIMES]
KINDS += [(ending, rate) for ending in ("avi", "ts") for rate in FINE]


def make(home: Path) -> dict[str, Path]:
    """The clips, by name."""
    clips = {}

    def add(name: str, **made: object) -> None:
        try:
            clips[name] = write_clip(home / name, **made)  # type: ignore[arg-type]
        except (OSError, ValueError):  # no such encoder in this build of the media library
            (home / name).unlink(missing_ok=True)

    for ending, rate in KINDS:
        picture, sound = CODECS[ending]
        hz = 48_000 if sound == "libopus" else 16_000
        add(f"{rate}.{ending}", times=TIMES[rate], codec=picture, wave=tone(0.4, hz),
            wave_rate=hz, wave_codec=sound)  # fmt: skip
    for depth in ("gray", "gray10le", "yuv420p10le"):
        add(f"{depth}.mkv", times=TIMES["25"], codec="ffv1", pix_fmt=depth, wave=tone(0.4, 16_000))
    for degrees in (90.0, 180.0):
        add(f"turned{degrees:.0f}.mp4", times=TIMES["25"], rotation=degrees,
            wave=tone(0.4, 16_000), wave_codec="aac")  # fmt: skip
    add("odd.mkv", times=TIMES["25"], codec="ffv1", picture=lambda k: numbered(k, 93, 61))
    add("stereo.wav", wave=tone(0.4, 44_100, 2), wave_rate=44_100)
    add("film.mp3", wave=tone(0.4, 16_000), wave_codec="libmp3lame")
    add("sound.flac", wave=tone(0.4, 16_000), wave_codec="flac")
    add("silent.mp4", times=TIMES["25"])
    (home / "cut.mp4").write_bytes((home / "25.mp4").read_bytes()[:700])
    (home / "cut.mkv").write_bytes((home / "25.mkv").read_bytes()[:2000])
    (home / "list.mp4").write_text("#EXTM3U\n25.mp4\n")
    (home / "text.mov").write_text("no film")
    (home / "empty.avi").touch()
    names = ("cut.mp4", "cut.mkv", "list.mp4", "text.mov", "empty.avi")
    return clips | {name: home / name for name in names}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from avsr.checkpoint import build_model, save_model
    from avsr.config import AvsrConfig
    from avsr.projector import ProjectorConfig
    from experts import MomeConfig

    home = tmp_path_factory.mktemp("model")
    config = AvsrConfig(
        language_model=str(write_llm(home / "llm")),
        audio_tower=str(write_whisper(home / "whisper")),
        video_tower=str(write_lips(home / "lips")),
        projector=ProjectorConfig(width=16, context=1, dropout=0.0),
        mome=MomeConfig(routed=4, top_k=2, rank=4),
    )
    save_model(build_model(config, dtype=torch.float32), home / "model")
    return home / "model"


BAD = ("cut.mp4", "list.mp4", "text.mov", "empty.avi")


def test_there_are_enough(clips: dict[str, Path]) -> None:
    assert len(clips) >= 40


def test_each_is_transcribed_or_refused(
    clips: dict[str, Path], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-m", str(model), "--roi", "given", "--max-new-tokens", "2", "--batch-size", "8"]
    assert main(["transcribe", *map(str, clips.values()), *words, "--dtype", "float32"]) == 1
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    for name, path in clips.items():
        said = [line for line in out.splitlines() if line.startswith(f"{path}: ")]
        wrong = [line for line in err.splitlines() if line.startswith(f"{path}: error: ")]
        assert (len(said), len(wrong)) == ((0, 1) if name in BAD else (1, 0)), name


def test_each_has_a_mouth_or_none(
    clips: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, path in clips.items():
        code = main(["roi", str(path), "--roi", "given", "--json"])
        out, err = capsys.readouterr()
        if name in BAD or path.suffix in (".wav", ".mp3", ".flac"):
            assert (code, out, err.count("\n")) == (1, "", 1), name
        else:
            assert code == 0, name
            assert json.loads(out)["pictures"] >= 1
