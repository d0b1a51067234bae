"""Every registered compressor with each budget that it takes, and tiny random streams.

A new compressor is in CONFIGS as soon as it is registered; all else follows from its card.
"""

import inspect
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
import torch

from avsr.compress import Card, Compressor, Guide, compressors
from avsr.compress.windows import cut
from avsr.streams import Budget, TokenStream

HZ = 50.0
LENGTHS = [23, 16, 0, 1, 7, 24]
ALL = {
    "rate": Budget.rate(4),
    "keep": Budget.keep(0.3),
    "tokens": Budget.tokens(5),
    "per_second": Budget.per_second(12.5),
    "threshold": Budget.threshold(0.5),
}
BUILT: dict[tuple[str, int], Compressor] = {}
OTHER = 3  # width of the other modality
RATES = (1, 2, 3, 4, 5, 8, 10, 16)
LAWLESS = ({"name": "pool", "tail": "drop"},)  # loses frames on purpose, for others' checkpoints


@dataclass(frozen=True)
class Case:
    config: dict[str, Any]
    budget: Budget

    @property
    def compressor(self) -> Compressor:
        return self.build()

    def build(self, width: int = 5) -> Compressor:
        """The compressor for tokens of a width, with parameters of no special values."""
        key = (str(self.config), width)  # none keeps anything between calls
        return BUILT[key] if key in BUILT else BUILT.setdefault(key, self._build(width))

    def _build(self, width: int) -> Compressor:
        sizes = {"width": width, "other_width": OTHER, "rates": RATES}
        known = inspect.signature(compressors[self.config["name"]]).parameters
        filled = {k: v for k, v in sizes.items() if k in known} | self.config
        made = compressors.build(filled)
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.normal_(0.0, 0.3, generator=generator)
        return made.eval()

    def run(self, s: TokenStream, budget: Budget | None = None) -> TokenStream:
        """The stream at the case's budget or another."""
        made = self.build(s.x.shape[-1])
        return made(s, self.budget if budget is None else budget, guide(s))

    @property
    def card(self) -> Card:
        return compressors[self.config["name"]].card

    def __str__(self) -> str:
        """Name in the list of tests."""
        words = [*map(str, self.config.values()), f"{self.budget.kind}{self.budget.value:g}"]
        return "-".join(words)


CONFIGS: tuple[dict[str, Any], ...] = (
    {"name": "pool"},
    {"name": "stack"},
    {"name": "stack", "tail": "zero"},
    *LAWLESS,
    {"name": "none"},
    {"name": "stride"},
    {"name": "random"},
    {"name": "weighted"},
    {"name": "atome"},
    {"name": "affinity"},
    {"name": "window-merge"},
    {"name": "cluster"},
    {"name": "density-peak"},
    {"name": "k-means"},
    {"name": "keyframe"},
    {"name": "novelty", "chunk": 4},
    {"name": "duration"},
    {"name": "select"},
    {"name": "conv"},
    {"name": "guided"},
    {"name": "hier"},
    {"name": "qformer"},
    {"name": "cif"},
)
CONFIGS += tuple({"name": n} for n in compressors if n not in {c["name"] for c in CONFIGS})
VARIANTS: tuple[dict[str, Any], ...] = (  # other settings of these, under the laws they may break
    {"name": "random", "seed": 3},
    {"name": "weighted", "by": "density"},
    {"name": "atome", "clip": 3},
    {"name": "affinity", "window": 3, "max_span": 5},
    {"name": "affinity", "link": "mean", "weights": "inverse"},
    {"name": "affinity", "weights": "energy"},
    {"name": "affinity", "weights": "density"},
    {"name": "cluster", "weights": "energy"},
    {"name": "keyframe", "relevance": "density"},
    {"name": "select", "by": "pivot"},
    {"name": "keyframe", "least": 0.04, "most": 0.1, "step": 0.04},
    {"name": "novelty", "chunk": 4, "memory": None, "past": 0.9},
    {"name": "novelty", "chunk": 4, "mode": "drop", "max_gap": 2},
    {"name": "duration", "rates": [2, 3], "cap": 4},
    {"name": "guided", "nested": "yes"},
    {"name": "guided", "guide": "density"},
)


def plain_means(case: Case) -> bool:
    """Whether tokens are unweighted means of frames."""
    plain = case.card.op == "merge" and not case.card.trainable
    return plain and case.config.get("weights") in (None, "none", "mean")


