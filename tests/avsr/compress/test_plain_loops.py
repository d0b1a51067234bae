"""Methods against plain loops of what their papers say, a number at a time.

Features are in double precision, so that rounding decides nothing.
"""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from avsr.compress import (
    Atome,
    Cluster,
    DensityPeak,
    Guide,
    Hier,
    Keyframe,
    KMeans,
    Novelty,
    QFormer,
    Weighted,
    merge,
)
from avsr.compress.cluster import _longest_runs, _peaks, lloyd
from avsr.compress.density import frame_weights
from avsr.streams import Budget, TokenStream

A, B = [1.0, 0.0], [0.0, 1.0]


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def row(x: Tensor | list[list[float]], hz: float = 25.0) -> TokenStream:
    return TokenStream.from_rows([torch.as_tensor(x)], hz)


def apart(a: list[float], b: list[float]) -> float:
    return math.sqrt(sum((p - q) ** 2 for p, q in zip(a, b, strict=True)))


# Ward linkage


def test_weights_decide_where_tokens_of_the_linkage_end() -> None:
    s = row([[0.0], [4.0], [10.0]])
    for weights, owner in (([1.0, 1.0, 1.0], [0, 0, 1]), ([1.0, 9.0, 0.1], [0, 1, 1])):
        # w_a w_b / (w_a + w_b) d^2: 8 and 18, or 14.4 and 3.6
        out = Cluster(weights="density")(
            s, Budget.tokens(2), Guide(density=torch.tensor([weights]))
        )
        assert out.owner.tolist() == [owner]
    assert float(out.x[0, 1]) == pytest.approx((9 * 4 + 0.1 * 10) / 9.1)


def test_energy_decides_as_a_density_of_it_does() -> None:
    s = row(noise(40, 4))
    energy = s.x.square().mean(-1)
    for count in (20, 9, 3):
        one = Cluster(weights="energy")(s, Budget.tokens(count))
        other = Cluster(weights="density")(s, Budget.tokens(count), Guide(density=energy))
        assert torch.equal(one.owner, other.owner)
        assert not torch.equal(one.owner, Cluster()(s, Budget.tokens(count)).owner)


# Density peaks


def peaks(x: list[list[float]], count: int, neighbours: int) -> tuple[list[int], list[int]]:
    """Centres in order, and the nearest of them to each frame."""
    n = len(x)
    mean = sum(apart(a, b) for a in x for b in x) / n**2
    d = [[apart(a, b) / mean + 1e-3 * abs(i - j) / n for j, b in enumerate(x)]
         for i, a in enumerate(x)]  # fmt: skip
    density = []
    for i in range(n):
        near = sorted(d[i][j] for j in range(n) if j != i)[:neighbours]
        density.append(math.exp(-sum(v * v for v in near) / len(near)))
    lonely = []
    for i in range(n):
        ahead = [d[i][j] for j in range(n) if (density[j], -j) > (density[i], -i)]
        lonely.append(min(ahead) if ahead else max(map(max, d)))
    score = [p * q for p, q in zip(density, lonely, strict=True)]
    chosen = sorted(range(n), key=lambda i: -score[i])[:count]
    labels = [min(range(count), key=lambda c: d[i][chosen[c]]) for i in range(n)]
    return chosen, labels


@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_density_peaks_are_the_plain_loops(neighbours: int) -> None:
    for seed in range(4):
        x = noise(24, 3, seed=seed)
        for count in (2, 5, 9):
            chosen, labels = peaks(x.tolist(), count, neighbours)
            got = _peaks(x, count, neighbours)
            assert got.tolist() == labels
            assert got[chosen].tolist() == list(range(count))
            made = DensityPeak(neighbours=neighbours)(row(x), Budget.tokens(count))
            assert made.owner[0].tolist() == _longest_runs(labels)


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ([0, 1, 0, 0, 0, 1], [0, 0, 1, 1, 1, 1]),  # of 0 the second run is the longest
        ([0, 0, 1, 0, 1, 1], [0, 0, 0, 0, 1, 1]),  # 1's last run; the stray pair joins 0, first
        ([1, 0, 0, 1], [0, 1, 1, 1]),
        ([0, 1, 2], [0, 1, 2]),
    ],
)
def test_each_cluster_is_cut_to_its_longest_run(labels: list[int], wanted: list[int]) -> None:
    assert _longest_runs(labels) == wanted


# K-means


