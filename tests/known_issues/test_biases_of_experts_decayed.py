"""Experts' biases are stacked, [E, H], so a rule by dimensions let them decay.

MoME had a weight decay there that the dense bottleneck it is compared with had not.
"""

import pytest

from avsr.train.module import AvsrTask
from avsr.train.objective import Schedule
from tests.avsr.train.folders import write_home


@pytest.mark.parametrize("method", ["mome", "dense", "mtsk-mss"])
def test_only_matrices_decay(tmp_path, method):
    home = write_home(tmp_path)
    config = home.config(method=method)
    task = AvsrTask(config, schedule=Schedule(weight_decay=0.1), dtype="float32")
    groups = task.configure_optimizers()["optimizer"].param_groups
    decays = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    named = dict(task.model.named_parameters())
    assert set(decays) >= {id(p) for p in named.values() if p.requires_grad}
    for name, p in named.items():
        vector = name.endswith("bias") or p.ndim < 2
        assert decays[id(p)] == (0.0 if vector else 0.1), name
    assert any(name.endswith("bias") for name in named)
