"""How alike two sets of routed tokens are: top-k Jaccard, Jensen-Shannon, effective experts.

Data: chosen experts and gates [L, N, K] of two token sets, and which tokens share time -> [L].
Dimension letter of its own: L layers. Divergences are in bits, so they lie in 0 to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Choices:
    """What the routers of all layers chose for some tokens.

    Args:
        index: [L, N, K] routed experts.
        weight: [L, N, K] their gates.
    """

    index: Tensor
    weight: Tensor

    @property
    def tokens(self) -> int:
        """Number of tokens N."""
        return self.index.shape[1]

    def hits(self, routed: int) -> Tensor:
        """[L, N, E], 1 at the chosen experts."""
        return self._spread(torch.ones_like(self.weight), routed)

    def gates(self, routed: int) -> Tensor:
        """[L, N, E], the gates of the chosen experts and 0 elsewhere."""
        return self._spread(self.weight, routed)

    def _spread(self, values: Tensor, routed: int) -> Tensor:
        empty = torch.zeros(*self.index.shape[:2], routed, dtype=values.dtype)
        return empty.scatter(2, self.index, values)


@dataclass(frozen=True)
class Agreement:
    """How alike two token sets are in each layer.

    Args:
        jaccard: [L] top-k Jaccard of tokens that belong together, None where nothing says which do.
        shannon: [L] Jensen-Shannon divergence of their gates, likewise.
        any_jaccard: [L] the same of any two tokens, whatever their time: what a comparison must
            beat to say something about time.
        any_shannon: [L] likewise.
    """

    jaccard: Tensor | None
    shannon: Tensor | None
    any_jaccard: Tensor
    any_shannon: Tensor


def compare(first: Choices, second: Choices, routed: int, together: Tensor | None) -> Agreement:
    """Compare two token sets, neither empty.

    Args:
        first: N tokens.
        second: M tokens.
        routed: number of routed experts E.
        together: [N, M] weight of each pair of tokens, as seconds that both stand for; None, or
            all zero, where no pair belongs together.
    """
    likeness = jaccard(first.hits(routed), second.hits(routed))
    distance = jensen_shannon(first.gates(routed), second.gates(routed))
    paired = None if together is None or not bool(together.any()) else together / together.sum()
    return Agreement(
        jaccard=None if paired is None else (likeness * paired).sum((1, 2)),
        shannon=None if paired is None else (distance * paired).sum((1, 2)),
        any_jaccard=likeness.mean((1, 2)),
        any_shannon=distance.mean((1, 2)),
    )


def overlap(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """Seconds that each pair of tokens shares.

    Args:
        first: start and end of N tokens.
        second: start and end of M tokens.

    Returns:
        [N, M], not negative; rounding errors of touching tokens count as nothing.
    """
    start = torch.maximum(first[0][:, None], second[0])
    shared = torch.minimum(first[1][:, None], second[1]) - start
    return torch.where(shared > 1e-4, shared, 0.0)


def jaccard(first: Tensor, second: Tensor) -> Tensor:
    """Share of experts in common among those that either token chose: [L, N, E], [L, M, E].

    Returns:
        [L, N, M].
    """
    both = first @ second.mT
    return both / (first.sum(-1)[:, :, None] + second.sum(-1)[:, None] - both)


def jensen_shannon(first: Tensor, second: Tensor) -> Tensor:
    """Jensen-Shannon divergence in bits of every two distributions: [L, N, E], [L, M, E].

    Args:
        first: not negative; each row is made to sum to 1.
        second: likewise.

    Returns:
        [L, N, M], 0 for equal distributions and 1 for disjoint ones.
    """
    p, q = (x / x.sum(-1, keepdim=True) for x in (first, second))
    apart = (entropy(p)[:, :, None] + entropy(q)[:, None]) / 2
    mixed = [entropy((a[:, None] + b) / 2) for a, b in zip(p, q, strict=True)]  # layer by layer
    return ((torch.stack(mixed) - apart) / math.log(2)).clamp(min=0)


def entropy(p: Tensor) -> Tensor:
    """Natural entropy over the last axis."""
    return -torch.xlogy(p, p).sum(-1)


def effective(load: Tensor) -> Tensor:
    """Effective number of experts: exp of the entropy of the load [..., E], made to sum to 1.

    E at perfect balance; K when every token takes the same K with equal weight (collapse).
    """
    return entropy(load / load.sum(-1, keepdim=True)).exp()


def top_share(load: Tensor, top_k: int) -> Tensor:
    """Share of the load [..., E] that the K busiest experts carry: 1 is collapse, K/E balance."""
    return load.topk(top_k, dim=-1).values.sum(-1) / load.sum(-1)


def chance(routed: int, top_k: int) -> float:
    """Expected Jaccard of two independent uniform choices of K out of E experts."""
    total = math.comb(routed, top_k)
    return sum(
        math.comb(top_k, common)
        * math.comb(routed - top_k, top_k - common)
        / total
        # so many ways to meet `common` of the other's experts
        * common
        / (2 * top_k - common)
        for common in range(top_k + 1)
    )
