"""A rate beyond the length of a row took memory for all the frames that were not there.

22 GB at a rate of 3e9, for one token: pooling and windows were padded to whole ones. Beyond 2^63 a
rate overflowed. `stack` alone is as wide as its rate: what no projector could read is refused.
"""

import pytest
import torch

from avsr.compress import compressors, merge
from avsr.compress.windows import concat
from avsr.errors import ConfigError
from avsr.streams import Budget, TokenStream
from tests.avsr.compress.cases import CONFIGS, LAWLESS, Case, guide, stream

RATES = (1e12, 1e12 + 39, 2.0**62, 1e300)  # the second is a prime
KNOWN = [
    Case(config, Budget.rate(4))
    for config in CONFIGS
    if config["name"] not in ("stack", "conv", "none")  # conv has kernels of known rates
    and "rate" in compressors[config["name"]].card.budgets
]
LENGTHS = [20, 9, 0, 1]


@pytest.mark.parametrize("case", KNOWN, ids=str)
def test_such_a_rate_gives_one_token(case: Case) -> None:
    s = stream(torch.ones(4, 20, 5), LENGTHS)
    wanted = [0] * 4 if case.config in LAWLESS else [1, 1, 0, 1]
    for rate in RATES:
        budget = Budget.rate(rate)
        out = case.run(s, budget).validate()
        assert out.lengths.tolist() == wanted
        if "rate" in case.card.streams:
            streamer = case.compressor.stream(budget)
            whole = concat([streamer.step(s, guide(s)), streamer.flush()])
            torch.testing.assert_close(whole.x, out.x)


@pytest.mark.parametrize("rate", RATES)
def test_a_stack_as_wide_as_no_projector_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match=r"frames side by side, .* numbers at a width of 5"):
        compressors.build({"name": "stack"})(
            stream(torch.ones(4, 20, 5), LENGTHS), Budget.rate(rate)
        )


@pytest.mark.parametrize("rate", [7, 32, 1009, 1e12 + 39])
def test_pooling_beyond_the_end_adds_in_the_order_of_its_nested_rates(rate: float) -> None:
    s = stream(torch.randn(2, 23, 3, generator=torch.Generator().manual_seed(0)), [23, 12])
    pool = compressors.build({"name": "pool"})
    direct = pool(s, Budget.rate(4 * rate))
    nested = pool(pool(s, Budget.rate(4)), Budget.rate(rate))
    assert torch.equal(direct.x, nested.x)
    torch.testing.assert_close(direct.x[0, 0], s.x[0].mean(0))
    assert torch.equal(direct.x, pool.multi(s, [Budget.rate(4), Budget.rate(4 * rate)])[1].x)


def test_pairs_of_a_long_window_are_not_all_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.ones(1, 200, 4)
    x[0, 199] = -1.0
    s = TokenStream.from_features(x, torch.tensor([200]), 50.0)
    held, plain = [], merge.cosine

    def seen(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        held.append((a * b).numel())
        return plain(a, b)

    monkeypatch.setattr(merge, "cosine", seen)
    made = compressors.build({"name": "window-merge"})
    assert made(s, Budget.rate(200)).lengths.tolist() == [200]
    assert made(s, Budget.rate(199)).lengths.tolist() == [2]
    assert max(held) < x.numel()
