"""What every registered compressor must do with a whole stream.

What it must do with a stream in pieces: `test_compressor_streaming.py`. The cases: `cases.py`.
"""

import random
import zlib
from dataclasses import fields, replace
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avsr.compress import Card, Compressor, compressors
from avsr.compress.presets import build_compressor
from avsr.errors import ConfigError
from avsr.streams import Budget
from tests.avsr.compress.cases import (
    ALL,
    BUDGETS,
    CASES,
    CONFIGS,
    HZ,
    LAWFUL,
    LAWLESS,
    LENGTHS,
    OTHER,
    RATES,
    VARIANTS,
    Case,
    assert_equal,
    assert_same,
    every,
    frames,
    guide,
    merging,
    off,
    plain_means,
    stream,
    symbols,
    variants,
)

CONSTANTS = (0.0, 1.0, -3.25, 1e-10, 1e-20, 1e-30, 1e20)


def test_every_compressor_is_under_contract() -> None:
    assert {case.config["name"] for case in CASES} == set(compressors)


@every
def test_c1_shape_and_type(case: Case) -> None:
    width = case.compressor.width(5, case.budget)
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        out = case.run(stream(frames().to(dtype))).validate()
        assert out.x.dtype == dtype
        assert out.x.shape == (len(LENGTHS), int(out.lengths.max()), width)
        assert out.hz == HZ
        assert not out.x[~out.mask].any()


@pytest.mark.parametrize("case", [c for c in BUDGETS if c.config not in LAWLESS], ids=str)
def test_c2_budget_is_met(case: Case) -> None:
    s = stream()
    asked = case.budget.resolve(s.lengths, HZ)
    out, meets = case.run(s), case.compressor.meets
    if case.budget.kind == "threshold" or meets == "never":
        assert (out.lengths <= s.lengths).all()
    elif meets == "loosely":
        assert (out.lengths >= asked).all()
        assert (out.lengths <= s.lengths).all()
    elif meets == "at most":
        assert (out.lengths <= asked).all()
        assert ((out.lengths > 0) == (s.lengths > 0)).all()
    else:
        assert torch.equal(out.lengths, asked)


@every
def test_c2_budgets_outside_the_card_are_refused(case: Case) -> None:
    for kind in set(ALL) - case.card.budgets:
        with pytest.raises(ConfigError, match=kind):
            case.run(stream(), ALL[kind])


@every
def test_c3_identity(case: Case) -> None:
    budgets = (Budget.rate(1), Budget.keep(1.0), Budget.tokens(99), Budget.threshold(1.5))
    s = stream()
    for budget in budgets if not case.card.trainable else ():
        split = budget.kind != "threshold" or case.card.mechanism == "similarity"
        if budget.kind in case.card.budgets and split:
            out = case.run(s, budget).validate()
            assert torch.equal(out.x[out.mask], s.x[s.mask])
            for name in ("mask", "size", "t0", "t1", "owner"):
                assert torch.equal(getattr(out, name), getattr(s, name)), name


@every
def test_c4_every_frame_is_accounted_for(case: Case) -> None:
    s = stream()
    out = case.run(s)
    dropped = (out.owner < 0).logical_and(s.mask).sum(1)
    assert torch.equal(out.size.sum(1) + dropped, s.lengths)
    if case.card.op != "drop" and case.config not in LAWLESS:
        assert not dropped.any()
    counts = torch.zeros_like(out.size).scatter_add(
        1, out.owner.clamp(min=0), (out.owner >= 0).long()
    )
    assert torch.equal(counts, out.size)
    assert (out.owner[~s.mask] == -1).all()


@merging
def test_c5_sums_are_conserved(case: Case) -> None:
    s = stream()
    out = case.run(s)
    kept = (out.owner >= 0)[..., None]
    got, want = (out.x * out.size[..., None]).sum(1), (s.x * kept).sum(1)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


@every
def test_c6_order(case: Case) -> None:
    out = case.run(stream()).validate()
    step = (out.t0 + out.t1).diff(dim=1)[out.mask[:, 1:]]
    assert (step >= 0).all()
    if case.card.contiguous:
        assert (step > 0).all()
        for owner in out.owner:
            assert (owner[owner >= 0].diff() >= 0).all()


@every
def test_c6_what_is_not_contiguous_is_so_somewhere(case: Case) -> None:
    if case.card.contiguous:
        return
    owner = case.run(stream(symbols())).owner[0]  # symbols come back in it
    assert (owner[owner >= 0].diff() < 0).any()


