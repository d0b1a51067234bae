"""Options of the MoME against plain references: routers per rate, placement per task, loss-free
balance.
"""

import pytest
import torch

from experts import MomeConfig, MomeLayer, Row, attach

SMALL = {"routed": 5, "shared": 1, "top_k": 2, "rank": 3}
SCALES = (Row(4, None), Row(None, 2), Row(4, 2))


def reference(layer, x, router, steer=None):
    """Equations 1-3 token by token, the choice steered; differentiable."""
    config, out = layer.config, []

    def expert(n, token):
        inner = torch.nn.functional.gelu(layer.down[n] @ token + layer.down_bias[n])
        return layer.up[n] @ inner + layer.up_bias[n]

    for token in x:
        probs = (router @ token).softmax(0)
        by = probs if steer is None else probs + steer
        total = sum(expert(config.routed + n, token) for n in range(config.shared))
        for n in by.topk(config.top_k).indices.tolist():
            total = total + probs[n] * expert(n, token)
        out.append(total)
    return torch.stack(out)


@pytest.mark.parametrize("steered", [False, True])
@pytest.mark.parametrize("separate", [False, True])
def test_outputs_and_gradients_are_the_references(separate, steered, awaken):
    config = MomeConfig(
        **SMALL,
        routers="scale" if separate else "shared",
        balance="bias" if steered else "paper",
    )
    layer = awaken(MomeLayer(16, config, scales=3))
    random = torch.Generator().manual_seed(5)
    routers = 3 if separate else 1
    assert layer.router.shape == (routers * 5, 16)
    if steered:
        layer.steer.copy_(torch.randn(routers, 5, generator=random))
    x = torch.randn(6, 16, generator=random).requires_grad_()
    owner = torch.tensor([2, 0, 1, 1, 2, 0]) if separate else None

    def plain():
        out = []
        for n, token in enumerate(x):
            own = 0 if owner is None else int(owner[n])
            steer = layer.steer[own] if steered else None
            out.append(reference(layer, token[None], layer.router[own * 5 : own * 5 + 5], steer))
        return torch.cat(out)

    fast, slow = layer.run(x[None], owner=owner)[0][0], plain()
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)
    over = [x, *layer.parameters()]
    weight = torch.randn(6, 16, generator=random)
    fast_grads = torch.autograd.grad((fast * weight).sum(), over)
    slow_grads = torch.autograd.grad((slow * weight).sum(), over)
    for one, other in zip(fast_grads, slow_grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    layer.eval()
    with torch.no_grad():
        torch.testing.assert_close(
            layer.run(x[None], owner=owner)[0][0], slow, rtol=1e-4, atol=1e-5
        )
        for n in range(6):  # the way of a single token
            own = None if owner is None else owner[n : n + 1]
            single = layer.run(x[None, n : n + 1], owner=own)[0][0, 0]
            torch.testing.assert_close(single, slow[n], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [[0, 1, 2], [1, 1, 1], [0, 2, 0]], ids=str)
@torch.no_grad()
def test_placement_by_task_is_ffn_for_lips_and_layer_for_others(rows, tiny_llm, ids, awaken):
    llm = tiny_llm()
    said = {}
    for placement in ("ffn", "layer", "task"):
        mome = awaken(attach(llm, MomeConfig(placement=placement, **SMALL))).eval()
        with mome.reading([SCALES[n] for n in rows]):
            said[placement] = llm(ids).logits
        mome.detach()
    for number, row in enumerate(rows):
        like = said["ffn" if row == 1 else "layer"][number]
        torch.testing.assert_close(said["task"][number], like, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(said["ffn"], said["layer"], rtol=1e-3, atol=1e-3)


def test_the_bias_moves_one_step_against_the_load_and_is_stored(tiny_llm, ids, awaken):
    llm = tiny_llm()
    config = MomeConfig(**SMALL, balance="bias", balance_step=0.25)
    mome = awaken(attach(llm, config))
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[0, 4:] = False
    rows = [SCALES[0], SCALES[0], SCALES[2]]
    with mome.tokens(mask, rows=rows, collect="balance"):
        llm(ids)
    assert float(mome.balance_loss()) == 0.0
    first = mome.layers[0]
    x = llm.model.layers[0].input_layernorm(llm.model.embed_tokens(ids))
    chosen = (x @ first.router.T).softmax(-1).topk(2).indices
    load = torch.zeros(5)
    for members in ([0, 1], [2]):  # the mean over rate pairs, each by its own real tokens
        picked = chosen[members][mask[members]]
        load += torch.bincount(picked.flatten(), minlength=5) / len(picked) / 2
    mome.settle()
    assert torch.equal(first.steer, 0.25 * (load.mean() - load).sign()[None])
    assert first.steer.abs().sum() > 0
    assert "layers.0.steer" in mome.state_dict()
    before = first.steer.clone()
    mome.settle()  # nothing was read since
    assert torch.equal(first.steer, before)
    mome.eval()
    with mome.tokens(mask), torch.no_grad():
        llm(ids)
    mome.settle()  # and reading without training does not count
    assert torch.equal(first.steer, before)


def test_the_bias_evens_out_a_router_that_favours_two(tiny_llm, ids):
    llm = tiny_llm()
    mome = attach(llm, MomeConfig(**SMALL, balance="bias", balance_step=0.02))
    common = llm.model.layers[0].input_layernorm(llm.model.embed_tokens(ids)).mean((0, 1))
    with torch.no_grad():
        router = mome.layers[0].router
        router.normal_(0.0, 0.2, generator=torch.Generator().manual_seed(3))
        router[:2] += 3 * common / common.square().sum()  # of every token they are liked more
    mask = torch.ones_like(ids, dtype=torch.bool)

    def usage():
        with mome.tokens(mask, collect="routing"), torch.no_grad():
            llm(ids)
        counts = mome.routing()[0].index.flatten().bincount(minlength=5).float()
        return counts / counts.sum()

    def steps(count):
        for _ in range(count):
            with mome.tokens(mask), torch.no_grad():
                llm(ids)
            mome.settle()
            yield usage()

    favoured = float(usage()[:2].sum())
    list(steps(60))  # even use is 0.4 of the choices for two of five
    settled = torch.stack(list(steps(20))).mean(0)
    assert favoured > 0.7
    assert float(settled[:2].sum()) < 0.5
    assert float(settled.min()) > 0.1


def test_no_balance_is_no_loss_and_no_statistics(tiny_llm, ids):
    llm = tiny_llm()
    mome = attach(llm, MomeConfig(**SMALL, balance="none"))
    with mome.tokens(torch.ones_like(ids, dtype=torch.bool)):
        llm(ids)
    assert float(mome.balance_loss()) == 0.0
    mome.settle()
    assert set(mome.state_dict()) == {
        f"layers.{n}.{name}"
        for n in range(2)
        for name in ("down", "down_bias", "up", "up_bias", "router")
    }


def test_rows_of_the_last_pass_hold_inside_backward_alone(tiny_llm, ids):
    llm = tiny_llm()
    mome = attach(llm, MomeConfig(placement="task", **SMALL))
    with mome.reading(SCALES):
        llm(ids)
    with pytest.raises(RuntimeError, match="reading"):
        llm(ids)


def test_a_router_for_each_rate_counts(tiny_llm):
    config = MomeConfig(**SMALL, routers="scale")
    mome = attach(tiny_llm(), config, scales=SCALES)
    assert mome.stored_parameters == sum(p.numel() for p in mome.parameters())
    plain = MomeConfig(**SMALL)
    assert mome.active_parameters == 2 * plain.active(32)
    assert mome.stored_parameters == 2 * (plain.stored(32) + 2 * 5 * 32)
