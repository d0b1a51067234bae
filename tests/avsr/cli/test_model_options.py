"""The options that choose a model mean the same to every command that loads one."""

import pytest

from avsr.errors import ModelError

COMMANDS = {"transcribe": ["a.mp4"], "eval": ["m.jsonl"], "demo": [], "serve": ["--port", "0"]}


@pytest.fixture(params=["transcribe", "eval", "demo", "serve"])
def called(request, api, command, tmp_path, monkeypatch):
    """Call a command up to the loading of its model, which is refused."""
    if request.param == "serve":
        pytest.importorskip("starlette", reason="the extra `serve` is not installed")
    clip = '{"audio_filepath": "1.wav", "duration": 1, "text": "a"}\n'
    (tmp_path / "m.jsonl").write_text(clip)
    api.refuses = ModelError("unknown model")

    def call(*words):
        assert command(request.param, *COMMANDS[request.param], *words) == 3
        return api.loaded.pop()

    return call


def test_model_device_numbers_and_network(called):
    name, how = called()
    assert name == "default"
    assert how == {"device": "auto", "dtype": "auto", "local_files_only": False}
    for chosen in ("-m mine --dtype bfloat16", "--model mine --compute-type bfloat16"):
        name, how = called(*chosen.split(), "--device", "cpu", "--local-files-only")
        assert name == "mine"
        assert how == {"device": "cpu", "dtype": "bfloat16", "local_files_only": True}


def test_the_environment_forbids_the_network(called, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert called()[1]["local_files_only"] is True


def test_threads_are_those_of_the_models(called, monkeypatch):
    import torch

    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    called("--threads", "3")
    assert asked == [3]