@every
def test_c7_what_comes_back_is_not_merged_with_what_was(case: Case) -> None:
    chosen = case.card.op == "drop" and case.card.signal != "uniform"  # any frames may be left out
    if not case.card.contiguous or chosen or case.card.trainable:
        return
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    x = torch.stack([a] * 3 + [b] * 3 + [a] * 3 + [b] * 3)[None]
    budget = {"rate": Budget.rate(3), "threshold": Budget.threshold(0.5)}[case.budget.kind]
    out = case.run(stream(x, [12]), budget)
    seen = [token for token, _ in groupby(out.x[0, :, :2].tolist())]
    assert seen == [[1, 0], [0, 1], [1, 0], [0, 1]]
    if case.card.op == "merge" and case.card.meets == "exactly":
        assert out.owner.tolist() == [[0] * 3 + [1] * 3 + [2] * 3 + [3] * 3]


@variants
def test_c8_padding_never_leaks(case: Case) -> None:
    s = stream()
    out = case.run(s)
    for padding in (float("nan"), 1e6):
        dirty = s.replace(x=s.x.masked_fill(~s.mask[..., None], padding))
        assert_same(case, out, case.run(dirty))
    for row, length in enumerate(LENGTHS):
        alone = case.run(stream(s.x[row : row + 1, :length], [length]))
        count = int(out.lengths[row])
        assert alone.lengths.tolist() == [count]
        torch.testing.assert_close(alone.x[0], out.x[row, :count], **off(case))
        assert torch.equal(alone.owner[0], out.owner[row, :length])


@every
def test_c9_short_rows(case: Case) -> None:
    for lengths in ([0], [1], [3], [4], [5, 2], [2, 0], [0, 0]):
        x = frames(len(lengths), max(lengths))
        out = case.run(stream(x, lengths)).validate()
        assert torch.isfinite(out.x).all()
        if case in LAWFUL:
            assert (out.lengths > 0).tolist() == [n > 0 for n in lengths]
    assert case.run(stream(frames(0), [])).x.shape[0] == 0


@every
def test_c10_constant_streams(case: Case) -> None:
    for value in CONSTANTS[:-1] if case.card.trainable else CONSTANTS:
        out = case.run(stream(torch.full((2, 24, 5), value), [24, 20])).validate()
        assert torch.isfinite(out.x).all()
        if not case.card.trainable:
            got = out.x[out.mask]
            torch.testing.assert_close(got, torch.full_like(got, value), rtol=1e-5, atol=0.0)


@every
def test_c11_determinism(case: Case) -> None:
    torch.manual_seed(0)
    first = case.run(stream())
    torch.manual_seed(1)
    assert_equal(first, case.run(stream()))


@every
def test_c12_half_precision_groups_alike(case: Case) -> None:
    full = case.run(stream(symbols()))
    for dtype in (torch.float16, torch.bfloat16):
        half = case.run(stream(symbols().to(dtype)))
        assert torch.equal(full.owner, half.owner)
        torch.testing.assert_close(full.x, half.x.float(), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("config", [*CONFIGS, *VARIANTS], ids=str)
def test_c11_building_leaves_the_global_generators_alone(config: dict[str, Any]) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    first = build_compressor(config, width=5, other_width=OTHER, rates=RATES)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]
    torch.manual_seed(4)
    again = build_compressor(config, width=5, other_width=OTHER, rates=RATES)
    for name, weight in first.state_dict().items():  # weights are of their seed alone
        assert torch.equal(weight, again.state_dict()[name]), name


def test_c12_half_precision_adds_in_single() -> None:
    x = torch.full((1, 64, 1), 40_000.0, dtype=torch.float16)  # two of them overflow
    out = compressors.build({"name": "pool"})(stream(x, [64]), Budget.rate(64))
    assert out.x.item() == 40_000.0


@variants
def test_c13_gradient(case: Case) -> None:
    s = stream()
    x = s.x.masked_fill(~s.mask[..., None], float("nan")).requires_grad_()
    out = case.run(s.replace(x=x))
    weight = frames(*out.x.shape, seed=1) if out.x.numel() else out.x
    (gradient,) = torch.autograd.grad((out.x * weight).sum(), x)
    assert torch.isfinite(gradient).all()
    assert not gradient[out.owner < 0].any()
    assert (gradient != 0).any(-1)[out.owner >= 0].all()


def test_c13_gradients_are_right() -> None:
    x = frames(2, 7, 1).double().requires_grad_()
    for config in ({"name": "pool"}, {"name": "stack"}, {"name": "stack", "tail": "zero"}):
        made = compressors.build(config)

        def run(x: torch.Tensor, made: Compressor = made) -> torch.Tensor:
            return made(stream(x, [7, 4]), Budget.rate(3)).x

        assert torch.autograd.gradcheck(run, (x,))
    pooled = compressors.build({"name": "pool"})(stream(x, [7, 4]), Budget.rate(3)).x
    (gradient,) = torch.autograd.grad(pooled.sum(), x)
    assert gradient[0, :, 0].tolist() == pytest.approx([1 / 3] * 6 + [1.0])
    assert gradient[1, :, 0].tolist() == pytest.approx([1 / 3] * 3 + [1.0, 0, 0, 0])


