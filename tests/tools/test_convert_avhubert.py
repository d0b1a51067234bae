"""Official checkpoints of tiny width are converted; a pickle that calls something is refused."""

import argparse
import os
import pickle
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

from frontends.avhubert_tower import AvHubertTower
from tests.frontends.avhuberts import TINY, checkpoint, finetuned, pretrained, tiny


@pytest.fixture(scope="module")
def net():
    return tiny()


@pytest.fixture
def tools(tool):
    return tool("convert_avhubert"), tool("tame_pickle")


@pytest.fixture
def fairseq(monkeypatch):
    """Classes as they lie in an official pickle, of modules that the reader has not."""
    modules = {}
    for name in ("fairseq", "fairseq.data", "fairseq.data.dictionary", "omegaconf"):
        modules[name] = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, modules[name])

    def made(home, name):
        kind = type(name, (), {"__module__": home})
        setattr(modules[home], name, kind)
        return kind

    dictionary = made("fairseq.data.dictionary", "Dictionary")()
    dictionary.symbols = ["<s>", "a"]
    node, config = made("omegaconf", "AnyNode"), made("omegaconf", "DictConfig")

    def told(value):
        thing = config() if isinstance(value, dict) else node()
        inner = {k: told(v) for k, v in value.items()} if isinstance(value, dict) else value
        thing.__dict__ = {"_content" if isinstance(value, dict) else "_val": inner}
        return thing

    return dictionary, told


@pytest.mark.parametrize("layout", [pretrained, finetuned], ids=["pretrained", "finetuned"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_both_layouts_and_both_files_are_read(net, tools, fairseq, tmp_path, layout, zipped):
    convert, _ = tools
    dictionary, told = fairseq
    whole = checkpoint(layout(net))
    whole |= {
        "cfg": told(whole["cfg"]),
        "task_state": {"dictionaries": [dictionary]},
        "args": argparse.Namespace(seed=1),
    }
    path = tmp_path / "official.pt"
    torch.save(whole, path, _use_new_zipfile_serialization=zipped)
    for name in [k for k in sys.modules if k.split(".")[0] in ("fairseq", "omegaconf")]:
        del sys.modules[name]
    assert convert.convert(path, tmp_path / "out") == TINY
    tower = AvHubertTower.from_folder(tmp_path / "out")
    for (name, mine), (_, theirs) in zip(
        tower.net.state_dict().items(), net.state_dict().items(), strict=True
    ):
        assert torch.equal(mine, theirs), name


def test_a_fine_tuned_configuration_holds_its_encoders(net, tools, tmp_path):
    convert, _ = tools
    inner = {"model": {"encoder_attention_heads": 2}}
    whole = {"model": finetuned(net), "cfg": {"model": {"_name": "av_hubert_seq2seq",
             "w2v_args": inner}}}  # fmt: skip
    torch.save(whole, tmp_path / "a.pt")
    assert convert.convert(tmp_path / "a.pt", tmp_path / "out").heads == 2


class Bomb:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


CALLS = {
    "os.system": (os.system, "touch {}"),
    "eval": (eval, "open({!r}, 'w')"),
    "getattr": (getattr, "x", "upper"),
    "Path.touch": (Path.touch, Path("{}")),
    "subprocess": (subprocess.getoutput, "touch {}"),
    "torch.hub.load": (torch.hub.load, "a", "b"),
    "torch.load": (torch.load, "{}"),
    "_load_from_bytes": (torch.storage._load_from_bytes, b"..."),
}


@pytest.mark.parametrize(
    ("name", "zipped"), [*((name, True) for name in CALLS), ("os.system", False), ("eval", False)]
)
def test_a_pickle_that_calls_something_is_refused(net, tools, tmp_path, name, zipped):
    convert, tame = tools
    function, *arguments = CALLS[name]
    proof = tmp_path / "ran"
    arguments = [a.format(str(proof)) if isinstance(a, str) else a for a in arguments]
    whole = {**checkpoint(pretrained(net)), "extra_state": Bomb(function, *arguments)}
    torch.save(whole, tmp_path / "bomb.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(tame.Refused, match="no checkpoint of speech needs"):
        convert.convert(tmp_path / "bomb.pt", tmp_path / "out")
    assert not proof.exists()
    assert not (tmp_path / "out").exists()


def test_a_stand_in_does_nothing(tools, tmp_path):
    _, tame = tools
    made = tame.Unpickler(open(os.devnull, "rb")).find_class("fairseq.tasks", "Task")
    thing = made("any", key=1)
    thing.append(1)
    thing["key"] = 2
    assert made.__module__ == "fairseq.tasks"
    with pytest.raises(tame.Refused):
        tame.Unpickler(open(os.devnull, "rb")).find_class("fairseq.tasks", "os.system")


def test_files_that_are_no_checkpoints(tools, tmp_path):
    _, tame = tools
    program = torch.jit.trace(torch.nn.Identity(), torch.zeros(1))
    program.save(str(tmp_path / "program.pt"))
    with pytest.raises(tame.Refused, match="TorchScript"):
        tame.load(tmp_path / "program.pt")
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "empty.pt").touch()
    (tmp_path / "plain.pt").write_bytes(pickle.dumps([1, 2]))
    for name in ("text.pt", "empty.pt", "plain.pt", "none.pt"):
        with pytest.raises(tame.Refused):
            tame.load(tmp_path / name)


def spoilt(net, **changes):
    state = {**pretrained(net), **changes}
    return checkpoint({k: v for k, v in state.items() if v is not None})


def test_checkpoints_of_something_else_are_refused_by_name(net, tools, tmp_path):
    convert, _ = tools
    post = checkpoint(pretrained(net))
    post["cfg"]["model"]["layer_norm_first"] = False
    wrong = {
        "post-norm": post,
        "lm_head": spoilt(net, **{"lm_head.weight": torch.zeros(2)}),
        "post_extract_proj.bias": spoilt(net, **{"post_extract_proj.bias": None}),
        "layer_norm.weight": spoilt(net, **{"layer_norm.weight": torch.zeros(3)}),
        "no state dict": {"state_dict": {}},
        "is no tensor": spoilt(net, **{"encoder.layer_norm.bias": [1.0]}),
    }
    for message, whole in wrong.items():
        torch.save(whole, tmp_path / "a.pt")
        with pytest.raises(ValueError, match=message):
            convert.convert(tmp_path / "a.pt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_line(net, tools, tmp_path, monkeypatch, capsys):
    convert, _ = tools
    torch.save(checkpoint(pretrained(net)), tmp_path / "a.pt")
    words = ["convert_avhubert.py", str(tmp_path / "a.pt"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", words)
    convert.main()
    assert "layers=2" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [words[0], str(tmp_path / "none.pt"), *words[2:]])
    with pytest.raises(SystemExit, match="no such file"):
        convert.main()
