"""By default `novelty` took chunks of 16 frames: at a rate of 16 each was one token.

So its tokens were those of `pool`, and the benchmark compared pooling with itself.
"""

import pytest
import torch

from avsr.compress import Novelty, Pool
from avsr.streams import Budget, TokenStream


@pytest.mark.parametrize(
    ("hz", "rate", "frames"),
    [(25.0, 2, 16), (25.0, 5, 20), (25.0, 16, 32), (50.0, 4, 32), (50.0, 16, 32)],
)
def test_a_chunk_has_two_tokens_at_least(hz: float, rate: int, frames: int) -> None:
    budget = Budget.rate(rate)
    assert Novelty().chunk_at(budget, hz) == frames
    x = torch.randn(1, 64, 4, generator=torch.Generator().manual_seed(0))
    stream = TokenStream.from_features(x, torch.tensor([64]), hz)
    assert not torch.equal(Novelty()(stream, budget).owner, Pool()(stream, budget).owner)
