"""`hier` and `qformer` failed once their weights were bfloat16: times were added in float32."""

from typing import Any

import pytest
import torch

from avsr.compress import compressors
from avsr.streams import Budget
from tests.avsr.compress.cases import Case, frames, guide, stream

LEARNED = sorted(name for name in compressors if compressors[name].card.trainable)


@pytest.mark.parametrize("name", LEARNED)
def test_weights_and_features_in_bfloat16(name: str) -> None:
    config: dict[str, Any] = {"name": name}
    made = Case(config, Budget.rate(4))._build(5).to(torch.bfloat16)
    s = stream(frames().bfloat16())
    out = made(s, Budget.rate(4), guide(s)).validate()
    assert out.x.dtype == torch.bfloat16
    full = Case(config, Budget.rate(4)).run(s.replace(x=s.x.float()))
    torch.testing.assert_close(out.x.float(), full.x, rtol=0.1, atol=0.1)
