"""`avsr info`: the facts of a model, from its files alone."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import avsr
from avsr.cli.info import parameters
from avsr.errors import ModelError
from avsr.fetch import sha256_of

DEFAULT = Path(avsr.__file__).parent / "models" / "default"
shipped = pytest.mark.skipif(not (DEFAULT / "config.json").is_file(), reason="no default model")


@shipped
def test_the_default_model_tells_rates_parameters_hash_and_data(command, capsys):
    assert command("info", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "avsr.info/1"
    facts = json.loads((DEFAULT / "config.json").read_text())["model"]
    both = {"audio": facts["audio_rates"], "video": facts["video_rates"]}
    assert told["tasks"]["av"] == both
    assert told["trained_sha256"] == sha256_of(DEFAULT / "model.safetensors")
    assert told["parameters"]["trained"] > 10**6
    assert {part["role"] for part in told["frozen"]} == {
        "language model",
        "audio tower",
        "video tower",
    }
    assert "GRID" in told["card"]["Data"]
    assert told["licence"] == "Apache-2.0"


@shipped
def test_the_same_as_lines(command, capsys):
    assert command("info", "default") == 0
    out = capsys.readouterr().out
    for words in ("task av", "audio rate 4 or 16", "trained", "model.safetensors", "Apache-2.0"):
        assert words in out


def test_pinned_weights_tell_licence_and_wheels_also_where_they_are_not(
    command, capsys, monkeypatch, tmp_path
):
    monkeypatch.setenv("AVSR_HOME", str(tmp_path / "void"))
    assert command("info", "whisper-tiny.en", "--json") == 0
    (part,) = json.loads(capsys.readouterr().out)["frozen"]
    assert part["licence"].startswith("MIT")
    assert part["parameters"] is None
    assert all(len(digest) == 64 for digest in part["wheels"].values())
    assert command("info", "whisper-tiny.en") == 0
    assert "avsr pull" in capsys.readouterr().out


def test_an_unknown_model_ends_with_3(command, capsys):
    assert command("info", "./nonesuch", "--local-files-only") == 3
    assert capsys.readouterr().err == "avsr: error: no such model folder (./nonesuch)\n"


def test_parameters_are_counted_from_the_header(tmp_path):
    path = tmp_path / "x.safetensors"
    tensors = {"a": torch.zeros(3, 4), "b": torch.zeros(5), "c": torch.zeros(())}
    save_file(tensors, path, metadata={"format": "pt"})
    assert parameters(path) == sum(tensor.numel() for tensor in tensors.values())


@pytest.mark.parametrize(
    "content", [b"", b"abc", struct.pack("<Q", 2**40), b"\x02" + bytes(7) + b"[]"]
)
def test_what_is_no_safetensors_is_refused(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="cannot read"):
        parameters(tmp_path / "x.safetensors")
