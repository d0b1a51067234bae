"""Clustering: Ward linkage of neighbours, and two references that look at the whole row.

Data: TokenStream [B, T, D], Budget -> [B, N, D]. Cluster and aggregate: arXiv 2504.17892.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from avsr.compress.base import Card, Guide, Meets, compressors
from avsr.compress.cosine import levelled
from avsr.compress.density import Weighting, frame_weights
from avsr.compress.plans import Grouping, from_starts, plain
from avsr.compress.ward import vanishing
from avsr.streams import Budget, TokenStream


@compressors.register("cluster")
class Cluster(Grouping):
    """Ward linkage that only joins neighbours in time; one dendrogram serves every budget.

    Args:
        weights: "none", or what `density.frame_weights` knows: tokens are then weighted means, and
            heavy frames decide where they end.
        share: of the candidates that a round merges; less is nearer to one merge at a time.
        max_span: frames of the longest token; it outranks the budget. None for no limit.

    Raises:
        ValueError: a share outside (0, 1], or a span below 2.
    """

    card: ClassVar[Card] = Card(
        name="cluster",
        paper="arXiv 2504.17892, by neighbours",
        place="pre-llm",
        mechanism="similarity",
        signal="distance",
        op="merge",
        contiguous=True,
        trainable=False,
        budgets=frozenset({"rate", "keep", "tokens", "per_second"}),
        nested=True,
        about="Ward linkage of neighbours",
    )

    def __init__(
        self,
        *,
        weights: Weighting = "none",
        share: float = 0.5,
        max_span: int | None = None,
    ) -> None:
        if not 0 < share <= 1 or (max_span is not None and max_span < 2):
            raise ValueError(f"share={share}, max_span={max_span} make no linkage")
        super().__init__(weights=weights, share=share, max_span=max_span)
        frame_weights(None, weights, None)  # refuses an unknown one
        self.by, self.share, self.max_span = weights, share, max_span

    @property
    def meets(self) -> Meets:
        """Exactly, unless a longest span outranks the budget."""
        return "exactly" if self.max_span is None else "loosely"

    @property
    def reads(self) -> frozenset[str]:
        """A density, if frames are weighed by one."""
        return frozenset({"density"} if self.by == "density" else ())

    def plan(self, s: TokenStream, b: Budget, g: Guide | None) -> Tensor:
        """As `plans`, for one budget."""
        return self.plans(s, [b], g)[0]

    def plans(self, s: TokenStream, budgets: Sequence[Budget], g: Guide | None) -> list[Tensor]:
        """One dendrogram, cut at each budget."""
        counts = [s.resolve(b) for b in budgets]
        own = frame_weights(s, self.by, g)
        order = vanishing(
            levelled(plain(s)),
            s.size if own is None else s.size * levelled(own),
            s.lengths,
            torch.stack(counts).amin(0),
            span=s.size,
            share=self.share,
            max_span=self.max_span,
        )
        return [from_starts(order >= (s.lengths - count)[:, None]) for count in counts]

    def weights(self, s: TokenStream, plan: Tensor, g: Guide | None) -> Tensor | None:
        """The weights that the linkage saw."""
        return frame_weights(s, self.by, g)


class _RowByRow(Grouping):
    """A reference, not made for speed: each row is grouped by itself."""

    def row(self, x: Tensor, count: int, t0: Tensor, t1: Tensor) -> Tensor:
        """Output token of each frame [T] of one row.

        Args:
            x: its frames [T, D].
            count: tokens to make.
            t0: where frames of the row begin, padding included, s.
            t1: where they end.
        """
        raise NotImplementedError

    def plan(self, s: TokenStream, b: Budget, g: Guide | None) -> Tensor:
        """Row by row."""
        x, out = levelled(plain(s)), torch.zeros_like(s.mask, dtype=torch.long)
        pairs = zip(s.lengths.tolist(), s.resolve(b).tolist(), strict=True)
        for row, (length, count) in enumerate(pairs):
            if length:
                out[row, :length] = self.row(x[row, :length], count, s.t0[row], s.t1[row])
        return out


@compressors.register("density-peak")
class DensityPeak(_RowByRow):
    """Density peaks with nearest neighbours (DPC-KNN), each cluster cut to its longest run.

    Centres are the frames with the most density times distance to a denser one. Distances count in
    the row's mean distance, and a little in time, so that loudness and chance decide nothing.
    Pieces cut off join the longer of the runs beside them, as in PruneVid.

    Args:
        neighbours: frames whose distance makes the density.
    """

    card: ClassVar[Card] = Card(
        name="density-peak",
        paper="DPC-KNN, as in PruneVid",
        place="pre-llm",
        mechanism="similarity",
        signal="distance",
        op="merge",
        contiguous=True,
        trainable=False,
        budgets=frozenset({"rate", "keep", "tokens", "per_second"}),
        about="density peaks, longest runs",
    )

    def __init__(self, *, neighbours: int = 5) -> None:
        if neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, got {neighbours}")
        super().__init__(neighbours=neighbours)
        self.neighbours = neighbours

    def row(self, x: Tensor, count: int, t0: Tensor, t1: Tensor) -> Tensor:
        """Longest runs of the clusters around the peaks."""
        labels = _peaks(x, count, self.neighbours)
        return torch.tensor(_longest_runs(labels.tolist()), device=x.device)


@compressors.register("k-means")
class KMeans(_RowByRow):
    """Global k-means, the reference point of the paper: order in time is lost inside a token.

    Starts from evenly spaced frames; an empty cluster takes the frame farthest from its centre.

    Args:
        steps: of Lloyd's algorithm.
    """

    card: ClassVar[Card] = Card(
        name="k-means",
        paper="arXiv 2504.17892",
        place="pre-llm",
        mechanism="similarity",
        signal="distance",
        op="merge",
        contiguous=False,
        trainable=False,
        budgets=frozenset({"rate", "keep", "tokens", "per_second"}),
        about="global clusters, by the middle of their time",
    )

    def __init__(self, *, steps: int = 10) -> None:
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        super().__init__(steps=steps)
        self.steps = steps

    def row(self, x: Tensor, count: int, t0: Tensor, t1: Tensor) -> Tensor:
        """Clusters by the middle of the time they span."""
        return _by_time(lloyd(x, count, self.steps)[0], count, t0, t1)


def lloyd(x: Tensor, count: int, steps: int) -> tuple[Tensor, list[float]]:
    """K-means of one row.

    Args:
        x: tokens [T, D].
        count: clusters, at most T.
        steps: of assignment and averaging.

    Returns:
        Cluster of each token [T], and the squared error after each step, which never rises.
    """
    centres = x[torch.arange(count, device=x.device) * len(x) // count]
    labels, errors = x.new_zeros(len(x), dtype=torch.long), []
    for _ in range(steps):
        far, labels = _distances(x, centres).min(1)
        sizes = torch.bincount(labels, minlength=count)
        while bool((sizes == 0).any()):
            spare = int(far.masked_fill(sizes[labels] < 2, -1.0).argmax())
            labels[spare], far[spare] = int((sizes == 0).int().argmax()), 0.0
            sizes = torch.bincount(labels, minlength=count)
        centres = torch.zeros_like(centres).index_add(0, labels, x) / sizes[:, None]
        errors.append(float((x - centres[labels]).square().sum()))
    return labels, errors


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """[N, D], [M, D] -> [N, M]; by differences: equal frames are at distance nought exactly."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _by_time(labels: Tensor, count: int, t0: Tensor, t1: Tensor) -> Tensor:
    """Clusters renumbered by the middle of the time they span, the wider one first."""
    ends = [(t0, "amin"), (t1, "amax")]
    first, last = (
        t0.new_zeros(count).scatter_reduce(0, labels, t[: len(labels)], how, include_self=False)
        for t, how in ends
    )
    by_start = torch.argsort(first, stable=True)
    order = by_start[torch.argsort((first + last)[by_start], stable=True)]
    number = torch.empty_like(order)
    number[order] = torch.arange(count, device=order.device)
    return number[labels]


