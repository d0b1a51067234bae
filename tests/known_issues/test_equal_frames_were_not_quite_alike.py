"""Equal frames had a cosine of 0.9999999, and at a threshold of 1 some of them were not merged.

Which ones depended on the rounding of their norms. Zeros were alike but for the mean link.
"""

from typing import Any

import pytest
import torch

from avsr.compress import compressors
from avsr.compress.cosine import cosine, cosines, unit
from avsr.compress.windows import concat
from avsr.streams import Budget, TokenStream

ALIKE: list[tuple[dict[str, Any], list[int]]] = [  # sizes of 41 and 23 equal frames
    ({"name": "affinity"}, [41, 23]),
    ({"name": "affinity", "window": 3}, [41, 23]),
    ({"name": "affinity", "link": "mean"}, [41, 23]),
    ({"name": "atome"}, [41, 23]),
    ({"name": "window-merge", "window": 41}, [41, 23]),
    ({"name": "keyframe", "most": 9.0, "step": 9.0, "coarse": 99.0}, [41, 23]),
]


def still(width: int, seed: int, *, loud: bool) -> TokenStream:
    x = torch.randn(2, 1, width, generator=torch.Generator().manual_seed(seed))
    if loud:  # one channel drowns the others, as in towers
        x = x.exp()
        x[..., 0] *= 1000
    return TokenStream.from_features(x.expand(2, 41, width), torch.tensor([41, 23]), 50.0)


@pytest.mark.parametrize(("config", "sizes"), ALIKE, ids=str)
@pytest.mark.parametrize("width", [3, 5, 256, 1024])
def test_they_are_one_token_at_a_threshold_of_one(
    config: dict[str, Any], sizes: list[int], width: int
) -> None:
    made, budget = compressors.build(config), Budget.threshold(1.0)
    for seed in range(6):
        s = still(width, seed, loud=seed % 2 == 1)
        assert made(s, budget).size.tolist() == [[n] for n in sizes]
        for row, size in enumerate(sizes):
            assert made(s.select([row]).trim(), budget).size.tolist() == [[size]]
        if "threshold" in made.card.streams:
            streamer = made.stream(budget)
            chunks = [(start, min(start + 7, 41)) for start in range(0, 41, 7)]
            parts = [
                streamer.step(
                    TokenStream.from_features(
                        s.x[:, a:b], (s.lengths - a).clamp(0, b - a), 50.0, a / 50
                    )
                )
                for a, b in chunks
            ]
            assert concat([*parts, streamer.flush()]).size.tolist() == [[n] for n in sizes]


def test_a_frame_and_its_double_are_alike_however_loud_one_channel_is() -> None:
    x = torch.randn(1000, 2048, generator=torch.Generator().manual_seed(0)).exp()
    x[:, 0] *= 1000
    for other in (x, 2 * x, (x + x + x) / 3):
        assert (cosine(unit(x), unit(other)) == 1).all()
        assert (cosines(unit(x[:50]), unit(other[:50])).diagonal() == 1).all()


def test_a_long_still_part_does_not_drift_from_its_mean() -> None:
    x = torch.randn(4, 1, 3, generator=torch.Generator().manual_seed(0)).expand(4, 1200, 3)
    s = TokenStream.from_features(x, torch.tensor([1200] * 4), 50.0)
    made = compressors.build({"name": "affinity", "link": "mean"})
    assert made(s, Budget.threshold(1.0)).lengths.tolist() == [1] * 4


@pytest.mark.parametrize("link", ["any", "mean"])
def test_silence_is_one_token_too(link: str) -> None:
    x = torch.zeros(1, 9, 4)
    x[:, 4:6] = 1.0
    s = TokenStream.from_features(x, torch.tensor([9]), 50.0)
    made = compressors.build({"name": "affinity", "link": link})
    assert made(s, Budget.threshold(0.9)).size.tolist() == [[4, 2, 3]]
