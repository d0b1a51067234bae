"""The dense control: its arithmetic, and that it is a MoME of one expert."""

import pytest
import torch
import torch.nn.functional as F

from experts import DenseConfig, MomeConfig, attach, attach_dense
from experts.dense import DenseLayer


def test_a_layer_is_two_linears_with_a_gelu_between(awaken):
    layer = awaken(DenseLayer(8, 3))
    x, base = torch.randn(2, 4, 8), torch.randn(2, 4, 8)
    inner = F.gelu(x @ layer.down.T + layer.down_bias)
    torch.testing.assert_close(layer(x, base), base + inner @ layer.up.T + layer.up_bias)


@pytest.mark.parametrize("placement", ["ffn", "mhsa", "layer"])
def test_it_is_a_mome_whose_only_expert_is_shared(placement, tiny_llm, ids, awaken):
    """The router's only other expert is emptied: places and sums must be the same."""
    llm = tiny_llm()
    config = MomeConfig(routed=1, shared=1, top_k=1, rank=3, placement=placement)
    mome = awaken(attach(llm, config))
    with torch.no_grad():
        for layer in mome.layers:
            layer.up[0] = layer.up_bias[0] = 0.0
    said = llm(ids).logits
    mome.detach()
    dense = attach_dense(llm, DenseConfig(rank=3, like=config))
    with torch.no_grad():
        for own, layer in zip(dense.layers, mome.layers, strict=True):
            own.down.copy_(layer.down[1])
            own.down_bias.copy_(layer.down_bias[1])
            own.up.copy_(layer.up[1])
            own.up_bias.copy_(layer.up_bias[1])
    torch.testing.assert_close(llm(ids).logits, said)


@pytest.mark.parametrize("equal", ["active", "stored"])
@pytest.mark.parametrize("hidden", [32, 576, 2048])
def test_no_other_rank_comes_nearer(equal, hidden):
    mome = MomeConfig()
    chosen = DenseConfig(equal=equal, like=mome)
    wanted = getattr(mome, equal)(hidden)
    assert chosen.excess(hidden) == chosen.stored(hidden) - wanted
    rank = chosen.width(hidden)
    for other in (rank - 1, rank + 1):
        assert abs(DenseConfig(rank=other, like=mome, equal=equal).excess(hidden)) >= abs(
            chosen.excess(hidden)
        )


def test_the_size_that_is_missed_is_said(tiny_llm):
    dense = attach_dense(tiny_llm(), DenseConfig(like=MomeConfig(routed=4, top_k=2, rank=3)))
    wanted = 2 * dense.config.like.active(32)
    assert sum(p.numel() for p in dense.parameters()) == wanted + dense.excess
    assert f"{dense.excess:+d} parameters" in repr(dense)
