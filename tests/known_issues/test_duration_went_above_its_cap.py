"""`duration` promises at most its cap, and gave more where rates or a shared test stood in the way.

Beyond the largest rate nothing was coarser. A budget that took no frame of any row never reached
the method, so its cap was not looked at, and a row alone came out otherwise than in a batch.
"""

import pytest
import torch

from avsr.compress import Duration
from avsr.streams import Budget, TokenStream


def frames(*lengths: int) -> TokenStream:
    x = torch.randn(len(lengths), max(lengths), 2, generator=torch.Generator().manual_seed(0))
    return TokenStream.from_features(x, torch.tensor(lengths), 50.0)


@pytest.mark.parametrize(
    ("made", "length", "budget", "tokens"),
    [
        (Duration(), 1000, Budget.tokens(4), 4),  # at rate 256; was 16 at 64
        (Duration(), 40_000, Budget.rate(4), 313),  # at rate 128; was 625 at 64
        (Duration(cap=10), 24, Budget.rate(1), 6),  # at rate 4; was 24
        (Duration(rates=[3], cap=5), 100, Budget.rate(1), 5),  # at rate 24
        (Duration(rates=[4], cap=9), 100, Budget.rate(6), 9),  # at rate 12; was 17
    ],
)
def test_no_row_is_above_the_cap(made: Duration, length: int, budget: Budget, tokens: int) -> None:
    assert made(frames(length), budget).validate().lengths.tolist() == [tokens]


def test_a_row_alone_is_the_row_of_a_batch() -> None:
    made, s = Duration(rates=[4, 16]), frames(24, 200)
    assert made(s, Budget.tokens(30)).lengths.tolist() == [6, 13]
    assert made(frames(24), Budget.tokens(30)).lengths.tolist() == [6]  # was 24


def test_what_needs_no_coarser_rate_is_left_alone() -> None:
    s = frames(24, 7)
    assert torch.equal(Duration()(s, Budget.rate(1)).owner, s.owner)
    assert (
        Duration()(frames(24).select(torch.zeros(0).long()), Budget.rate(1)).lengths.tolist() == []
    )
