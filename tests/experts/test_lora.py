"""Low-rank adapters: equal at the start, gone after detach, alone in training, published sizes."""

import copy

import pytest
import torch

from experts import LoraConfig, MomeConfig, attach, attach_lora


@pytest.fixture
def llm(tiny_llm):
    return tiny_llm()


IDS = torch.arange(12).view(2, 6) + 5


def logits(llm):
    with torch.no_grad():
        return llm(input_ids=IDS).logits


def stirred(lora):
    with torch.no_grad():
        for parameter in lora.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.5)
    return lora


def test_the_llm_starts_equal_and_is_equal_again_after_detach(llm):
    before, weights = logits(llm), copy.deepcopy(llm.state_dict())
    lora = attach_lora(llm, LoraConfig(rank=4))
    assert torch.equal(logits(llm), before)
    stirred(lora)
    assert not torch.allclose(logits(llm), before)
    lora.detach()
    assert torch.equal(logits(llm), before)
    after = llm.state_dict()
    assert after.keys() == weights.keys()
    assert not hasattr(llm, "peft_config")
    assert all(torch.equal(after[key], weights[key]) for key in weights)


def test_only_the_low_rank_layers_are_trained(llm):
    lora = stirred(attach_lora(llm, LoraConfig(rank=4)))
    llm(input_ids=IDS).logits.square().mean().backward()
    own = {id(p) for p in lora.parameters()}
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in lora.parameters())
    assert all(p.grad is None for p in llm.parameters() if id(p) not in own)


def test_the_update_is_the_scaled_product_of_the_two_factors(llm):
    lora = stirred(attach_lora(llm, LoraConfig(rank=4, alpha=6)))
    attention, name, layer = lora._wrapped[0]
    x = torch.randn(3, layer.in_features)
    down, up = lora.layers[0]["down"].weight, lora.layers[0]["up"].weight
    expected = layer.base_layer(x) + (x @ down.T @ up.T) * (6.0 / 4)
    torch.testing.assert_close(getattr(attention, name)(x), expected)


def test_a_seed_fixes_the_start_whatever_was_drawn_before(llm):
    first = attach_lora(llm, LoraConfig(rank=4), seed=3)
    state = {k: v.clone() for k, v in first.state_dict().items()}
    first.detach()
    torch.randn(7)
    kept = torch.random.get_rng_state()
    second = attach_lora(llm, LoraConfig(rank=4), seed=3)
    assert torch.equal(torch.random.get_rng_state(), kept)
    assert all(torch.equal(v, state[k]) for k, v in second.state_dict().items())


def test_it_answers_to_what_a_mome_answers_to(llm):
    lora = attach_lora(llm, LoraConfig(rank=4))
    with lora.tokens(torch.ones(2, 6, dtype=torch.bool)):
        logits(llm)
    assert lora.balance_loss().item() == 0.0
    assert lora.active_parameters == lora.stored_parameters
    with pytest.raises(ValueError, match="already carries"):
        attach_lora(llm, LoraConfig(rank=4))


def test_a_mome_can_sit_beside_it(llm):
    before = logits(llm)
    attach_lora(llm, LoraConfig(rank=4))
    attach(llm, MomeConfig(routed=4, top_k=2, rank=4))
    assert torch.equal(logits(llm), before)


@pytest.mark.parametrize(
    ("hidden", "kv", "layers", "rank", "millions"),
    [(2048, 512, 16, 64, 6.8), (3072, 1024, 28, 96, 27.5), (4096, 1024, 32, 64, 27.3)],
)
def test_sizes_of_the_papers_baselines(hidden, kv, layers, rank, millions, paper_llm):
    """Llama-3.2-1B, 3B and 3.1-8B at the ranks that its table 1 and 6 come from."""
    llm = paper_llm(hidden, layers, kv)
    with torch.device("meta"):
        lora = attach_lora(llm, LoraConfig(rank=rank))
    assert round(lora.stored_parameters / 1e6, 1) == millions


@pytest.mark.parametrize("sizes", [{"rank": 0}, {"alpha": 0}])
def test_sizes_that_make_no_adapter_are_refused(sizes):
    with pytest.raises(ValueError, match="at least 1"):
        LoraConfig(**sizes)
