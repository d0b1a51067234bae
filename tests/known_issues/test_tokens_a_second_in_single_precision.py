"""A stream counted tokens a second in float32 and gave one more than the budget itself.

Seen at 29.97 frames a second, and after a first cut by 3, where 50 / 3 is no float32.
"""

import torch

from avsr.compress import Pool
from avsr.streams import Budget, TokenStream


def stream(frames: int, hz: float) -> TokenStream:
    return TokenStream.from_features(torch.zeros(1, frames, 1), torch.tensor([frames]), hz)


def test_a_stream_and_a_budget_agree() -> None:
    budget = Budget.per_second(3.7)
    assert stream(162, 29.97).resolve(budget).tolist() == [20]  # was 21
    for frames in range(1, 400):
        alone = budget.resolve(torch.tensor([frames]), 29.97)
        assert torch.equal(stream(frames, 29.97).resolve(budget), alone), frames


def test_a_stream_that_was_cut_before_counts_seconds_as_before() -> None:
    cut = Pool()(stream(108, 50.0), Budget.rate(3))
    assert cut.resolve(Budget.per_second(12.5)).tolist() == [27]  # 2.16 s; was 28
