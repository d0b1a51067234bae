"""Vectors checked by hand: what each method makes of a few numbers.

Those of pooling and stacking are in `test_uniform.py`.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avsr.compress import (
    Affinity,
    Cluster,
    Guide,
    Keyframe,
    KMeans,
    NotCausalError,
    Novelty,
    Select,
    Weighted,
    WindowMerge,
    rate_for,
)
from avsr.compress.cif import Cif, fired
from avsr.compress.keyframe import allot, compensation
from avsr.compress.merge import Atome
from avsr.compress.plans import ranked, surjective
from avsr.errors import ConfigError
from avsr.streams import Budget, TokenStream

A, B = [1.0, 0.0], [0.0, 1.0]


def stream(*rows: list[list[float]] | Tensor, hz: float = 50.0) -> TokenStream:
    return TokenStream.from_rows([torch.as_tensor(row) for row in rows], hz)


def numbers(*values: float) -> TokenStream:
    return stream(torch.tensor(values, dtype=torch.float32)[:, None])


def test_contiguous_threshold() -> None:
    out = Affinity()(stream([A, A, B, B, B, A]), Budget.threshold(0.5))
    assert out.size.tolist() == [[2, 3, 1]]


@pytest.mark.parametrize(("tokens", "sizes"), [(3, [3, 2, 1]), (2, [3, 3]), (1, [6])])
def test_ward_of_six(tokens: int, sizes: list[int]) -> None:
    for share in (0.5, 1.0, 0.01):
        out = Cluster(share=share)(numbers(0, 0, 0, 10, 10, 3), Budget.tokens(tokens))
        assert out.size.tolist() == [sizes]


def test_cif_of_five_frames() -> None:
    shares, owner = fired(torch.full((1, 5), 0.4), torch.tensor([5]), None)
    want = torch.tensor([[[0.4, 0.4, 0.2, 0.0, 0.0], [0.0, 0.0, 0.2, 0.4, 0.4]]])
    torch.testing.assert_close(shares, want, rtol=1e-5, atol=1e-5)
    assert owner.tolist() == [[0, 0, 0, 1, 1]]


def test_a_fresh_cif_is_a_mean_of_equal_shares() -> None:
    out = Cif(width=1)(numbers(1, 2, 3, 4, 5), Budget.tokens(2))
    torch.testing.assert_close(out.x.flatten(), torch.tensor([1.8, 4.2]))


def test_compensation_frames() -> None:
    gaps = compensation([0, 10, 30], 40, 2.0)  # 5 % of 40 frames
    assert [len(gap) for gap in gaps] == [5, 10, 5]
    assert gaps[0] == [1, 3, 5, 6, 8]
    assert all(0 < frame < 10 for frame in gaps[0])


def test_atome_merges_the_most_alike_first() -> None:
    s = stream([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.5, 1.0]])
    assert Atome()(s, Budget.tokens(3)).owner.tolist() == [[0, 0, 1, 2]]
    assert Atome()(s, Budget.tokens(2)).owner.tolist() == [[0, 0, 1, 1]]


def test_clips_do_not_see_one_another() -> None:
    x = torch.randn(1, 24, 4, generator=torch.Generator().manual_seed(0))
    later = x.clone()
    later[:, 16:] += 1
    one, other = (Atome(clip=8)(stream(v[0]), Budget.rate(4)) for v in (x, later))
    assert one.lengths.tolist() == [6]
    assert torch.equal(one.owner[:, :16], other.owner[:, :16])
    assert sorted(set(one.owner[0, :8].tolist())) == [0, 1]


def test_affinity_compares_with_the_open_group_alone() -> None:
    s = stream([A, B, A, A])
    assert Affinity()(s, Budget.threshold(0.5)).owner.tolist() == [[0, 1, 2, 2]]
    blurred = stream([A, [1.0, 1.0], B, A])
    assert Affinity(window=1)(blurred, Budget.threshold(0.5)).owner.tolist() == [[0, 0, 0, 1]]
    assert Affinity(window=3)(blurred, Budget.threshold(0.5)).owner.tolist() == [[0, 0, 0, 0]]
    assert Affinity(link="mean")(blurred, Budget.threshold(0.5)).owner.tolist() == [[0, 0, 1, 2]]


def test_inverse_weights_favour_what_is_unlike() -> None:
    s = stream([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    even, inverse = (Affinity(weights=w)(s, Budget.tokens(1)).x[0, 0] for w in ("mean", "inverse"))
    assert even.tolist() == pytest.approx([1.0, 1 / 3])
    assert inverse[1] > even[1]


def test_affinity_by_density_is_a_weighted_mean_of_the_same_groups() -> None:
    s = stream([[4.0, 0.0], [8.0, 0.0], [0.0, 3.0]])
    by = Affinity(weights="density")
    out = by(s, Budget.threshold(0.5), Guide(density=torch.tensor([[0.75, 0.25, 1.0]])))
    assert out.owner.tolist() == [[0, 0, 1]]
    assert out.x[0].tolist() == [[5.0, 0.0], [0.0, 3.0]]  # 0.75 of 4 and 0.25 of 8
    energy = Affinity(weights="energy")(s, Budget.threshold(0.5))
    assert energy.x[0, 0, 0].item() == pytest.approx((4 * 16 + 8 * 64) / (16 + 64))
    with pytest.raises(ConfigError, match="density"):
        by(s, Budget.threshold(0.5))
    with pytest.raises(NotCausalError, match="not weighed by a density"):
        by.stream(Budget.threshold(0.5))


def test_still_windows_merge_and_moving_ones_stay() -> None:
    out = WindowMerge()(stream([A, A, A, B, B, A, A]), Budget.rate(3))
    assert out.owner.tolist() == [[0, 0, 0, 1, 2, 3, 4]]


def test_k_means_joins_what_comes_back() -> None:
    out = KMeans()(stream([A, A, B, B, A, B]), Budget.tokens(2))
    assert out.owner.tolist() == [[0, 0, 1, 1, 0, 1]]


def test_novelty_keeps_the_odd_one() -> None:
    s = stream([A, A, A, B, A, A, A, A])
    kept = Novelty(chunk=8, mode="drop")(s, Budget.rate(8))
    assert kept.owner.tolist() == [[-1, -1, -1, 0, -1, -1, -1, -1]]
    constant = stream([A] * 8)
    assert Novelty(chunk=8, mode="drop")(constant, Budget.rate(8)).owner[0, 0] == 0
    gapped = Novelty(chunk=8, mode="drop", max_gap=3)(constant, Budget.rate(8)).owner
    assert gapped.tolist() == [[0, -1, -1, -1, 1, -1, -1, -1]]


def test_novelty_looks_at_the_past_alone() -> None:
    s = stream([A, A, B, A, B, B, B, A])
    for share, kept in ((0.0, [2, 7]), (1.0, [2, 4])):  # among its like A is odd, after A B is new
        owner = Novelty(chunk=4, mode="drop", past=share)(s, Budget.rate(4)).owner[0]
        assert (owner >= 0).nonzero().flatten().tolist() == kept


@pytest.mark.parametrize(
    ("frames", "rate"), [(0, 1), (8, 1), (9, 2), (33, 8), (64, 8), (128, 16), (999, 128)]
)
def test_a_longer_recording_gets_a_coarser_trained_rate(frames: int, rate: int) -> None:
    assert rate_for(frames, 8, (4, 1, 16, 2, 8)) == rate


def test_segments_get_what_they_need() -> None:
    sizes, relevance = np.array([8, 8, 4]), np.array([0.1, 0.9, 0.5])
    assert allot(sizes, relevance, 5, 2, 4).tolist() == [2, 2, 1]  # all coarse
    assert allot(sizes, relevance, 7, 2, 4).tolist() == [2, 4, 1]  # the relevant one fine
    assert allot(sizes, relevance, 10, 2, 4).tolist() == [4, 4, 2]  # all fine
    assert allot(sizes, relevance, 3, 2, 4).tolist() == [1, 1, 1]
    assert allot(sizes, relevance, 20, 2, 4).tolist() == [8, 8, 4]


def test_ranks_of_equals_are_spread() -> None:
    rank = ranked(torch.zeros(1, 8), torch.ones(1, 8, dtype=torch.bool))
    assert rank.tolist() == [[0, 4, 2, 5, 1, 6, 3, 7]]
    rank = ranked(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([[True, True, False]]))
    assert rank.tolist() == [[1, 0, 2]]


def test_every_token_gets_a_frame() -> None:
    owner = torch.tensor([[0, 0, 3, 3, 3, 0], [2, 2, 2, 0, 0, 0]])
    made = surjective(owner, torch.tensor([5, 3]), torch.tensor([4, 2]))
    assert made[0, :5].tolist() == [0, 0, 1, 2, 3]
    assert made[1, :3].tolist() == [0, 1, 1]


def test_selection_takes_what_is_far_apart() -> None:
    c = [-1.0, 0.0]
    s = stream([A, A, B, A, c])
    assert Select()(s, Budget.tokens(3)).owner.tolist() == [[0, -1, 1, -1, 2]]
    same = Select()(stream([A] * 5), Budget.tokens(3))
    assert same.owner.tolist() == [[0, 1, 2, -1, -1]]  # no frame is taken twice
    loud = stream([A, [3.0, 0.0], B, A, [0.0, -1.0]])
    out = Select(by="pivot", pivots=0.3)(loud, Budget.tokens(3))
    assert out.owner.tolist() == [[-1, 0, 1, -1, 2]]
    heard = Guide(received=torch.tensor([[0.1, 0.5, 0.2, 0.9, 0.0]]))
    by = Select(by="received")
    assert by(s, Budget.tokens(2), heard).owner.tolist() == [[-1, 0, -1, 1, -1]]
    with pytest.raises(ConfigError, match="received attention"):
        by(s, Budget.tokens(2))


@given(st.integers(0, 400), st.integers(1, 40), st.sets(st.integers(1, 64), min_size=1))
@settings(max_examples=60, deadline=None, database=None, derandomize=True)
def test_the_cap_holds_for_all(frames: int, cap: int, rates: set[int]) -> None:
    rate, longer = (rate_for(n, cap, [*rates]) for n in (frames, frames + 1))
    assert rate <= longer
    assert -(-frames // rate) <= cap
    assert rate in rates or rate % max(rates) == 0


@given(st.lists(st.floats(0, 2), min_size=1, max_size=60), st.sampled_from([25.0, 50.0]))
@settings(max_examples=40, deadline=None, database=None, derandomize=True)
def test_no_gap_between_key_frames_is_too_long(novelty: list[float], hz: float) -> None:
    made = Keyframe()
    keys = made.keys(np.array(novelty), 0.3, hz)
    gaps = np.diff([*keys, len(novelty)])
    assert keys[0] == 0
    assert gaps.max() <= round(made.most * hz)
    assert (gaps[:-1] >= round(made.least * hz)).all()


def test_density_leads() -> None:
    s, density = numbers(1, 2, 3, 4), torch.tensor([[1.0, 3.0, 0.0, 0.0]])
    out = Weighted(by="density")(s, Budget.rate(2), Guide(density=density))
    assert out.x.flatten().tolist() == [1.75, 3.5]  # a window without weight is a plain mean


def test_key_frames_follow_cuts_and_the_clock() -> None:
    made = Keyframe(step=10.0)  # without compensation frames
    still = np.zeros(20)
    assert made.starts(still, 0.3, 25.0) == [0, 8, 16]  # 0.32 s
    cut = still.copy()
    cut[[1, 5, 6]] = 1.0  # of these 1 and 6 come too soon after a key
    assert made.starts(cut, 0.3, 25.0) == [0, 5, 13]
    assert made.starts(cut, 0.3, 50.0) == [0, 5]  # twice the frames a second
    assert Keyframe().starts(still[:8], 0.3, 25.0) == [0, 2, 5]  # two compensation frames


def test_key_frames_of_a_constant_row_are_cut_coarsely() -> None:
    s = stream([A] * 16, hz=25.0)
    free = Keyframe(step=10.0)(s, Budget.threshold(0.7))
    assert free.size.tolist() == [[4, 4, 4, 4]]
    assert Keyframe(step=10.0)(s, Budget.tokens(8)).size.tolist() == [[2] * 8]
