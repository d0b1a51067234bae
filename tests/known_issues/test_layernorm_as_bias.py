"""`nn.Linear(a, b, nn.LayerNorm(b))`: the norm lands in the `bias` argument and never exists.

Seen in Omni-AVSR's per-rate projectors.
"""

import ast
import inspect

import pytest
import torch
from torch import nn

projector = pytest.importorskip("avsr.projector", reason="needs the projector's file")


def _modules() -> list[nn.Module]:
    return list(projector.Projector(6, 10, projector.ProjectorConfig(width=8), gain=1.0).modules())


def test_the_fault_is_silent_in_torch() -> None:
    layer = nn.Linear(2, 3, nn.LayerNorm(3))  # type: ignore[arg-type]
    assert [type(m) for m in layer.modules()] == [nn.Linear]


def test_every_layer_that_is_written_is_there() -> None:
    """Each nn.X(...) of the constructor becomes a submodule, none a lost argument."""
    made = {type(module).__name__ for module in _modules()}
    tree = ast.parse(inspect.getsource(projector.Projector))
    calls = [c for c in ast.walk(tree) if isinstance(c, ast.Call) and _layer(c)]
    assert calls
    for call in calls:
        assert _layer(call) in made
        takes = _layer(call) in ("Sequential", "ModuleList", "ModuleDict")
        inner = [*call.args, *(k.value for k in call.keywords)]
        assert takes or not any(isinstance(a, ast.Call) and _layer(a) for a in inner)


def _layer(call: ast.Call) -> str:
    """Name of the layer that an `nn.X(...)` call makes, "" for any other call."""
    made = call.func
    if not (isinstance(made, ast.Attribute) and isinstance(made.value, ast.Name)):
        return ""
    kind = getattr(nn, made.attr, None) if made.value.id == "nn" else None
    return made.attr if isinstance(kind, type) and issubclass(kind, nn.Module) else ""


def test_biases_are_numbers() -> None:
    for module in _modules():
        bias = getattr(module, "bias", None)
        assert bias is None or isinstance(bias, nn.Parameter)


def test_the_norm_is_trained_and_does_something() -> None:
    made = projector.Projector(6, 10, projector.ProjectorConfig(width=8, dropout=0.0), gain=1.0)
    norms = [m for m in made.modules() if isinstance(m, nn.LayerNorm)]
    assert norms
    assert all(p.requires_grad for norm in norms for p in norm.parameters())
    x, mask = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(0)), torch.ones(1, 4)
    once, louder = made(x, mask.bool()), made(1000 * x, mask.bool())
    torch.testing.assert_close(once, louder, rtol=1e-3, atol=1e-4)