def _peaks(x: Tensor, count: int, neighbours: int) -> Tensor:
    """Cluster of each token [T] around the `count` highest density peaks."""
    length = len(x)
    apart = _distances(x, x)
    apart = apart / apart.mean().clamp(min=torch.finfo(x.dtype).tiny)
    place = torch.arange(length, device=x.device)
    apart = apart + 1e-3 * (place[:, None] - place).abs() / length  # equal frames by their time
    near = apart.sort(1).values[:, 1 : 1 + min(neighbours, length - 1)]
    density = torch.exp(-near.square().mean(1)) if length > 1 else x.new_ones(1)
    ahead = density[None] > density[:, None]
    ahead |= (density[None] == density[:, None]) & (place[None] < place[:, None])
    lonely = apart.masked_fill(~ahead, float("inf")).min(1).values
    lonely = torch.where(lonely.isinf(), apart.max(), lonely)
    chosen = torch.argsort(-(density * lonely), stable=True)[:count]
    labels = apart[:, chosen].argmin(1)
    labels[chosen] = torch.arange(count, device=x.device)  # also where two centres are equal
    return labels


def _longest_runs(labels: Sequence[int]) -> list[int]:
    """Labels in which each cluster is its longest run; the other pieces join a neighbour."""
    runs: list[list[int]] = []  # [label, start, stop]
    for place, label in enumerate(labels):
        if runs and runs[-1][0] == label:
            runs[-1][2] = place + 1
        else:
            runs.append([label, place, place + 1])
    best: dict[int, list[int]] = {}
    for run in runs:
        if run[0] not in best or run[2] - run[1] > best[run[0]][2] - best[run[0]][1]:
            best[run[0]] = run
    kept = sorted(best.values(), key=lambda run: run[1])
    out = [0] * len(labels)
    starts = [0]
    for before, after in pairwise(kept):
        longer = before[2] - before[1] >= after[2] - after[1]
        starts.append(after[1] if longer else before[2])
    for number, start in enumerate(starts):
        stop = starts[number + 1] if number + 1 < len(starts) else len(labels)
        out[start:stop] = [number] * (stop - start)
    return out