@every
def test_c14_loudness_does_not_change_the_grouping(case: Case) -> None:
    as_is = case.run(stream(frames()))
    for scale in (1e-3, 7.0) if case.card.signal != "learned" else ():
        assert torch.equal(case.run(stream(frames() * scale)).owner, as_is.owner)


@every
def test_c15_more_tokens_never_say_less(case: Case) -> None:
    if not case.card.nested or "rate" not in case.card.budgets:
        return
    s, errors, owners = stream(), [], []
    for rate in (1, 2, 4, 8, 16):
        out = case.run(s, Budget.rate(rate))
        if case in LAWFUL and plain_means(case):
            back = out.x.gather(1, out.owner.clamp(min=0)[..., None].expand_as(s.x))
            errors.append((back - s.x)[s.mask].square().sum().item())
        owners.append(out.owner)
    assert errors == sorted(errors)
    for fine, coarse in pairwise(owners):
        both = coarse >= 0
        pairs = {(r, f): c for r, f, c in _triples(fine, coarse, both)}
        assert all(pairs[r, f] == c for r, f, c in _triples(fine, coarse, both))


def _triples(
    fine: torch.Tensor, coarse: torch.Tensor, where: torch.Tensor
) -> list[tuple[int, int, int]]:
    rows = torch.arange(len(fine))[:, None].expand_as(fine)
    columns = (t[where].tolist() for t in (rows, fine, coarse))
    return list(zip(*columns, strict=True))


@every
def test_c18_rows_do_not_know_their_place(case: Case) -> None:
    s, order = stream(), torch.tensor([3, 0, 5, 1, 4, 2])
    assert_same(case, case.run(s.select(order)), case.run(s).select(order))


@variants
def test_c20_round_trip(case: Case) -> None:
    config = case.compressor.to_dict()
    assert config.items() >= case.config.items()  # settings left out stand in it too
    assert compressors.build(config).to_dict() == config
    assert case.card.name == case.config["name"]
    assert all(getattr(case.card, f.name) is not None for f in fields(Card))
    assert case.card.budgets
    assert case.card.paper
    assert bool(list(case.compressor.parameters())) == case.card.trainable


@every
def test_c20_times_are_those_of_the_owned_frames(case: Case) -> None:
    s = stream()
    out = case.run(s)
    for row in range(len(LENGTHS)):
        for token in range(int(out.lengths[row])):
            own = out.owner[row] == token
            assert out.t0[row, token] == s.t0[row][own].min()
            assert out.t1[row, token] == s.t1[row][own].max()


@variants
def test_several_budgets_at_once_equal_one_at_a_time(case: Case) -> None:
    s = stream()
    kinds = [b for k, b in ALL.items() if k in case.card.budgets and case in LAWFUL]
    rates = (16, 4, 1, 2, 5, 10, 4) if case.config["name"] == "pool" else (16, 4, 1, 4)
    budgets = [Budget.rate(r) for r in rates if "rate" in case.card.budgets]
    together = case.compressor.multi(s, budgets + kinds, guide(s))
    for budget, out in zip(budgets + kinds, together, strict=True):
        assert_same(case, out, case.run(s, budget))


@pytest.mark.parametrize("case", [c for c in BUDGETS if c.config not in LAWLESS], ids=str)
@given(
    st.lists(st.integers(0, 40), min_size=2, max_size=3),
    st.floats(0.05, 1.0),
    st.integers(1, 16),
)
@settings(max_examples=4, deadline=None, database=None, derandomize=True)
def test_any_lengths_and_budgets(case: Case, lengths: list[int], share: float, whole: int) -> None:
    values = {"keep": share, "per_second": 50 * share, "threshold": share, "tokens": whole}
    rate = float(RATES[whole % len(RATES)])
    budget = Budget(case.budget.kind, values.get(case.budget.kind, rate))
    seed = zlib.crc32(str(case).encode()) + whole  # other frames for each case
    s = stream(frames(len(lengths), 40, seed=seed), lengths)
    out = case.run(s, budget).validate()
    assert torch.isfinite(out.x).all()
    assert torch.equal(out.size.sum(1), (out.owner >= 0).sum(1))
    meets = case.compressor.meets
    if meets == "exactly" and budget.kind != "threshold":
        assert torch.equal(out.lengths, s.resolve(budget))
    if meets == "at most":
        assert (out.lengths <= s.resolve(budget)).all()


@every
def test_compressors_compose(case: Case) -> None:
    short = compressors.build({"name": "pool"})(stream(), Budget.rate(2))
    dirty = replace(short, x=short.x.masked_fill(~short.mask[..., None], float("nan")))
    for s in (short, replace(dirty, sums=None)):
        out = case.run(s).validate()
        assert torch.isfinite(out.x).all()
        assert (out.owner >= -1).all()
        kept = (out.owner >= 0).sum(1)
        assert torch.equal(out.size.sum(1), kept)
