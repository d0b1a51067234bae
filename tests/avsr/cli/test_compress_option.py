"""`avsr transcribe --compress` with a real checkpoint, a tiny one; nothing is a stand-in."""

import json

import pytest
import torch

from avsr.checkpoint import build_model, save_model
from avsr.cli import main
from tests.avsr.train.folders import write_home
from tests.frontends.clips import tone, write_clip
from tests.tiny import awaken


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return write_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """1.5 s of a tone that changes, 75 frames of sound."""
    path = tmp_path_factory.mktemp("clips") / "tone.wav"
    wave = [tone(0.75, 16_000, hz=hz) for hz in (300.0, 900.0)]
    write_clip(path, wave=torch.cat([torch.as_tensor(w) for w in wave], -1).numpy())
    return path


def model(home, folder, compress):
    config = home.config(video_tower=None, video_rates=(), compress=compress)
    save_model(awaken(build_model(config, dtype=torch.float32)), folder)
    return folder


def read(capsys, clip, folder, *words):
    """Exit status, the transcript if there is one, and what was said beside it."""
    made = folder / "tone.json"
    made.unlink(missing_ok=True)
    args = ["--model", folder, "--dtype", "float32", "--max-new-tokens", 2, "-f", "json"]
    code = main([str(w) for w in ("transcribe", clip, *args, "-o", folder, "--quiet", *words)])
    told = json.loads(made.read_text(encoding="utf-8")) if made.is_file() else None
    return code, told, capsys.readouterr().err


def test_two_methods_read_a_file_each_by_its_own_tokens(home, clip, tmp_path, capsys):
    folder = model(home, tmp_path / "pool", {"name": "pool"})
    code, own, err = read(capsys, clip, folder)
    assert code == 0, err
    assert own["tokens"]["audio"] == 19
    assert "compress" not in own["model"]
    code, cluster, _ = read(capsys, clip, folder, "--compress", "cluster")
    assert code == 0
    assert cluster["model"]["compress"]["name"] == "cluster"
    assert cluster["tokens"]["audio"] == 19
    told = [w for w in cluster["warnings"] if "cut after" not in w]
    assert told == ["compressed by 'cluster'; the model was trained with 'pool'"]
    assert cluster["segments"][0]["avg_logprob"] != own["segments"][0]["avg_logprob"]
    words = ("--compress", "audio=keyframe,budget=per_second:4", "--audio-rate", 16)
    code, keys, _ = read(capsys, clip, folder, *words)
    assert code == 0
    assert keys["tokens"]["audio"] == 6
    assert keys["model"]["compress"]["audio"]["budget"] == {"per_second": 4.0}
    assert not any("stands for" in w for w in keys["warnings"])


def test_a_method_that_cannot_be_read_ends_the_command(home, clip, tmp_path, capsys):
    folder = model(home, tmp_path / "stack", {"name": "stack"})
    code, _, err = read(capsys, clip, folder)
    assert code == 0, err
    code, out, err = read(capsys, clip, folder, "--compress", "cluster")
    assert (code, out) == (2, None)
    assert "was trained with the compressor 'stack'" in err
    code, out, err = read(capsys, clip, folder, "--compress", "keyframe,step=1e-300")
    assert (code, out) == (2, None)