def means(x: list[list[float]], count: int, steps: int) -> list[int]:
    """Lloyd's steps from evenly spaced frames; an empty cluster is no part of this loop."""
    centres = [x[k * len(x) // count] for k in range(count)]
    labels = [0] * len(x)
    for _ in range(steps):
        labels = [min(range(count), key=lambda c: apart(v, centres[c])) for v in x]
        own = [[v for v, label in zip(x, labels, strict=True) if label == c] for c in range(count)]
        assert all(own)
        centres = [[sum(p) / len(o) for p in zip(*o, strict=True)] for o in own]
    return labels


def test_k_means_takes_its_steps_from_evenly_spaced_frames() -> None:
    for seed in range(3):
        x = noise(120, 2, seed=seed)
        found = [means(x.tolist(), 6, steps) for steps in (1, 2, 3, 4, 10)]
        assert [lloyd(x, 6, steps)[0].tolist() for steps in (1, 2, 3, 4, 10)] == found
        assert all(one != other for one, other in pairwise(found[:4]))
    same = (KMeans()(row(x), Budget.tokens(6)), KMeans(steps=10)(row(x), Budget.tokens(6)))
    assert torch.equal(same[0].owner, same[1].owner)
    assert not torch.equal(same[0].owner, KMeans(steps=3)(row(x), Budget.tokens(6)).owner)


# Novelty


def kept(x: list[list[float]], chunk: int, rate: int, memory: int | None, a: float) -> list[int]:
    """Frames that the paper's formula keeps."""

    def unit(v: list[float]) -> list[float]:
        norm = math.sqrt(sum(p * p for p in v))
        return [p / norm for p in v]

    def mean(vs: list[list[float]]) -> list[float]:
        return [sum(p) / len(vs) for p in zip(*vs, strict=True)]

    def new(v: list[float], m: list[float]) -> float:
        return 1 - sum(p * q for p, q in zip(v, unit(m), strict=True))

    out, past = [], []
    for start in range(0, len(x), chunk):
        z = [unit(v) for v in x[start : start + chunk]]
        now, known = mean(z), past if memory is None else past[-memory:]
        share = a if known else 0.0
        score = [
            (share * new(v, mean(known)) if known else 0.0) + (1 - share) * new(v, now) for v in z
        ]
        best = sorted(range(len(z)), key=lambda i: -score[i])[: -(-len(z) // rate)]
        out += sorted(start + i for i in best)
        past.append(now)
    return out


@pytest.mark.parametrize("memory", [1, 2, 3, None])
@pytest.mark.parametrize("past", [0.5, 1.0])
def test_novelty_is_the_papers_formula(memory: int | None, past: float) -> None:
    x = noise(58, 3, seed=4)
    made = Novelty(mode="drop", chunk=6, memory=memory, past=past)
    owner = made(row(x), Budget.rate(3)).owner[0]
    wanted = kept(x.tolist(), 6, 3, memory, past)
    assert (owner >= 0).nonzero().flatten().tolist() == wanted
    others = [kept(x.tolist(), 6, 3, other, past) for other in (1, 2, 3, None) if other != memory]
    assert wanted not in others  # this row tells the windows apart


# Hier


class Seen(nn.Module):
    """A layer that only looks who may see whom."""

    def forward(self, x: Tensor, keys: Tensor, allowed: Tensor) -> Tensor:
        """The queries as they are."""
        self.allowed = allowed
        return x


@pytest.mark.parametrize(("window", "context"), [(0.4, 0.1), (0.4, 0.0), (0.2, 0.25), (1.0, 0.2)])
def test_hier_sees_what_its_window_and_context_say(window: float, context: float) -> None:
    made = Hier(width=2, other_width=3, window=window, context=context, layers=1)
    local, reading = Seen(), Seen()
    made.local, made.reading = nn.ModuleList([local]), nn.ModuleList([reading])
    s = row(torch.ones(53, 2), 50.0)
    other = row(torch.ones(27, 3), 25.0)
    out = made(s, Budget.rate(5), Guide(other=other))
    middle = [(0.5 + t) / 50 for t in range(53)]
    start = [window * math.floor(m / window) for m in middle]
    wanted = [
        [
            (u + 1) / 25 > b - context + 1e-6 and u / 25 < b + window + context - 1e-6
            for u in range(27)
        ]
        for b in start
    ]
    assert local.allowed[0].tolist() == wanted
    tokens = [math.floor(float(a + b) / 2 / window) for a, b in zip(out.t0[0], out.t1[0])]  # noqa: B905
    near = [[abs(k - math.floor(m / window)) <= 1 for m in middle] for k in tokens]
    assert reading.allowed[0].tolist() == near


# Keyframe


@pytest.mark.parametrize(
    ("relevance", "weights", "lengths", "tokens", "sizes"),
    [
        ("novelty", None, (8, 8), 6, [4, 4, 2, 2, 2, 2]),  # the cut is in the second
        ("density", (0.1, 0.9), (8, 8), 6, [4, 4, 2, 2, 2, 2]),
        ("density", (0.9, 0.1), (8, 8), 6, [2, 2, 2, 2, 4, 4]),
        ("density", (0.3, 0.5), (8, 4), 4, [4, 4, 2, 2]),  # a mean: the sum is in the first
        ("energy", (3.0, 1.0), (8, 8), 6, [2, 2, 2, 2, 4, 4]),
        ("energy", (1.0, 3.0), (8, 8), 6, [4, 4, 2, 2, 2, 2]),
    ],
)
def test_the_relevant_segment_gets_more(
    relevance: str, weights: tuple | None, lengths: tuple, tokens: int, sizes: list[int]
) -> None:
    loud = weights if relevance == "energy" and weights else (1.0, 1.0)
    parts = [
        torch.tensor([kind]).expand(n, 2) * v
        for kind, n, v in zip((A, B), lengths, loud, strict=True)
    ]
    told = None
    if relevance == "density" and weights:
        density = [w for w, n in zip(weights, lengths, strict=True) for _ in range(n)]
        told = Guide(density=torch.tensor([density]))
    made = Keyframe(step=10.0, relevance=relevance)
    assert made(row(torch.cat(parts)), Budget.tokens(tokens), told).size.tolist() == [sizes]


# Weighted


def test_energy_is_power_not_amplitude() -> None:
    s = row([[1.0], [3.0], [2.0], [-2.0]])
    out = Weighted(by="energy")(s, Budget.rate(2))
    assert out.x.flatten().tolist() == pytest.approx([2.8, 0.0])  # (1 * 1 + 9 * 3) / 10
    found = frame_weights(row([[1.0, 3.0], [0.0, 2.0]]), "energy", None)
    assert found is not None
    assert found[0].tolist() == pytest.approx([5.0, 2.0])


# QFormer


def clock(t: float, width: int) -> list[float]:
    """Sines, then cosines, of a time in seconds; periods from a tenth of a second to 1000."""
    half = (width + 1) // 2
    angles = [2 * math.pi * t * 10 / 10 ** (4 * i / max(1, half - 1)) for i in range(half)]
    return ([math.sin(a) for a in angles] + [math.cos(a) for a in angles])[:width]


def test_queries_and_frames_are_told_the_middle_of_their_time() -> None:
    made = QFormer(width=6, queries=8, layers=2).double().eval()
    x = noise(23, 6)
    out = made(row(x, 50.0), Budget.rate(4))
    frames = torch.tensor([clock((t + 0.5) / 50, 6) for t in range(23)], dtype=torch.float64)
    ends = [min(4 * k + 4, 23) for k in range(6)]
    middles = [(4 * k + end) / 2 / 50 for k, end in enumerate(ends)]
    told = torch.tensor([clock(m, 6) for m in middles], dtype=torch.float64)
    queries, keys = (made.queries[:6] + told)[None], (x + frames)[None]
    for among, reading in zip(made.among, made.reading, strict=True):
        queries = among(queries, queries, torch.ones(1, 6, 6, dtype=torch.bool))
        queries = reading(queries, keys, torch.ones(1, 6, 23, dtype=torch.bool))
    torch.testing.assert_close(out.x, queries, rtol=1e-5, atol=1e-5)


# Rounds of pairs, as VideoChat-Flash halves its clips


def halved(frames: int, tokens: int) -> list[int]:
    """Pairs of each round: half of what is there, or as many as are too many."""
    out = []
    while frames > tokens:
        out.append(min(frames - tokens, frames // 2))
        frames -= out[-1]
    return out


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pairs that each round of `atome` has merged."""
    made: list[int] = []
    plain = merge.cheapest

    def watched(cost: Tensor, need: Tensor, share: float) -> tuple[Tensor, Tensor]:
        rank, chosen = plain(cost, need, share)
        made.append(int(chosen.sum()))
        return rank, chosen

    monkeypatch.setattr(merge, "cheapest", watched)
    return made


def listed(rounds: list[int], s: TokenStream, tokens: int) -> list[int]:
    rounds.clear()
    assert Atome()(s, Budget.tokens(tokens)).lengths.tolist() == [tokens]
    return [pairs for pairs in rounds if pairs]


def test_a_still_clip_is_halved_by_the_schedule(rounds: list[int]) -> None:
    assert halved(10, 3) == [5, 2]
    assert halved(1024, 64) == [512, 256, 128, 64]
    for frames, tokens in ((10, 3), (1024, 64), (33, 1), (7, 6)):
        still = row(torch.ones(frames, 2))
        assert listed(rounds, still, tokens) == halved(frames, tokens)


def test_an_r_list_sums_to_what_is_too_many(rounds: list[int]) -> None:
    for frames in (2, 3, 7, 16, 31):
        for tokens in range(1, frames):
            for s in (row(noise(frames, 3, seed=tokens)), row(torch.ones(frames, 2))):
                found, left = listed(rounds, s, tokens), frames
                assert sum(found) == frames - tokens
                for pairs in found:
                    assert 0 < pairs <= left // 2
                    left -= pairs
