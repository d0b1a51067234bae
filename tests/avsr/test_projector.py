"""The projector: against its formula, rows and padding apart, at the size of the LLM's words."""

import pytest
import torch
import torch.nn.functional as F

from avsr.projector import Projector, ProjectorConfig

D, H, W = 6, 10, 8
# without and with neighbours under the first layer, without and with blocks
SHAPES = [
    {"context": 1, "depth": 0},
    {"context": 3, "depth": 0},
    {"context": 1, "depth": 2, "reach": 5},
    {"context": 5, "depth": 1},
]


@pytest.fixture(params=SHAPES, ids=str)
def projector(request):
    torch.manual_seed(0)
    config = ProjectorConfig(width=W, dropout=0.0, **request.param)
    return Projector(D, H, config, gain=1.7)


@pytest.fixture
def tokens():
    return torch.randn(3, 9, D, generator=torch.Generator().manual_seed(1))


def prefix(lengths, size=9):
    return torch.arange(size) < torch.tensor(lengths)[:, None]


def test_two_linear_layers_are_the_papers():
    torch.manual_seed(0)
    made = Projector(D, H, ProjectorConfig(width=W, context=1, depth=0, dropout=0.0), gain=2.0)
    x = torch.randn(1, 5, D, generator=torch.Generator().manual_seed(1))
    weight, bias = made.first.weight[..., 0], made.first.bias
    for token, out in zip(x[0], made(x, torch.ones(1, 5, dtype=torch.bool))[0], strict=True):
        hidden = (weight @ F.layer_norm(token, (D,)) + bias).relu()
        y = made.second.weight @ hidden + made.second.bias
        torch.testing.assert_close(out, 2.0 * y / y.norm())


def test_a_context_of_three_sees_both_neighbours_and_no_more(tokens):
    torch.manual_seed(0)
    made = Projector(D, H, ProjectorConfig(width=64, context=3, depth=0, dropout=0.0), gain=1.0)
    base = made(tokens, prefix([9, 9, 9]))
    moved = tokens.clone()
    moved[:, 4] += torch.randn(D, generator=torch.Generator().manual_seed(2))
    changed = (made(moved, prefix([9, 9, 9])) != base).any(-1).any(0).tolist()
    assert changed == [i in (3, 4, 5) for i in range(9)]


def test_batch_is_single(projector, tokens):
    lengths = [9, 4, 1]
    together = projector(tokens, prefix(lengths))
    for row, length in enumerate(lengths):
        alone = projector(tokens[row : row + 1, :length], torch.ones(1, length, dtype=torch.bool))
        torch.testing.assert_close(together[row, :length], alone[0])
        assert not together[row, length:].any()


@pytest.mark.parametrize("filling", [float("nan"), float("inf"), 1e30])
def test_padding_reaches_neither_output_nor_gradient(projector, tokens, filling):
    def run(x):
        projector.zero_grad()
        out = projector(x, mask)
        (out * direction).sum().backward()
        return out.detach(), {n: p.grad.clone() for n, p in projector.named_parameters()}

    mask = prefix([9, 4, 1])
    direction = torch.randn(3, 9, H, generator=torch.Generator().manual_seed(3))
    out, gradients = run(tokens)
    again, theirs = run(tokens.masked_fill(~mask[..., None], filling))
    assert torch.equal(again, out)
    for name, gradient in gradients.items():
        assert torch.equal(theirs[name], gradient), name
        assert gradient.abs().max() > 0, name


def test_outputs_start_at_the_norm_of_words(projector, tokens):
    out = projector(1000 * tokens, prefix([9, 4, 1]))
    torch.testing.assert_close(out.norm(dim=-1)[prefix([9, 4, 1])], torch.full((14,), 1.7))


def test_half_precision_features_are_read_in_full(projector, tokens):
    x = tokens.half()
    out = projector(x, prefix([9, 4, 1]))
    assert out.dtype == torch.float32
    assert torch.equal(out, projector(x.float(), prefix([9, 4, 1])))


def test_dropout_is_for_training_only(tokens):
    torch.manual_seed(0)
    made = Projector(D, H, ProjectorConfig(width=64, dropout=0.5), gain=1.0)
    mask = prefix([9, 9, 9])
    assert not torch.equal(made(tokens, mask), made(tokens, mask))
    made.eval()
    assert torch.equal(made(tokens, mask), made(tokens, mask))


@pytest.mark.parametrize("context", [0, 2, -1])
def test_a_context_without_a_middle_is_refused(context):
    with pytest.raises(ValueError, match="context"):
        ProjectorConfig(context=context)
