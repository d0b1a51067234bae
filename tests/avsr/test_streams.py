"""Token streams keep their promises, budgets round up."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avsr.streams import Budget, TokenStream


def stream(lengths: list[int], frames: int = 6, width: int = 3, hz: float = 50.0) -> TokenStream:
    x = torch.randn(len(lengths), frames, width, generator=torch.Generator().manual_seed(0))
    return TokenStream.from_features(x, torch.tensor(lengths), hz)


def test_features_become_one_token_a_frame() -> None:
    s = stream([3, 0, 6]).validate()
    assert s.lengths.tolist() == [3, 0, 6]
    assert s.mask.int().tolist() == [[1, 1, 1, 0, 0, 0], [0] * 6, [1] * 6]
    assert s.size.tolist() == s.mask.int().tolist()
    assert s.owner.tolist() == [[0, 1, 2, -1, -1, -1], [-1] * 6, [0, 1, 2, 3, 4, 5]]
    assert s.t0[0].tolist() == pytest.approx([0, 0.02, 0.04, 0, 0, 0])
    assert s.t1[0].tolist() == pytest.approx([0.02, 0.04, 0.06, 0, 0, 0])
    assert torch.equal(s.t1[2, :-1], s.t0[2, 1:])


def test_time_starts_where_it_is_told() -> None:
    x, lengths = torch.zeros(2, 2, 1), torch.tensor([2, 2])
    s = TokenStream.from_features(x, lengths, 25.0, start=3600.0)
    assert s.t0.tolist() == [pytest.approx([3600.0, 3600.04])] * 2
    s = TokenStream.from_features(x, lengths, 25.0, start=torch.tensor([0.0, 1.0]))
    assert s.t1[:, 1].tolist() == pytest.approx([0.08, 1.08])


@pytest.mark.parametrize(
    ("shape", "lengths", "hz"),
    [((2, 3), [1, 1], 50.0), ((2, 3, 1), [1], 50.0), ((1, 3, 1), [4], 50.0), ((1, 3, 1), [1], 0.0)],
)
def test_features_that_do_not_fit(shape: tuple[int, ...], lengths: list[int], hz: float) -> None:
    with pytest.raises(ValueError, match=r"expected|lengths|hz"):
        TokenStream.from_features(torch.zeros(shape), torch.tensor(lengths), hz)


@pytest.mark.parametrize("lengths", [[3, 0, 6], [0, 2], [4], [0, 0]], ids=str)
def test_a_stream_of_rows_is_that_of_their_padded_batch(lengths: list[int]) -> None:
    whole = stream(lengths, frames=max(lengths), hz=25.0)
    rows = [x[:n] for x, n in zip(whole.x, lengths, strict=True)]
    made = TokenStream.from_rows(rows, 25.0).validate()
    assert (made.hz, made.lengths.tolist()) == (25.0, lengths)
    assert made.x.shape == (len(lengths), max(lengths), 3)
    for name in ("mask", "size", "t0", "t1", "owner"):
        assert torch.equal(getattr(made, name), getattr(whole, name)), name
    for row, x in zip(rows, made.x, strict=True):
        assert torch.equal(x[: len(row)], row)
        assert not x[len(row) :].any()


def test_a_stream_of_rows_keeps_their_numbers_and_gradients() -> None:
    rows = [torch.ones(2, 3, dtype=torch.float16, requires_grad=True), torch.ones(0, 3).half()]
    made = TokenStream.from_rows(rows, 50.0)
    assert made.x.dtype == torch.float16
    (gradient,) = torch.autograd.grad(made.x.sum(), rows[0])
    assert torch.equal(gradient, torch.ones(2, 3).half())


@pytest.mark.parametrize("shapes", [[], [(2,)], [(2, 3), (2, 4)], [(0, 1), (2, 3)]], ids=str)
def test_rows_that_make_no_stream(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="rows"):
        TokenStream.from_rows([torch.zeros(shape) for shape in shapes], 50.0)


def test_rows_are_selected_in_any_order() -> None:
    s = stream([3, 0, 6])
    for rows in ([2, 0], torch.tensor([2, 0])):
        chosen = s.select(rows).validate()
        assert chosen.lengths.tolist() == [6, 3]
        assert torch.equal(chosen.x[1], s.x[0])
    assert s.select(torch.tensor([True, False, False])).lengths.tolist() == [3]
    assert s.select(slice(1, None)).lengths.tolist() == [0, 6]


def test_padding_is_added_and_trimmed() -> None:
    s = stream([3, 2], frames=3)
    wide = s.pad_to(5).validate()
    assert wide.x.shape == (2, 5, 3)
    assert not wide.x[:, 3:].any()
    assert torch.equal(wide.trim().x, s.x)
    assert torch.equal(wide.trim().mask, s.mask)
    with pytest.raises(ValueError, match="cannot pad"):
        s.pad_to(2)


def test_new_contents_keep_the_times() -> None:
    s = stream([3, 2], frames=3)
    other = s.replace(x=torch.zeros(2, 3, 9)).validate()
    assert other.x.shape[-1] == 9
    assert other.t1 is s.t1
    with pytest.raises(ValueError, match="x is"):
        s.replace(x=torch.zeros(2, 4, 9))


@pytest.mark.parametrize(
    ("field", "row", "value", "law"),
    [
        ("mask", [True, False, True], None, "prefix"),
        ("size", [1, 0, 0], None, "size"),
        ("owner", [0, 1, 2], None, "owner"),
        ("owner", [0, -2, -1], None, "owner"),
        ("t0", [0.02, 0.0, 0.0], None, "rise"),
        ("t1", [0.02, 0.04, 9.0], None, "padding"),
    ],
)
def test_broken_streams_are_named(field: str, row: list[float], value: None, law: str) -> None:
    s = stream([2], frames=3)
    getattr(s, field)[0] = torch.tensor(row, dtype=getattr(s, field).dtype)
    with pytest.raises(ValueError, match=law):
        s.validate()


def resolve(budget: Budget, *lengths: int, hz: float = 50.0) -> list[int]:
    return budget.resolve(torch.tensor(lengths), hz).tolist()


def test_budgets_round_up_and_leave_something() -> None:
    assert resolve(Budget.rate(2), 5, 4, 1, 0) == [3, 2, 1, 0]
    assert resolve(Budget.rate(16), 1, 16, 17, 0) == [1, 1, 2, 0]
    assert resolve(Budget.rate(2.5), 5, 6, 1, 0) == [2, 3, 1, 0]
    assert resolve(Budget.keep(0.25), 5, 4, 1, 0) == [2, 1, 1, 0]
    assert resolve(Budget.tokens(64), 500, 64, 10, 0) == [64, 64, 10, 0]
    assert resolve(Budget.per_second(3.5), 100, 101, 10, 1, 0) == [7, 8, 1, 1, 0]
    assert resolve(Budget.per_second(100), 7) == [7]
    assert resolve(Budget.threshold(0.85), 7, 0) == [7, 0]


def test_floats_do_not_add_a_token() -> None:
    assert resolve(Budget.keep(0.1), 30) == [3]  # 0.1 * 30 = 3.0000000000000004
    assert resolve(Budget.per_second(1.1), 500, hz=50.0) == [11]


@given(st.integers(0, 20_000), st.integers(1, 64))
@settings(max_examples=50, deadline=None, database=None)
def test_a_rate_is_ceil(length: int, rate: int) -> None:
    assert resolve(Budget.rate(rate), length) == [math.ceil(length / rate)]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("rate", 0),
        ("rate", float("nan")),
        ("rate", float("inf")),
        ("keep", 0),
        ("keep", 1.5),
        ("tokens", 0),
        ("tokens", 2.5),
        ("per_second", 0),
        ("threshold", float("nan")),
        ("share", 1),
    ],
)
def test_budgets_that_cannot_be(kind: str, value: float) -> None:
    with pytest.raises(ValueError, match=kind):
        Budget(kind, value)  # type: ignore[arg-type]


def test_seconds_are_those_of_the_source() -> None:
    from avsr.compress import Pool

    s = stream([300], frames=300)  # 6 s
    short = Pool()(s, Budget.rate(4))
    assert s.resolve(Budget.per_second(2)).tolist() == [12]
    assert short.resolve(Budget.per_second(2)).tolist() == [12]
