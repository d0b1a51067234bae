"""Batches: every clip once, below the limits, the same from any place on, dealt out to ranks."""

from itertools import chain, islice

import numpy as np
import pytest

from avsr.train.sampler import BucketSampler

SECONDS = np.random.default_rng(0).uniform(1, 15, 101).tolist()


def sampler(seconds=SECONDS, **settings):
    return BucketSampler(seconds, **{"batch_seconds": 60.0, "max_clips": 9, **settings})


def epochs(source, count):
    return [list(source) for _ in range(count)]


def test_an_epoch_is_every_clip_once():
    for batches in epochs(sampler(), 3):
        assert sorted(chain.from_iterable(batches)) == list(range(101))


def test_a_batch_as_long_as_its_longest_clip_stays_below_both_limits():
    batches = list(sampler())
    assert all(len(b) * max(SECONDS[i] for i in b) <= 60 for b in batches)
    assert max(map(len, batches)) == 9


def test_a_clip_beyond_the_limit_is_a_batch_by_itself():
    batches = list(sampler([70.0, 2.0, 80.0, 2.0]))
    assert sorted(map(sorted, batches)) == [[0], [1, 3], [2]]


def test_clips_of_a_batch_are_of_like_length():
    padding = np.mean(
        [1 - np.mean([SECONDS[i] for i in b]) / max(SECONDS[i] for i in b) for b in sampler()]
    )
    assert padding < 0.2


def test_each_epoch_has_another_order_and_other_batches():
    first, second = epochs(sampler(), 2)
    assert first != second
    assert set(map(frozenset, first)) != set(map(frozenset, second))


def test_a_seed_says_everything():
    assert epochs(sampler(seed=3), 2) == epochs(sampler(seed=3), 2)
    assert epochs(sampler(seed=3), 1) != epochs(sampler(seed=4), 1)


@pytest.mark.parametrize("taken", [0, 1, 7, "all", "epoch"])
def test_a_resumed_run_reads_the_very_rest(taken):
    whole = sampler()
    first, second = epochs(whole, 2)
    count = {"all": len(first), "epoch": len(first) + 2}.get(taken, taken)
    stopped, read = sampler(), []
    while len(read) < count:
        read += islice(stopped, count - len(read))
    resumed = sampler()
    resumed.load_state_dict(stopped.state_dict())
    while len(read) < len(first) + len(second):
        read += list(resumed)
    assert read == first + second


def test_who_never_hears_that_an_epoch_ended_still_gets_the_next():
    first, second = epochs(sampler(), 2)
    stopped = sampler()
    assert list(islice(stopped, len(first))) == first
    assert list(stopped) == second


def test_a_place_of_another_seed_is_refused():
    with pytest.raises(ValueError, match="resuming seed 1 with seed 2"):
        sampler(seed=2).load_state_dict(sampler(seed=1).state_dict())


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_out_the_batches_of_one_process(world):
    joint = epochs(sampler([*SECONDS, 59.0]), 2)  # the last one is alone in its batch
    parts = [epochs(sampler([*SECONDS, 59.0], rank=r, world=world), 2) for r in range(world)]
    for epoch in range(2):
        assert len({len(part[epoch]) for part in parts}) == 1
        for whole, *shards in zip(joint[epoch], *(p[epoch] for p in parts), strict=True):
            assert sorted(chain.from_iterable(shards)) == sorted(whole)
            assert max(map(len, shards)) - min(map(len, shards)) <= 1
    assert len({len(sampler(rank=r, world=world)) for r in range(world)}) == 1


@pytest.mark.parametrize(("rank", "world"), [(2, 2), (-1, 2), (0, 0)])
def test_a_rank_outside_the_world(rank, world):
    with pytest.raises(ValueError, match="processes"):
        sampler(rank=rank, world=world)
