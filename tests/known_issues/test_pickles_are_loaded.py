"""D12: checkpoints were pickles, which run code when they are read: 72 calls in 16 repositories."""

import ast
from pathlib import Path

import pytest
import torch

from avsr.checkpoint import read_config
from avsr.errors import ModelError

ROOT = Path(__file__).parents[2]
TAME = "tame_pickle.py"  # calls torch.load with an unpickler of its own; tests/tools has its laws


def loads(source):
    """Lines that may read a pickle."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = f"{getattr(node.func.value, 'id', '')}.{node.func.attr}"
            if name in ("torch.load", "pickle.load", "pickle.loads", "joblib.load"):
                safe = any(
                    k.arg == "weights_only" and getattr(k.value, "value", None) is True
                    for k in node.keywords
                )
                found += [] if safe else [node.lineno]
    return found


def test_nothing_reads_a_pickle():
    sources = [p for part in ("avsr", "frontends", "experts", "tools", "recipes")
               for p in (ROOT / part).rglob("*.py") if p.name != TAME]  # fmt: skip
    told = {p: text for p in sources if ".load" in (text := p.read_text())}
    assert {str(p): found for p, text in told.items() if (found := loads(text))} == {}


def test_one_would_be_found():
    assert loads("torch.load('x.pt')\npickle.loads(x)\ntorch.load(x, weights_only=False)") == [
        1,
        2,
        3,
    ]
    assert loads("torch.load('x.pt', weights_only=True)") == []


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.ckpt", "model.bin"])
def test_a_pickle_as_a_model_is_refused(tmp_path, name):
    torch.save({}, tmp_path / name)
    with pytest.raises(ModelError, match="pickle"):
        read_config(tmp_path / name)
