"""`atome` with clips said that it meets its budget to the token; each clip keeps one at least.

Seen as 7 tokens of 100 frames in clips of 16 at a budget of 2; `token_counts` believed the card.
"""

import torch

from avsr.compress import Atome
from avsr.streams import Budget, TokenStream


def test_it_says_that_it_meets_a_budget_loosely() -> None:
    x = torch.randn(1, 100, 4, generator=torch.Generator().manual_seed(0))
    s = TokenStream.from_features(x, torch.tensor([100]), 50.0)
    assert Atome(clip=16)(s, Budget.tokens(2)).lengths.tolist() == [7]
    assert Atome(clip=16).meets == "loosely"
    assert Atome().meets == "exactly"
    assert Atome()(s, Budget.tokens(2)).lengths.tolist() == [2]
