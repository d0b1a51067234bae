"""D10: batches were the same in every epoch: `shuffle` was never passed, and would have crashed.

Seen in auto_avsr's data module, which used `random.sample` without importing it.
"""

import numpy as np

from avsr.train.sampler import BucketSampler


def test_order_and_membership_change_from_epoch_to_epoch():
    durations = np.random.default_rng(0).uniform(1, 9, 200).tolist()
    sampler = BucketSampler(durations, batch_seconds=30.0, max_clips=8, seed=3)
    one, two = ([sorted(batch) for batch in sampler] for _ in range(2))
    for epoch in (one, two):
        assert sorted(k for batch in epoch for k in batch) == list(range(200))
    assert one != two
    assert len({tuple(b) for b in one} & {tuple(b) for b in two}) < len(one) / 4
