"""Routing statistics: which tokens count, what the balance loss is, what is kept."""

import pytest
import torch

from experts import MomeConfig, MomeLayer, attach
from experts.balance import token_share

SMALL = {"routed": 6, "shared": 1, "top_k": 2, "rank": 3}


def everything(ids):
    return torch.ones_like(ids, dtype=torch.bool)


def by_hand(layer, x, mask, groups):
    """L_B of one layer from its definition, group by group."""
    losses = []
    for group in groups.unique():
        tokens = x[groups == group][mask[groups == group]]
        probs = (tokens @ layer.router.T).softmax(-1)
        chosen = probs.topk(layer.config.top_k).indices
        f = torch.stack([(chosen == n).any(1).float().mean() for n in range(layer.config.routed)])
        losses.append(layer.config.routed * (f * probs.mean(0)).sum())
    return torch.stack(losses).mean()


def test_loss_and_gradient_equal_the_definition_per_group(awaken):
    layer = awaken(MomeLayer(16, MomeConfig(**SMALL)))
    random = torch.Generator().manual_seed(4)
    x = torch.randn(4, 5, 16, generator=random).requires_grad_()
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 1, 1, 1], [0, 0, 0, 1, 1], [0, 1, 1, 1, 1]]) == 1
    groups = torch.tensor([7, 2, 7, 2])
    _, fast, _, _ = layer.run(x, None, token_share(mask, groups))
    slow = by_hand(layer, x, mask, groups)
    torch.testing.assert_close(fast, slow)
    over = [x, layer.router]
    for one, other in zip(
        torch.autograd.grad(fast, over), torch.autograd.grad(slow, over), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_perfect_balance_gives_k():
    config = MomeConfig(**SMALL)
    layer = MomeLayer(6, config)
    with torch.no_grad():
        layer.router.copy_(torch.eye(6))
    # Six tokens, each preferring its own two neighbours: every expert is taken twice.
    x = 0.1 * (torch.eye(6) + torch.eye(6).roll(1, 0))[None]
    _, loss, _, _ = layer.run(x, None, token_share(everything(x[..., 0])))
    assert loss.item() == pytest.approx(config.top_k, rel=1e-5)


def test_collapse_costs_more_than_balance():
    layer = MomeLayer(6, MomeConfig(**SMALL))
    with torch.no_grad():
        layer.router.copy_(torch.eye(6))
    x = torch.tensor([4.0, 4.0, 0, 0, 0, 0]).repeat(1, 9, 1)
    _, loss, _, _ = layer.run(x, None, token_share(everything(x[..., 0])))
    assert loss.item() > 5


def test_padding_does_not_count(tiny_llm, ids, awaken):
    llm = tiny_llm()
    mome = awaken(attach(llm, MomeConfig(**SMALL)))
    row = ids[:1]
    with mome.tokens(everything(row)):
        llm(row)
    alone = mome.balance_loss()
    padded = torch.cat([row, torch.full((1, 4), 5)], 1)
    mask = everything(padded)
    mask[:, 7:] = False
    with mome.tokens(mask):
        llm(padded)
    torch.testing.assert_close(mome.balance_loss(), alone)
    with mome.tokens(everything(padded)):
        llm(padded)
    assert not torch.allclose(mome.balance_loss(), alone)


def test_groups_are_averaged_and_empty_ones_left_out(tiny_llm, ids, awaken):
    llm = tiny_llm()
    mome = awaken(attach(llm, MomeConfig(**SMALL)))

    def loss(rows, groups=None, mask=None):
        with mome.tokens(everything(rows) if mask is None else mask, groups=groups):
            llm(rows)
        return mome.balance_loss()

    both = loss(ids[:2], torch.tensor([0, 1]))
    torch.testing.assert_close(both, (loss(ids[:1]) + loss(ids[1:2])) / 2)
    mask = everything(ids)
    mask[2] = False
    torch.testing.assert_close(loss(ids, torch.tensor([0, 1, 2]), mask), both)
    assert loss(ids, mask=torch.zeros_like(mask)).item() == 0.0


def test_loss_is_the_mean_over_layers_and_reaches_every_router(tiny_llm, ids, awaken):
    llm = tiny_llm()
    mome = awaken(attach(llm, MomeConfig(**SMALL)))
    with mome.tokens(everything(ids)):
        llm(ids)
    mome.balance_loss().backward()
    for layer in mome.layers:
        assert layer.router.grad.abs().sum() > 0


def test_not_computed_in_eval_nor_unasked(tiny_llm, ids):
    llm = tiny_llm()
    mome = attach(llm, MomeConfig(**SMALL))
    llm(ids)
    with pytest.raises(RuntimeError, match="no balance loss"):
        mome.balance_loss()
    with mome.tokens(everything(ids), collect="none"):
        llm(ids)
    with pytest.raises(RuntimeError, match="no balance loss"):
        mome.balance_loss()
    mome.eval()
    with mome.tokens(everything(ids)):
        llm(ids)
    assert float(mome.balance_loss()) == 0.0


@pytest.mark.parametrize("training", [True, False])
def test_routing_is_what_the_router_chose(training, tiny_llm, ids, awaken):
    llm = tiny_llm()
    mome = awaken(attach(llm, MomeConfig(**SMALL))).train(training)
    bare = llm(ids).logits
    mask = everything(ids)
    mask[0, 3:] = False
    with mome.tokens(mask, collect="routing"), torch.no_grad():
        assert torch.allclose(llm(ids).logits, bare, atol=1e-5)
    routing = mome.routing()
    assert len(routing) == 2
    for layer in routing:
        assert layer.index.shape == layer.weight.shape == (3, 7, 2)
        assert layer.weight.min() > 0
        assert layer.weight.sum(-1).max() <= 1
        assert torch.equal(layer.mask, mask)
        assert layer.index.min() >= 0
        assert layer.index.max() < 6


def test_routing_unasked_is_refused(tiny_llm):
    with pytest.raises(RuntimeError, match="no routing"):
        attach(tiny_llm(), MomeConfig(**SMALL)).routing()


def test_wrong_masks_are_refused_with_both_shapes(tiny_llm, ids):
    llm = tiny_llm()
    mome = attach(llm, MomeConfig(**SMALL))
    with (
        mome.tokens(everything(ids)[:, :5]),
        pytest.raises(ValueError, match=r"\[3, 5\].*\[3, 7\]"),
    ):
        llm(ids)
    with pytest.raises(ValueError, match="bool"), mome.tokens(torch.ones(2, 3)):
        pass
    with (
        pytest.raises(ValueError, match="groups"),
        mome.tokens(everything(ids), groups=torch.zeros(2)),
    ):
        pass
    with mome.tokens(everything(ids)), pytest.raises(RuntimeError, match="already open"):
        with mome.tokens(everything(ids)):
            pass
    llm(ids)  # a refused call leaves nothing behind
