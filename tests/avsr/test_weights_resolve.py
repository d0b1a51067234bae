"""Laws of naming a model: pinned name, folder or hub id, and no one taken for another."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import errors
from huggingface_hub.utils import validate_repo_id
from safetensors.numpy import save_file

from avsr import weights
from avsr.errors import AvsrError, ModelError, SetupError
from avsr.weights import resolve, weight_files


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and a hub that counts who asks it."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return folder


class Hub:
    """Answers for the hub: a local cache of snapshots, and a network that may be cut."""

    def __init__(self, root: Path) -> None:
        self.root, self.cached, self.online = root, set[str](), dict[str, Path]()
        self.asked: list[str] = []
        self.fault: Exception | None = None

    def snapshot_download(self, name: str, *, local_files_only: bool, **_: Any) -> str:
        validate_repo_id(name)
        if local_files_only:
            if name not in self.cached:
                raise errors.LocalEntryNotFoundError("not here")
        else:
            self.asked.append(name)
        return str(self.root / name)

    def model_info(self, name: str, *, revision: str | None, timeout: float) -> None:
        self.asked.append(name if revision is None else f"{name}@{revision}")
        assert timeout <= 10
        if self.fault is not None:
            raise self.fault


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    monkeypatch.setattr(
        huggingface_hub.HfApi, "model_info", lambda self, *a, **k: made.model_info(*a, **k)
    )
    return made


def make_model(folder: Path, names: tuple[str, ...] = ("model.safetensors",)) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    for name in names:
        save_file({"x": np.zeros(1, np.float32)}, folder / name)
    return folder


def test_a_folder_is_itself(here: Path) -> None:
    folder = make_model(here / "models" / "one")
    assert resolve(folder) == folder
    assert resolve(str(folder)) == folder
    assert resolve("models/one") == Path("models/one")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("", "unknown model"),
        (" ", "unknown model"),
        ("whisper-tiny", "Known names: whisper-tiny.en"),
        ("./models/none", "no such model folder"),
        ("../none", "no such model folder"),
        ("/none/such", "no such model folder"),
        ("~/none/such-folder", "no such model folder"),
        ("~nobody-of-that-name/x", "no such model folder"),
        (".", "no config.json"),
        ("a/b/c", "no such model folder"),
        ("a/b/", "no such model folder"),
        ("models/none.safetensors", "no such model"),
        ("models/none.PT", "no such model"),
        ("none.ckpt", "no such model"),
        (Path("org/name"), "no such model folder"),
        (Path("none"), "no such model folder"),
    ],
)
def test_what_is_no_model_is_told_without_asking_the_hub(
    hub: Hub, model: str | Path, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        resolve(model)
    assert hub.asked == []


def test_a_missing_folder_beside_others_is_no_hub_id(here: Path, hub: Hub) -> None:
    make_model(here / "runs" / "first")
    with pytest.raises(ModelError, match=re.escape("runs/second@main")):
        resolve("runs/second")
    assert hub.asked == []


def test_a_hub_id_may_have_the_name_of_a_folder(here: Path, hub: Hub) -> None:
    (here / "org").mkdir()
    make_model(hub.root / "org" / "name")
    assert resolve("org/name@main") == hub.root / "org" / "name"
    hub.cached.add("org/name")
    hub.asked.clear()
    assert resolve("org/name") == hub.root / "org" / "name"
    assert hub.asked == []


def test_the_local_cache_comes_before_the_network(hub: Hub) -> None:
    make_model(hub.root / "org" / "name")
    assert resolve("org/name") == hub.root / "org" / "name"
    assert hub.asked == ["org/name", "org/name"]
    hub.asked.clear()
    hub.cached.add("org/name")
    hub.fault = ConnectionError()
    assert resolve("org/name") == hub.root / "org" / "name"
    assert resolve("org/name@v1", local_files_only=True) == hub.root / "org" / "name"
    assert hub.asked == []


def test_a_download_that_was_cut_is_not_taken_for_a_model(hub: Hub) -> None:
    folder = make_model(hub.root / "org" / "name", ("model-00001-of-00002.safetensors",))
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    hub.cached.add("org/name")
    with pytest.raises(SetupError, match="network may not be used"):
        resolve("org/name", local_files_only=True)
    with pytest.raises(ModelError, match="1 of 2 files of weights are missing"):
        resolve("org/name")
    assert hub.asked == ["org/name", "org/name"]


@pytest.mark.parametrize("value", ["1", "true", "ON", "yes"])
def test_offline_by_the_hubs_own_switch(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    with pytest.raises(SetupError, match="network may not be used"):
        resolve("org/name")
    assert hub.asked == []


def _http(status: int) -> Exception:
    response: Any = SimpleNamespace(status_code=status, headers={}, request=None)
    return errors.HfHubHTTPError(f"status {status}\nmore", response=response)


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (ConnectionError("x"), SetupError, "cannot be reached"),
        (TimeoutError("x"), SetupError, "cannot be reached"),
        (_http(503), SetupError, "HTTP 503"),
        (_http(404), ModelError, "does not give org/name: status 404"),
        (_http(401), ModelError, "hf auth login"),
    ],
)
def test_what_the_network_says_is_one_line(
    hub: Hub, fault: Exception, kind: type[AvsrError], message: str
) -> None:
    hub.fault = fault
    with pytest.raises(kind, match=message) as caught:
        resolve("org/name")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", ["org/na--me", "org/na..me", "org/name."])
def test_an_impossible_hub_id_is_one_line(hub: Hub, model: str) -> None:
    with pytest.raises(ModelError, match="not a hub id"):
        resolve(model)


_NO_NETWORK = """
import socket, sys
def refuse(*args, **kwargs):
    raise socket.gaierror(-3, "Temporary failure in name resolution")
