"""The fast kernels against a plain loop over experts, and the laws of the mixture."""

import pytest
import torch
from torch.nn import functional as F

from experts import MomeConfig, MomeLayer

CONFIGS = [
    MomeConfig(routed=5, shared=1, top_k=2, rank=3),
    MomeConfig(routed=4, shared=2, top_k=4, rank=2, renorm="topk", activation="silu"),
    MomeConfig(routed=6, shared=0, top_k=3, rank=1, alpha=0.5, activation="relu"),
    MomeConfig(routed=5, shared=2, top_k=2, rank=3, renorm="topk", alpha=2.0),
    MomeConfig(routed=1, shared=0, top_k=1, rank=4),
]


def loop_over_experts(layer, x):
    """Equations 1-3 of arXiv 2510.04136, token by token and expert by expert, on [M, H]."""
    config = layer.config
    act = {"gelu": F.gelu, "relu": F.relu, "silu": F.silu}[config.activation]
    rows = []
    for token in x:
        probs = torch.softmax(layer.router.to(x.dtype) @ token, dim=-1)
        weight, chosen = torch.topk(probs, config.top_k)
        if config.renorm == "topk":
            weight = weight / weight.sum()
        gates = {int(n): g for n, g in zip(chosen, weight, strict=True)}
        gates |= {config.routed + n: 1.0 for n in range(config.shared)}
        total = torch.zeros_like(token)
        for n, gate in gates.items():
            inner = layer.down[n].to(x.dtype) @ token + layer.down_bias[n].to(x.dtype)
            total = total + gate * (
                layer.up[n].to(x.dtype) @ act(inner) + layer.up_bias[n].to(x.dtype)
            )
        rows.append(config.alpha * total)
    return torch.stack(rows)


