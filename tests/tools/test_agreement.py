"""How alike choices of experts are: each measure against brute force."""

import itertools
import math

import numpy as np
import pytest
import torch

LAYERS, ROUTED, TOP_K = 3, 7, 3


def random_choices(tool, tokens, seed):
    """Choices of distinct experts with random gates."""
    random = torch.Generator().manual_seed(seed)
    scores = torch.rand(LAYERS, tokens, ROUTED, generator=random)
    weight, index = scores.topk(TOP_K, dim=-1)
    return tool("agreement").Choices(index, weight)


@pytest.fixture
def pair(tool):
    return random_choices(tool, 4, 0), random_choices(tool, 5, 1)


def entropy(values):
    return -sum(p * math.log2(p) for p in values if p > 0)


def test_jaccard_is_that_of_sets(tool, pair):
    first, second = pair
    found = tool("agreement").jaccard(first.hits(ROUTED), second.hits(ROUTED))
    for layer, i, j in itertools.product(range(LAYERS), range(4), range(5)):
        a, b = set(first.index[layer, i].tolist()), set(second.index[layer, j].tolist())
        assert found[layer, i, j].item() == pytest.approx(len(a & b) / len(a | b))


def test_jensen_shannon_is_the_entropy_of_the_mixture_above_the_mean_entropy(tool, pair):
    first, second = pair
    found = tool("agreement").jensen_shannon(first.gates(ROUTED), second.gates(ROUTED))
    for layer, i, j in itertools.product(range(LAYERS), range(4), range(5)):
        rows = []
        for choice, token in ((first, i), (second, j)):
            row = np.zeros(ROUTED)
            row[choice.index[layer, token]] = choice.weight[layer, token].numpy()
            rows.append(row / row.sum())
        expected = entropy(sum(rows) / 2) - sum(map(entropy, rows)) / 2
        assert found[layer, i, j].item() == pytest.approx(expected, abs=1e-5)


def test_same_choice_agrees_and_disjoint_choice_does_not(tool):
    agreement = tool("agreement")
    same = random_choices(tool, 4, 0)
    found = agreement.compare(same, same, ROUTED, torch.eye(4))
    torch.testing.assert_close(found.jaccard, torch.ones(LAYERS))
    torch.testing.assert_close(found.shannon, torch.zeros(LAYERS), atol=1e-6, rtol=0)
    assert (found.any_jaccard < 1).all()
    one, other = (
        agreement.Choices(torch.tensor([[list(index)]]), torch.rand(1, 1, 3) + 0.1)
        for index in ((0, 1, 2), (3, 4, 5))
    )
    apart = agreement.compare(one, other, ROUTED, torch.ones(1, 1))
    assert apart.jaccard.item() == 0
    assert apart.shannon.item() == pytest.approx(1.0, abs=1e-6)


def test_tokens_count_by_the_time_they_share(tool, pair):
    agreement = tool("agreement")
    first, second = pair
    edges, others = torch.tensor([0.0, 0.4, 0.8, 1.2, 1.6]), torch.arange(6) * 0.3
    spans = (edges[:-1], edges[1:]), (others[:-1], others[1:])
    shared = agreement.overlap(*spans)
    found = agreement.compare(first, second, ROUTED, shared)
    moments = np.arange(0.0005, 1.5, 0.001)  # the second ends first
    matrix = agreement.jaccard(first.hits(ROUTED), second.hits(ROUTED))
    at = [matrix[:, int(t / 0.4), int(t / 0.3)] for t in moments]
    torch.testing.assert_close(found.jaccard, torch.stack(at).mean(0), atol=2e-3, rtol=0)
    assert shared.sum().item() == pytest.approx(1.5, abs=1e-5)
    assert agreement.compare(first, second, ROUTED, torch.zeros(4, 5)).jaccard is None


def test_touching_tokens_share_nothing(tool):
    edges = torch.arange(40) * 0.08
    span = edges[:-1], edges[1:]
    shared = tool("agreement").overlap(span, span)
    assert torch.equal(shared > 0, torch.eye(39, dtype=torch.bool))


@pytest.mark.parametrize(("routed", "top_k"), [(5, 2), (6, 6), (7, 1), (6, 4)])
def test_chance_is_the_mean_over_all_choices(tool, routed, top_k):
    sets = [set(c) for c in itertools.combinations(range(routed), top_k)]
    expected = np.mean([len(a & b) / len(a | b) for a in sets for b in sets])
    assert tool("agreement").chance(routed, top_k) == pytest.approx(expected)


def test_effective_number_runs_from_collapse_to_balance(tool):
    agreement = tool("agreement")
    collapse = torch.tensor([5.0, 5.0, 0.0, 5.0, 0.0])
    assert agreement.effective(collapse).item() == pytest.approx(3.0)
    assert agreement.effective(torch.ones(2, 5)).tolist() == pytest.approx([5.0, 5.0])
    assert agreement.top_share(collapse, 3).item() == pytest.approx(1.0)
    assert agreement.top_share(torch.ones(5), 3).item() == pytest.approx(0.6)