BUDGETS = [
    Case(config, budget)
    for config in (*CONFIGS, *VARIANTS)
    for kind, budget in ALL.items()
    if kind in compressors[config["name"]].card.budgets
    and (kind == "rate" or config not in LAWLESS)
]
MAIN = ("rate", "threshold")  # the other kinds only count differently
ALIKE = [case for case in BUDGETS if case.budget.kind in MAIN]
CASES = [case for case in ALIKE if case.config not in VARIANTS]
LAWFUL = [case for case in CASES if case.config not in LAWLESS]
CAUSAL = [
    replace(case, budget=Budget.threshold(1.0)) if case.card.name == "cif" else case
    for case in ALIKE
    if case.budget.kind in case.card.streams
    and case.config.get("nested") != "yes"
    and case.config.get("weights") != "density"  # refused, and tested on its own
]  # a frame may fill one token of a cif, not two
variants = pytest.mark.parametrize("case", ALIKE, ids=str)
every = pytest.mark.parametrize("case", CASES, ids=str)
lawful = pytest.mark.parametrize("case", LAWFUL, ids=str)
causal = pytest.mark.parametrize("case", CAUSAL, ids=str)
merging = pytest.mark.parametrize("case", [c for c in CASES if plain_means(c)], ids=str)


def frames(
    rows: int = len(LENGTHS), count: int = 24, width: int = 5, seed: int = 0
) -> torch.Tensor:
    return torch.randn(rows, count, width, generator=torch.Generator().manual_seed(seed))


def stream(x: torch.Tensor | None = None, lengths: list[int] | None = None) -> TokenStream:
    lengths = LENGTHS if lengths is None else lengths
    x = frames(len(lengths)) if x is None else x
    return TokenStream.from_features(x, torch.tensor(lengths), HZ)


def guide(s: TokenStream) -> Guide:
    """The other modality at half the frames, and a density, of each row by itself alone."""
    lengths = (s.size.sum(1) + 1) // 2
    count = int(lengths.max()) if len(lengths) else 0
    place = torch.arange(count * OTHER, dtype=torch.float32).reshape(1, count, OTHER)
    other = TokenStream.from_features(place.sin().expand(len(lengths), -1, -1), lengths, HZ / 2)
    density = (1 + torch.arange(s.mask.shape[1]) % 3).expand(s.mask.shape) / 3
    return Guide(other=other, density=density)


def guided_chunks(s: TokenStream, by: int) -> list[tuple[TokenStream, Guide]]:
    """The stream and its guide in pieces; rows end at their own places.

    Frames of the other modality come in the piece in which they end, the last ones at the end.
    """
    whole, out, given = guide(s), [], torch.zeros_like(s.lengths)
    other, density = whole.other, whole.density
    assert other is not None
    assert density is not None
    cuts = range(0, s.x.shape[1], by)
    for i in cuts:
        x = s.x[:, i : i + by]
        piece = TokenStream.from_features(x, (s.lengths - i).clamp(0, x.shape[1]), HZ, i / HZ)
        ended = ((other.t1 <= (i + x.shape[1]) / HZ + 1e-6) & other.mask).sum(1)
        until = other.lengths if i == cuts[-1] else ended
        part = Guide(other=cut(other, given, until), density=density[:, i : i + by])
        out.append((piece, part))
        given = until
    return out


def symbols() -> torch.Tensor:
    """Frames [6, 24, 5] of runs of one-hot symbols, for rows of LENGTHS."""
    runs = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 0, 3, 3, 3, 4, 4, 1, 1, 1, 0, 0, 2, 2, 4, 4])
    rows = torch.stack([runs.roll(row) for row in range(len(LENGTHS))])
    return torch.nn.functional.one_hot(rows, 5).float() * torch.tensor([1.0, 2, 1, 3, 1])


def assert_same(case: Case, a: TokenStream, b: TokenStream) -> None:
    """Bit for bit, but for rounding in learned layers, whose kernels know the batch."""
    if not case.card.trainable:
        return assert_equal(a, b)
    torch.testing.assert_close(a.x, b.x, rtol=1e-4, atol=1e-5)
    assert_equal(a.replace(x=b.x), b.replace(x=b.x))


def off(case: Case) -> dict[str, float]:
    """How far results may differ: not at all, but for kernels that know the batch."""
    return {"rtol": 1e-4, "atol": 1e-5} if case.card.trainable else {"rtol": 0.0, "atol": 0.0}


def assert_equal(a: TokenStream, b: TokenStream) -> None:
    """Bit for bit, each field."""
    for f in fields(TokenStream):
        one, other = getattr(a, f.name), getattr(b, f.name)
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other, f.name
