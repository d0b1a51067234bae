"""(1 - 0.95) / 2 is 0.025000000000000022: the lower end was the 126th of 5000 draws, not the 125th.

An order statistic is chosen by a share; a share that is a hair too large chooses the next one.
"""

import numpy as np
import pytest

from avsr import bootstrap


@pytest.mark.parametrize(
    ("draws", "level", "low", "high"),
    [(5000, 0.95, 125, 4875), (10_000, 0.95, 250, 9750), (1000, 0.9, 50, 950), (200, 0.8, 20, 180)],
)
def test_the_ends_are_the_order_statistics_that_the_level_names(draws, level, low, high):
    found = bootstrap._percentiles(np.arange(1.0, draws + 1), level, draws, 0)
    assert (found.low, found.high) == (low, high)


def test_the_fault_is_a_fault():
    """Unrounded, the share chooses the neighbour: without this the test above could not fail."""
    values = np.arange(1.0, 5001)
    assert np.quantile(values, (1 - 0.95) / 2, method="inverted_cdf") == 126


def test_an_interval_is_of_edits_that_need_not_be_whole():
    halves = bootstrap.interval([0.5, 1.5, 0.0], [2, 3, 4], samples=400)
    whole = bootstrap.interval([1, 3, 0], [2, 3, 4], samples=400)
    assert halves.low == pytest.approx(whole.low / 2)
    assert halves.high == pytest.approx(whole.high / 2)
    assert halves.high > 0
