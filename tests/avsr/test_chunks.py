"""A recording is cut so that nothing is lost, its texts joined so that nothing is said twice."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsr.chunks import GRID, Cutting, plan, seam
from avsr.errors import ConfigError
from frontends.speech import HOP


def loud(seconds, *pauses):
    """Activity that is 1 but for pauses (from, to)."""
    activity = np.ones(round(seconds / HOP), dtype=np.float32)
    for start, end in pauses:
        activity[round(start / HOP) : round(end / HOP)] = 0.0
    return activity


cuttings = st.builds(
    Cutting,
    limit=st.sampled_from([4.0, 10.0, 20.0, 30.0]),
    overlap=st.sampled_from([0.0, 0.4, 1.0]),
    start=st.sampled_from([0.0, 3.3]),
)


@settings(max_examples=30)
@given(st.floats(4, 200), cuttings, st.integers(0, 2**32 - 1), st.booleans())
def test_chunks_cover_the_recording_and_keep_to_the_limit(seconds, cutting, seed, sound):
    random = np.random.default_rng(seed)
    activity = random.random(round(seconds / HOP)).astype(np.float32) ** 0.3 if sound else None
    chunks = plan(activity, seconds, cutting)
    assert chunks[0].start == pytest.approx(cutting.start, abs=GRID)
    assert chunks[-1].end == seconds
    for chunk in chunks:
        assert 0 < chunk.end - chunk.start <= cutting.limit + 1e-6
        assert chunk.start / GRID == pytest.approx(round(chunk.start / GRID), abs=1e-3)
    for before, after in pairwise(chunks):
        assert before.end - after.start == pytest.approx(after.shared, abs=1e-5)
        assert before.start < after.start
        assert after.shared == 0 or after.shared == pytest.approx(cutting.overlap, abs=GRID)


def test_every_clear_pause_is_a_cut():
    chunks = plan(loud(40, (9, 10), (17, 17.6), (30, 31)), 40)
    assert [chunk.shared for chunk in chunks] == [0.0] * 4
    for chunk, (start, end) in zip(chunks[1:], [(9, 10), (17, 17.6), (30, 31)], strict=True):
        assert start < chunk.start < end
    assert all(chunk.active for chunk in chunks)


def test_a_long_silence_is_a_chunk_of_its_own():
    chunks = plan(loud(20, (6, 12)), 20)
    assert [chunk.active for chunk in chunks] == [True, False, True]
    assert (chunks[1].start, chunks[1].end) == pytest.approx((6.5, 11.5), abs=0.2)


def test_of_short_pauses_the_last_that_the_limit_allows_is_a_cut():
    chunks = plan(loud(38, (9, 9.35), (17, 17.35), (30, 30.35)), 38)
    assert [chunk.shared for chunk in chunks] == [0.0, 0.0, 0.0]
    assert 17 < chunks[1].start < 17.4
    assert 30 < chunks[2].start < 30.4


def test_where_nobody_pauses_neighbours_overlap():
    chunks = plan(loud(30), 30)
    assert [(c.start, c.end, c.shared) for c in chunks] == [(0, 20, 0), (18, 30, 2)]
    assert [(c.start, c.end, c.shared) for c in plan(None, 30)] == [(0, 20, 0), (18, 30, 2)]


def test_a_part_is_cut_out_and_a_part_beyond_the_end_refused():
    (chunk,) = plan(loud(60), 60, Cutting(start=10.0, end=25.0))
    assert (chunk.start, chunk.end) == (10, 25)
    assert plan(loud(60), 60, Cutting(start=50, end=99))[-1].end == 60
    with pytest.raises(ConfigError, match=r"ends at 60.00 s"):
        plan(loud(60), 60, Cutting(start=60.0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": 3.0},
        {"limit": 31.0},
        {"limit": float("nan")},
        {"overlap": -1.0},
        {"overlap": 6.0},
        {"find": "luck"},
        {"pause": 0.0},
        {"start": -1.0},
        {"start": 5.0, "end": 5.0},
    ],
)
def test_settings_that_cut_nothing_are_refused(wrong):
    with pytest.raises(ConfigError):
        Cutting(**wrong)


WORDS = [f"word{k}" for k in range(60)]


@settings(max_examples=50)
@given(st.integers(1, 40), st.integers(1, 8), st.booleans(), st.booleans())
def test_texts_of_overlapping_sound_are_the_whole_text(cut, shared, broken, torn):
    """Also where the cut broke the word at either edge."""
    shared = min(shared, cut)
    left, right = WORDS[:cut], WORDS[cut - shared :]
    left = [*left, "wo"] if broken else left
    right = ["rd", *right] if torn else right
    kept, dropped = seam(left, right)
    assert left[:kept] + right[dropped:] == WORDS


def test_words_are_compared_as_they_sound():
    assert seam(["so", "It", "was,"], ["it", "was", "he"]) == (3, 2)


def test_texts_that_share_nothing_are_kept_whole():
    assert seam(["a", "b"], ["c", "d"]) == (2, 0)
    assert seam([], ["c"]) == (0, 0)
    assert seam(["a"], []) == (1, 0)


def test_a_word_that_comes_again_far_from_the_cut_is_no_seam():
    left = ["the", "cat", "sat", "on", "a", "mat"]
    assert seam(left, ["then", "it", "saw", "another", "dog", "near", "the", "sea"]) == (6, 0)
