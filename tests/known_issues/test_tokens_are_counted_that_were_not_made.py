"""A transcript told of tokens that the model never read.

The counts of a transcript came from the budget wherever a compressor's card said that it meets it.
`omni-avsr` (pooling that drops the tail) makes one token less, a longest span of `cluster` and a
longest gap of `novelty` make more: counts, tokens a second and the prompt's length were wrong, and
the warning that a budget was missed did not come. Since then a compressor says whether it meets its
budget as it is set up.
"""

import pytest
import torch

from avsr.compress.pair import parse, token_counts
from avsr.compress.presets import build_compressor
from avsr.rates import Rates
from avsr.streams import Budget, TokenStream


@pytest.mark.parametrize(
    "text",
    ["omni-avsr", "cluster,max_span=3", "novelty,mode=drop,max_gap=2", "novelty", "cluster"],
)
def test_tokens_are_those_that_were_made(text: str) -> None:
    x = torch.randn(2, 42, 4, generator=torch.Generator().manual_seed(0))
    sound = TokenStream.from_features(x, torch.tensor([42, 19]), 50.0)
    made = build_compressor(parse(text), width=4, other_width=4, rates=(8,))
    pair = torch.nn.ModuleDict({"audio": made, "video": made})
    counts = token_counts(pair, sound, None, [Rates(8, None)] * 2)
    found = made(sound, Budget.rate(8)).lengths.tolist()
    assert [row["audio"] for row in counts] == found
    assert (found == [6, 3]) == (made.meets == "exactly")