def hidden_states(*size, seed=3, dtype=torch.float32):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("tokens", [1, 9])
@pytest.mark.parametrize("mode", ["gradient", "eval", "train without gradient"])
def test_fast_equals_loop_over_experts(config, tokens, mode, awaken):
    layer = awaken(MomeLayer(16, config)).train(mode != "eval")
    x, base = hidden_states(tokens, 16), hidden_states(tokens, 16, seed=4)
    with torch.set_grad_enabled(mode == "gradient"):
        alone, added = layer(x[None]), layer(x[None], base[None])
    expected = loop_over_experts(layer, x)
    torch.testing.assert_close(alone[0], expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(added[0], base + expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config", CONFIGS)
def test_gradients_equal_loop_over_experts(config, awaken):
    layer = awaken(MomeLayer(16, config))
    given = hidden_states(9, 16, dtype=torch.float64)
    upstream = hidden_states(9, 16, seed=5, dtype=torch.float64)

    def gradients(run):
        x = given.clone().requires_grad_()
        return torch.autograd.grad((run(x) * upstream).sum(), [x, *layer.parameters()])

    fast = gradients(lambda x: layer(x[None])[0])
    slow = gradients(lambda x: loop_over_experts(layer, x))
    for (name, _), one, other in zip(
        [("x", None), *layer.named_parameters()], fast, slow, strict=True
    ):
        torch.testing.assert_close(one, other, msg=name, rtol=1e-5, atol=1e-6)


def test_base_gets_the_gradient_unchanged(awaken):
    layer = awaken(MomeLayer(16, CONFIGS[0]))
    base = hidden_states(1, 4, 16).requires_grad_()
    upstream = hidden_states(1, 4, 16, seed=6)
    (gradient,) = torch.autograd.grad(layer(hidden_states(1, 4, 16), base), base, upstream)
    assert torch.equal(gradient, upstream)


@pytest.mark.parametrize("config", CONFIGS)
def test_experts_too_large_to_copy_equal_the_loop_too(config, awaken, monkeypatch):
    monkeypatch.setattr("experts.single._LARGE", 1)
    layer = awaken(MomeLayer(16, config)).eval()
    x, base = hidden_states(1, 16), hidden_states(1, 16, seed=4)
    with torch.no_grad():
        alone, added, half = layer(x[None]), layer(x[None], base[None]), layer(x[None].bfloat16())
    expected = loop_over_experts(layer, x)
    torch.testing.assert_close(alone[0], expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(added[0], base + expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(half[0].float(), expected, rtol=0.05, atol=0.1)


def test_bf16_hidden_state_gives_bf16_near_float32(awaken):
    layer = awaken(MomeLayer(32, MomeConfig(routed=5, top_k=2, rank=3))).eval()
    x = hidden_states(2, 6, 32).bfloat16()
    exact = layer(x.float())
    for enabled in (True, False):
        with torch.set_grad_enabled(enabled):
            rounded = layer(x)
        assert rounded.dtype == torch.bfloat16
        torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.1)
    assert all(parameter.dtype == torch.float32 for parameter in layer.parameters())


def test_router_stays_in_float32_under_autocast(awaken):
    layer = awaken(MomeLayer(32, MomeConfig(routed=5, top_k=2, rank=3)))
    x = hidden_states(1, 200, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, _, chosen, weight = layer.run(x)
    probs = (x[0].bfloat16().float() @ layer.router.T).softmax(-1)
    expected, experts = probs.topk(2)
    assert torch.equal(chosen, experts)
    torch.testing.assert_close(weight, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("tokens", [1, 9])
def test_order_of_experts_does_not_matter(tokens, awaken):
    config = MomeConfig(routed=6, shared=2, top_k=2, rank=3)
    layer, other = awaken(MomeLayer(16, config)), MomeLayer(16, config)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    everyone = torch.cat([order, torch.tensor([7, 6])])
    weights = layer.state_dict()
    router = weights.pop("router")[order]
    weights = {name: value[everyone] for name, value in weights.items()} | {"router": router}
    other.load_state_dict(weights)
    x = hidden_states(1, tokens, 16)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), other(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("renorm", ["none", "topk"])
def test_gates_are_softmax_mass_or_sum_to_one(renorm, awaken):
    config = MomeConfig(routed=6, top_k=3, rank=2, renorm=renorm)
    layer = awaken(MomeLayer(16, config))
    x = hidden_states(1, 8, 16)
    _, _, chosen, weight = layer.run(x)
    probs = (x[0] @ layer.router.T).softmax(-1)
    best = probs.sort(-1, descending=True).values[:, :3]
    assert all(len(set(row)) == 3 for row in chosen.tolist())
    if renorm == "none":
        torch.testing.assert_close(weight, best)
    else:
        torch.testing.assert_close(weight.sum(-1), torch.ones(8))


def test_ties_still_choose_k_experts(awaken):
    layer = awaken(MomeLayer(16, MomeConfig(routed=6, top_k=3, rank=2))).eval()
    x = torch.zeros(1, 4, 16)
    with torch.no_grad():
        torch.testing.assert_close(layer(x)[0], loop_over_experts(layer, x[0]))


def change_in_place(layer):
    layer.up.mul_(2)


def change_storage(layer):
    layer.up.data = layer.up.data * 2


def change_by_loading(layer):
    layer.load_state_dict({**layer.state_dict(), "up": layer.up * 2})


def change_behind_the_version(layer):
    layer.up.data.mul_(2)
    layer.eval()  # what the class asks for after such an edit


@pytest.mark.parametrize(
    "change", [change_in_place, change_storage, change_by_loading, change_behind_the_version]
)
@pytest.mark.parametrize("tokens", [1, 5])
@torch.no_grad()
def test_kept_weights_follow_the_parameters(change, tokens, awaken):
    layer = awaken(MomeLayer(16, CONFIGS[0])).eval()
    x = hidden_states(1, tokens, 16)
    before = layer(x)
    change(layer)
    after = layer(x)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after[0], loop_over_experts(layer, x[0]), rtol=1e-5, atol=1e-5)


def test_kept_weights_are_kept(awaken):
    layer = awaken(MomeLayer(16, CONFIGS[0])).eval()
    x = hidden_states(1, 5, 16)
    with torch.inference_mode():
        first = layer(x)
        kept = layer._laid[torch.float32]
        assert torch.equal(layer(x), first)
        assert layer._laid[torch.float32] is kept
    torch.testing.assert_close(layer(x), first)


def test_layer_made_in_inference_mode_runs():
    with torch.inference_mode():
        layer = MomeLayer(16, CONFIGS[0]).eval()
        x = hidden_states(1, 5, 16)
        assert torch.equal(layer(x), torch.zeros_like(x))
        layer.up.normal_()
        assert layer(x).abs().sum() > 0


def test_initial_weights_come_from_the_generator():
    def build(seed):
        return MomeLayer(64, MomeConfig(), generator=torch.Generator().manual_seed(seed))

    layer, same, other = build(1), build(1), build(2)
    assert torch.equal(layer.down, same.down)
    assert torch.equal(layer.router, same.router)
    assert not torch.equal(layer.down, other.down)
    assert layer.down.abs().max() <= 1 / 8
    assert layer.router.std().item() == pytest.approx(0.02, rel=0.1)
    assert not layer.up.any()
    assert not layer.up_bias.any()


@pytest.mark.parametrize(
    ("hidden", "layers", "rank", "active", "stored"),
    [  # Llama-3.2-1B, Llama-3.2-3B, Llama-3.1-8B: the paper prints 3.5, 12.7 and 14.1 M active
        (2048, 16, 8, 3.540e6, 14.13e6),
        (3072, 28, 12, 12.732e6, 53.6e6),
        (4096, 32, 8, 14.157e6, 56.5e6),
    ],
)
def test_parameter_counts_match_the_paper(hidden, layers, rank, active, stored):
    config = MomeConfig(rank=rank)
    assert layers * config.active(hidden) == pytest.approx(active, rel=2e-4)
    assert layers * config.stored(hidden) == pytest.approx(stored, rel=1e-3)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"top_k": 0}, "top_k=0"),
        ({"routed": 3}, "top_k=4"),
        ({"rank": 0}, "rank=0"),
        ({"shared": -1}, "shared=-1"),
        ({"alpha": float("nan")}, "alpha=nan"),
        ({"placement": "attention"}, "placement='attention'"),
        ({"renorm": False}, "renorm=False"),
        ({"activation": "tanh"}, "activation='tanh'"),
    ],
)
def test_wrong_numbers_are_refused_by_name(wrong, named):
    with pytest.raises(ValueError, match=named):
        MomeConfig(**wrong)


@pytest.mark.parametrize(
    ("hidden", "layers", "printed"), [(2048, 16, 0.9), (3072, 28, 2.3), (4096, 32, 3.5)]
)
def test_the_rows_of_rank_1_are_of_15_experts(hidden, layers, printed):
    """The paper labels them 23/4, whose counts they are not; 15/3 with one shared has them."""
    fewer, named = MomeConfig(routed=15, top_k=3, rank=1), MomeConfig(rank=1)
    assert layers * fewer.active(hidden) / 1e6 == pytest.approx(printed, abs=0.05)
    assert layers * named.active(hidden) / 1e6 > printed + 0.3


def test_one_expert_of_48_is_what_a_bottleneck_of_48_is():
    """Table 3, row 1 (3B): 8.3 to 8.4 million, with or without a router that has no choice."""
    alone = MomeConfig(routed=1, shared=0, top_k=1, rank=48)
    assert 28 * alone.active(3072) / 1e6 == pytest.approx(8.43, abs=0.01)
    assert 28 * (alone.active(3072) - 3072) / 1e6 == pytest.approx(8.34, abs=0.01)
    assert alone.active(3072) == alone.stored(3072)
