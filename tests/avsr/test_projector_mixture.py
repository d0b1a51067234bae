"""A mixture of projectors: its gates, its balance, its neighbours, and a whole model with it."""

import pytest
import torch

from avsr.projector import Projector, ProjectorConfig
from avsr.projector_mixture import ProjectorMixture, build_projector
from avsr.rates import Rates
from avsr.views import View
from tests.tiny import ByteTokenizer, tiny_model

CONFIG = ProjectorConfig(width=6, context=3, dropout=0.0, experts=4, top_k=2)


@pytest.fixture
def mixture():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ProjectorMixture(5, 8, CONFIG, gain=2.0).eval()


@pytest.fixture
def stream():
    """x [2, 6, 5], the second row four tokens long."""
    x = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    return x, mask


def test_it_is_the_gated_sum_token_by_token(mixture, stream):
    x, mask = stream
    out = mixture(x, mask)
    every = [expert(x, mask) for expert in mixture.experts]
    for b, n in mask.nonzero().tolist():
        token = (x[b, n] - x[b, n].mean()) / (x[b, n].var(correction=0) + 1e-5).sqrt()
        probs = (mixture.router.weight @ token).softmax(0)
        best = probs.topk(2).indices.tolist()
        mass = sum(probs[e] for e in best)
        expected = sum(probs[e] / mass * every[e][b, n] for e in best)
        torch.testing.assert_close(out[b, n], expected)
    assert not out[~mask].any()


def test_like_experts_are_one_projector(mixture, stream):
    with torch.no_grad():
        for expert in mixture.experts[1:]:
            expert.load_state_dict(mixture.experts[0].state_dict())
    torch.testing.assert_close(mixture(*stream), mixture.experts[0](*stream))


def test_experts_and_their_router_may_change_places(mixture, stream):
    said = mixture(*stream)
    order = [2, 0, 3, 1]
    state = {k: v.clone() for k, v in mixture.state_dict().items()}
    with torch.no_grad():
        mixture.router.weight.copy_(state["router.weight"][order])
    assert not torch.allclose(mixture(*stream), said)  # the router alone does not do
    for place, source in enumerate(order):
        part = f"experts.{source}."
        own = {k.removeprefix(part): v for k, v in state.items() if k.startswith(part)}
        mixture.experts[place].load_state_dict(own)
    torch.testing.assert_close(mixture(*stream), said)


def test_padding_reaches_nothing(mixture, stream):
    x, mask = stream
    mixture.train()
    out, balance = mixture(x, mask), mixture.balance
    filled = x.masked_fill(~mask[..., None], float("nan"))
    assert torch.equal(mixture(filled, mask), out)
    assert torch.equal(mixture.balance, balance)
    alone = mixture(x[1:, :4], mask[1:, :4])
    torch.testing.assert_close(out[1:, :4], alone)


def test_balance_is_its_definition_over_real_tokens(mixture, stream):
    x, mask = stream
    mixture.train()(x, mask)
    probs = mixture.router(torch.nn.functional.layer_norm(x, (5,))).softmax(-1)[mask]
    chosen = probs.topk(2).indices
    used = torch.stack([(chosen == e).any(1).float().mean() for e in range(4)])
    torch.testing.assert_close(mixture.balance, 4 * (used * probs.mean(0)).sum())
    mixture.eval()(x, mask)
    assert mixture.balance is None


def test_one_expert_is_a_plain_projector():
    assert type(build_projector(5, 8, ProjectorConfig(width=6), gain=1.0)) is Projector


def test_a_router_that_would_not_learn_is_refused():
    with pytest.raises(ValueError, match=r"top_k=1 of experts=4 makes every gate 1"):
        ProjectorConfig(experts=4)


@pytest.mark.parametrize(("experts", "top_k"), [(1, 2), (4, 5), (4, 0), (0, 0)])
def test_more_chosen_than_there_are_is_refused(experts, top_k):
    with pytest.raises(ValueError, match=f"top_k={top_k} .*experts={experts}"):
        ProjectorConfig(experts=experts, top_k=top_k)


def test_each_modality_has_its_own_and_a_model_learns_with_them(clips):
    model = tiny_model(projector=CONFIG, method="lora").train()
    texts = [torch.tensor(ByteTokenizer().encode(word)) for word in ("set", "lay", "bin")]
    views = [View(0, Rates(4, 2)), View(1, Rates(4, None)), View(2, Rates(None, 2))]
    losses = model(clips, views, texts, balance=0.5)
    assert losses.balance >= 1
    torch.testing.assert_close(losses.total, losses.text + 0.5 * losses.balance)
    losses.total.backward()
    for kind in ("audio_4", "video_2"):
        mixture = model.multi_modal_projector[kind]
        assert isinstance(mixture, ProjectorMixture)
        assert mixture.router.weight.grad.abs().sum() > 0
    other = model(clips, views[1:2], texts).balance  # what did not run is not counted again
    torch.testing.assert_close(other, model.multi_modal_projector["audio_4"].balance)
