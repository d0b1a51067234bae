"""At a rate of 2.5 a plain call of `stack` failed as if it had been asked to stream."""

import pytest
import torch

from avsr.compress import Conv, NotCausalError, compressors
from avsr.errors import ConfigError
from avsr.streams import Budget, TokenStream

RATE = Budget.rate(2.5)
WHOLE = ["stack", "novelty", "window-merge", "duration"]


@pytest.mark.parametrize("name", [*WHOLE, "conv"])
def test_a_rate_that_is_not_whole_is_a_matter_of_the_budget(name: str) -> None:
    made = Conv(width=1, rates=[2]) if name == "conv" else compressors.build({"name": name})
    s = TokenStream.from_features(torch.ones(1, 6, 1), torch.tensor([6]), 50.0)
    with pytest.raises(ConfigError, match=r"no whole windows at rate 2\.5") as caught:
        made(s, RATE)
    assert not isinstance(caught.value, NotCausalError)
    assert "whole number" in str(caught.value)


@pytest.mark.parametrize("name", ["pool", "stack", "stride", "weighted", "novelty", "window-merge"])
def test_on_a_live_stream_it_is_one_of_causality(name: str) -> None:
    with pytest.raises(NotCausalError, match=r"no whole windows at rate 2\.5"):
        compressors.build({"name": name}).stream(RATE)
