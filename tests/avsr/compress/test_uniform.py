"""Golden vectors of pooling and stacking, and what they are equal to."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avsr.compress import NotCausalError, Pool, Stack, compressors
from avsr.errors import ConfigError
from avsr.streams import Budget, TokenStream

FIELDS = ("x", "mask", "size", "t0", "t1", "owner", "sums")


def stream(x: Tensor, lengths: list[int] | None = None) -> TokenStream:
    lengths = [x.shape[1]] * len(x) if lengths is None else lengths
    return TokenStream.from_features(x, torch.tensor(lengths), 50.0)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


FIVE = torch.arange(1.0, 6.0).reshape(1, 5, 1)


def test_pool_two_of_five() -> None:
    out = Pool()(stream(FIVE), Budget.rate(2))
    assert out.x.flatten().tolist() == [1.5, 3.5, 5.0]
    assert out.size.tolist() == [[2, 2, 1]]
    assert out.owner.tolist() == [[0, 0, 1, 1, 2]]
    assert out.t0[0].tolist() == pytest.approx([0.0, 0.04, 0.08])
    assert out.t1[0].tolist() == pytest.approx([0.04, 0.08, 0.1])


@pytest.mark.parametrize(("tail", "last"), [("repeat", [5.0, 5.0]), ("zero", [5.0, 0.0])])
def test_stack_two_of_five(tail: str, last: list[float]) -> None:
    out = compressors.build({"name": "stack", "tail": tail})(stream(FIVE), Budget.rate(2))
    assert out.x.tolist() == [[[1.0, 2.0], [3.0, 4.0], last]]
    assert out.size.tolist() == [[2, 2, 1]]


def test_other_budgets_make_windows_that_differ_by_one() -> None:
    out = Pool()(stream(FIVE), Budget.tokens(3))
    assert out.owner.tolist() == [[0, 0, 1, 1, 2]]
    out = Pool()(stream(noise(1, 11, 2)), Budget.keep(0.4))
    assert out.lengths.tolist() == [5]
    assert out.size.max() - out.size.min() == 1


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=4),
    st.sampled_from([(4, 4), (2, 8), (8, 2), (2, 2), (3, 3), (2, 3), (2, 5), (5, 5), (1, 4)]),
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
)
@settings(max_examples=60, deadline=None, database=None, derandomize=True)
def test_nested_rates_agree_to_the_last_bit(
    lengths: list[int], rates: tuple[int, int], dtype: torch.dtype
) -> None:
    inner, outer = rates
    s = stream(noise(len(lengths), 40, 3).to(dtype), lengths)
    nested = Pool()(Pool()(s, Budget.rate(inner)), Budget.rate(outer))
    direct = Pool()(s, Budget.rate(inner * outer))
    for name in FIELDS[:-1]:
        assert torch.equal(getattr(nested, name), getattr(direct, name)), name


@pytest.mark.parametrize(("inner", "outer"), [(5, 2), (3, 2), (10, 4)])
def test_other_orders_agree_to_rounding(inner: int, outer: int) -> None:
    s = stream(noise(3, 83, 4), [83, 40, 7])
    nested = Pool()(Pool()(s, Budget.rate(inner)), Budget.rate(outer))
    torch.testing.assert_close(nested.x, Pool()(s, Budget.rate(inner * outer)).x)


def test_rates_that_do_not_divide_are_not_nested() -> None:
    s = stream(noise(1, 20, 1))
    five, two = (Pool()(s, Budget.rate(r)).owner for r in (5, 2))
    assert len(set(zip(two[0].tolist(), five[0].tolist(), strict=True))) > int(two.max()) + 1


def test_means_of_tails_are_over_what_is_there() -> None:
    x = noise(2, 23, 3)
    out = Pool()(stream(x, [23, 18]), Budget.rate(16)).x
    torch.testing.assert_close(out[0, 1], x[0, 16:23].mean(0))
    torch.testing.assert_close(out[1, 1], x[1, 16:18].mean(0))


def test_new_contents_forget_the_old_sums() -> None:
    short = Pool()(stream(noise(1, 8, 2)), Budget.rate(2))
    other = short.replace(x=torch.ones_like(short.x))
    assert Pool()(other, Budget.rate(2)).x.tolist() == [[[1.0, 1.0]] * 2]


@pytest.mark.parametrize("rate", [2, 3, 4, 16])
def test_pool_without_tail_is_average_pooling(rate: int) -> None:
    x = noise(3, 50, 4)
    got = Pool(tail="drop")(stream(x), Budget.rate(rate)).x
    want = F.avg_pool1d(x.transpose(1, 2), rate).transpose(1, 2)
    torch.testing.assert_close(got, want)


def test_stack_then_averaging_map_is_pool() -> None:
    s, rate, width = stream(noise(2, 24, 3), [24, 12]), 4, 3
    averaging = torch.eye(width).repeat(1, rate) / rate
    stacked = Stack()(s, Budget.rate(rate))
    torch.testing.assert_close(stacked.x @ averaging.T, Pool()(s, Budget.rate(rate)).x)


def test_stack_then_linear_is_a_strided_convolution() -> None:
    x, rate = noise(2, 24, 3), 4
    convolution = noise(6, 3, rate, seed=1)  # [out, D, r]
    linear = convolution.transpose(1, 2).reshape(6, rate * 3)
    got = Stack()(stream(x), Budget.rate(rate)).x @ linear.T
    want = F.conv1d(x.transpose(1, 2), convolution, stride=rate).transpose(1, 2)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("made", [Pool(), Stack()], ids=["pool", "stack"])
def test_no_token_knows_of_another_ones_frames(made: Pool | Stack) -> None:
    x = noise(1, 10, 2)

    def run(x: Tensor) -> Tensor:
        return made(stream(x), Budget.rate(4)).x.sum(2)[0]

    jacobian = torch.autograd.functional.jacobian(run, x)[:, 0].abs().sum(-1)  # [N, T]
    owner = made(stream(x), Budget.rate(4)).owner[0]
    assert torch.equal(jacobian > 0, owner == torch.arange(3)[:, None])


def test_a_clip_shorter_than_the_rate_is_one_token() -> None:
    for made in (Pool(), Stack(), Stack(tail="zero")):
        assert made(stream(noise(1, 3, 2)), Budget.rate(16)).lengths.tolist() == [1]


def test_inputs_are_left_alone() -> None:
    for made in (Pool(), Stack()):
        for lengths in ([8, 8], [8, 5]):
            s = stream(noise(2, 8, 3), lengths)
            before = s.x.clone()
            made(s, Budget.rate(2))
            made(s, Budget.rate(3))
            assert torch.equal(s.x, before)


@pytest.mark.parametrize("budget", [Budget.rate(2.5), Budget.tokens(3)], ids=str)
def test_only_whole_windows_can_stream(budget: Budget) -> None:
    with pytest.raises(NotCausalError, match="whole"):
        Pool().stream(budget)
    with pytest.raises(ConfigError):
        Stack().stream(budget)


@pytest.mark.parametrize("config", [{"name": "pool"}, {"name": "stack"}], ids=lambda c: c["name"])
def test_tails_are_checked(config: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="tail must be"):
        compressors.build({**config, "tail": "half"})


def test_stack_says_how_wide_it_gets() -> None:
    assert Stack().width(384, Budget.rate(4)) == 1536
    assert Pool().width(384, Budget.rate(4)) == 384
