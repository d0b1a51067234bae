"""Thresholds that meet a budget: how a method whose content decides is compared at equal tokens.

Data: features of clips, no texts -> for each rate the threshold at which a method makes as many
tokens as pooling does, over all clips; and, where other clips make another number, pooling at that
number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from avsr.compress import Card, Compressor, Guide, Pool, compressors
from avsr.streams import Budget, TokenStream
from avsr.views import Features

STEPS = 20  # of bisection


class Calibrated(Compressor):
    """A compressor that reads a rate as the threshold that stands for it.

    Args:
        inner: compressor of each rate.
        thresholds: of each rate.
    """

    card: ClassVar[Card] = Card(
        name="calibrated",
        paper="this bench",
        place="pre-llm",
        mechanism="similarity",
        signal="cosine",
        op="merge",
        contiguous=True,
        trainable=False,
        budgets=frozenset({"rate"}),
        meets="loosely",
        about="a threshold in place of a rate",
    )

    def __init__(self, inner: Mapping[int, Compressor], thresholds: Mapping[int, float]) -> None:
        told = next(iter(inner.values())).to_dict()
        super().__init__(method=told, thresholds={str(k): v for k, v in thresholds.items()})
        self.inner, self.thresholds = dict(inner), dict(thresholds)

    def forward(self, s: TokenStream, b: Budget, g: Guide | None = None) -> TokenStream:
        """[B, T, D] -> [B, N, D]."""
        self.check(b)
        rate = int(b.value)
        return self.inner[rate](s, Budget.threshold(self.thresholds[rate]), g)


class Even(Compressor):
    """Pooling at so many tokens a second, whatever rate is asked for.

    Args:
        speed: tokens a second of each row.
    """

    card: ClassVar[Card] = replace(
        Calibrated.card, name="even", signal="uniform", about="pooling at another's tokens"
    )

    def __init__(self, speed: float) -> None:
        super().__init__(speed=speed)
        self.pool, self.budget = Pool(), Budget.per_second(speed)

    def forward(self, s: TokenStream, b: Budget, g: Guide | None = None) -> TokenStream:
        """[B, T, D] -> [B, N, D]."""
        self.check(b)
        return self.pool(s, self.budget)


def even(stream: TokenStream, tokens: int) -> Even:
    """Pooling that makes as many tokens of a batch as another method has made of it.

    Lengths alone decide, no content: the method's own budget is what pooling is held to.

    Args:
        stream: of all clips.
        tokens: that the method made of them.
    """
    low, high = 1e-3, 2 * stream.hz
    for _ in range(STEPS):
        middle = (low + high) / 2
        made = int(stream.resolve(Budget.per_second(middle)).sum())
        low, high = (middle, high) if made <= tokens else (low, middle)
    return Even(low)


def calibrated(
    config: Mapping[str, Any], features: Features, rates: Mapping[str, Sequence[int]]
) -> dict[str, Calibrated]:
    """Thresholds of each modality.

    Args:
        config: of a compressor that takes thresholds, where a higher one gives more tokens. One
            with windows takes windows twice as long as the rate, so that it has a choice.
        features: of clips that are not those of a test.
        rates: of each modality.

    Raises:
        ValueError: the method takes no thresholds.
    """
    kind = compressors[config["name"]]
    if "threshold" not in kind.card.budgets:
        raise ValueError(f"{config['name']} takes no thresholds")
    out = {}
    for name in ("audio", "video"):
        stream = getattr(features, name)
        if stream is None:
            continue
        inner, found = {}, {}
        for rate in rates[name]:
            windows = {"window": 2 * rate} if config["name"] == "window-merge" else {}
            inner[rate] = compressors.build({**config, **windows})
            found[rate] = _threshold(inner[rate], stream, rate)
        out[name] = Calibrated(inner, found)
    return out


def _threshold(compressor: Compressor, stream: TokenStream, rate: int) -> float:
    """The highest threshold of a bisection that makes no more tokens than the rate asks for."""
    wanted = int(stream.resolve(Budget.rate(rate)).sum())
    low, high = -1.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        made = int(compressor(stream, Budget.threshold(middle)).lengths.sum())
        low, high = (middle, high) if made <= wanted else (low, middle)
    return low