socket.getaddrinfo = socket.socket.connect = refuse
from avsr.cli import main
sys.exit(main(["pull", "some-org/some-name"]))
"""


def test_no_network_is_told_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _NO_NETWORK],
        capture_output=True,
        text=True,
        timeout=40,
        cwd=Path(__file__).parents[2],
    )
    assert time.monotonic() - began < 20  # its own retries take 46 s
    assert done.returncode == 3
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "hub cannot be reached" in done.stderr


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["pytorch_model.bin"], "only pytorch_model.bin, a pickle"),
        ([], "none"),
    ],
)
def test_a_folder_without_safetensors_is_refused(here: Path, names: list[str], found: str) -> None:
    folder = make_model(here / "one", ())
    for name in names:
        (folder / name).write_bytes(b"\x80\x04")
    with pytest.raises(ModelError, match=found):
        resolve(folder)


def test_a_file_is_no_model(here: Path) -> None:
    (here / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="a folder, not a file"):
        resolve("model.safetensors")


def test_copies_beside_the_weights_are_left_out(here: Path) -> None:
    whole = make_model(here / "whole", ("model.safetensors", "model.fp32.safetensors"))
    assert weight_files(whole) == [whole / "model.safetensors"]
    shards = ("model-2.safetensors", "model-1.safetensors")
    cut = make_model(here / "cut", (*shards, "consolidated.safetensors"))
    index = {"weight_map": {"a": shards[0], "b": shards[1], "c": shards[0]}}
    (cut / "model.safetensors.index.json").write_text(json.dumps(index))
    assert weight_files(cut) == [cut / "model-1.safetensors", cut / "model-2.safetensors"]
    odd = make_model(here / "odd", ("b.safetensors", "a.safetensors"))
    assert weight_files(odd) == [odd / "a.safetensors", odd / "b.safetensors"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}'])
def test_a_damaged_index_is_one_line(here: Path, text: str) -> None:
    folder = make_model(here / "cut", ("model-1.safetensors",))
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ModelError, match=r"unreadable model\.safetensors\.index\.json"):
        resolve(folder)


def test_a_pinned_name_is_pulled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "pull", lambda name, **settings: (name, settings))
    assert resolve("face-models", local_files_only=True) == (
        "face-models",
        {"local_files_only": True},
    )
