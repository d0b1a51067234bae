"""Rates equal jiwer's and a brute-force distance; intervals are seeded and right where known."""

import itertools
from functools import cache

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avsr import bootstrap, score
from avsr.errors import AvsrError
from avsr.score import ErrorCounts, compare
from avsr.score import score as score_function

sentences = st.lists(st.sampled_from("a b c d".split()), max_size=6).map(" ".join)
corpora = st.lists(st.tuples(sentences, sentences), min_size=1, max_size=6)


def distance(left, right) -> int:
    """Edit distance straight from its definition."""

    @cache
    def of(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        kept = of(i - 1, j - 1) + (left[i - 1] != right[j - 1])
        return min(kept, of(i - 1, j) + 1, of(i, j - 1) + 1)

    return of(len(left), len(right))


@given(corpora)
def test_rates_and_counts_are_jiwers(corpus):
    said, heard = map(list, zip(*corpus, strict=True))
    ours = score_function(said, heard, "none", samples=0)
    words, characters = jiwer.process_words(said, heard), jiwer.process_characters(said, heard)
    assert ours.wer == words.wer
    assert ours.cer == characters.cer
    assert ours.words == ErrorCounts(
        words.hits, words.substitutions, words.deletions, words.insertions
    )


@given(corpora)
def test_edits_are_the_shortest(corpus):
    said, heard = map(list, zip(*corpus, strict=True))
    for pair in score_function(said, heard, "none", samples=0).utterances:
        left, right = pair.reference.split(), pair.hypothesis.split()
        assert pair.words.edits == distance(left, right)
        assert pair.characters.edits == distance(pair.reference, pair.hypothesis)
        assert pair.words.reference == len(left)
        assert pair.words.hypothesis == len(right)


@given(corpora)
def test_totals_are_sums_not_means_of_ratios(corpus):
    said, heard = map(list, zip(*corpus, strict=True))
    whole = score_function(said, heard, "none", samples=0)
    assert whole.words == sum((pair.words for pair in whole.utterances), ErrorCounts())
    assert whole.wer == whole.words.edits / max(whole.words.reference, 1)


@given(st.lists(sentences, min_size=1, max_size=5))
def test_the_same_text_has_no_errors_and_nothing_said_is_all_deletions(said):
    assert score_function(said, said, samples=0).wer == 0
    silent = score_function(said, [""] * len(said), samples=0)
    assert silent.words.deletions == silent.words.reference == silent.words.edits
    assert silent.empty == len(said)


def test_an_empty_reference_counts_its_insertions():
    mixed = score_function(["", "a b"], ["x", "a b"], samples=0)
    assert (mixed.words.insertions, mixed.wer) == (1, 0.5)
    assert score_function([""], ["x y"], samples=0).wer == 2.0
    assert score_function([""], [""], samples=0).wer == 0.0


def test_both_sides_are_normalised_and_the_normaliser_is_named():
    result = score_function(["Don\u2019t stop."], ["don't STOP"], samples=0)
    assert (result.wer, result.normalizer) == (0.0, "lrs3/1")
    assert score_function(["Stop."], ["stop"], "none", samples=0).wer == 1.0


def test_unequal_counts_nothing_and_bare_strings_are_refused():
    with pytest.raises(AvsrError, match="2 references but 1 hypotheses"):
        score_function(["a", "b"], ["a"])
    with pytest.raises(AvsrError, match="nothing to score"):
        score_function([], [])
    with pytest.raises(AvsrError, match="bare string"):
        score_function("a b", "a b")


def test_the_name_score_can_be_called_whichever_import_came_first():
    assert score(["a"], ["a"], samples=0).wer == 0
    assert score_function is not None


def test_a_report_is_plain():
    report = score_function(["a b"], ["a c"]).to_dict()
    assert report["words"] == {
        "reference": 2,
        "hits": 1,
        "substitutions": 1,
        "deletions": 0,
        "insertions": 0,
    }
    assert report["wer_interval"]["samples"] == 10_000


def test_the_interval_is_the_exact_one_where_every_draw_can_be_listed():
    edits, lengths = np.array([0, 1, 3]), np.array([2, 3, 4])
    draws = [list(draw) for draw in itertools.product(range(3), repeat=3)]
    rates = [edits[draw].sum() / lengths[draw].sum() for draw in draws]
    low, high = np.quantile(rates, [0.025, 0.975], method="inverted_cdf")
    found = bootstrap.interval(edits, lengths, samples=20_000, seed=7)
    assert (found.low, found.high) == (low, high)


def test_equal_utterances_have_an_interval_of_no_width():
    found = bootstrap.interval([1] * 5, [4] * 5, samples=100)
    assert (found.low, found.high) == (0.25, 0.25)


def test_the_interval_is_seeded_and_unmoved_by_the_chunk_of_draws(monkeypatch):
    edits, lengths = np.arange(40) % 5, np.full(40, 6)
    once = bootstrap.interval(edits, lengths, samples=500, seed=3)
    assert bootstrap.interval(edits, lengths, samples=500, seed=3) == once
    assert bootstrap.interval(edits, lengths, samples=500, seed=4) != once
    monkeypatch.setattr(bootstrap, "_CHUNK", 40 * 7)
    assert bootstrap.interval(edits, lengths, samples=500, seed=3) == once


def test_the_interval_covers_a_known_rate_about_as_often_as_it_says():
    random = np.random.default_rng(0)
    held = 0
    for trial in range(100):
        edits = random.binomial(6, 0.1, size=80)
        found = bootstrap.interval(edits, np.full(80, 6), samples=300, seed=trial)
        held += found.low <= 0.1 <= found.high
    assert 88 <= held <= 100


def test_a_system_half_as_wrong_everywhere_is_fifty_percent_better_for_sure():
    said = ["a b c d"] * 6
    older = score_function(said, ["x y c d"] * 6, samples=0)
    newer = score_function(said, ["x b c d"] * 6, samples=0)
    found = compare(older, newer, samples=200)
    assert (found.relative, found.interval.low, found.interval.high) == (-0.5, -0.5, -0.5)
    assert found.improvement == 1.0
    assert compare(older, older, samples=50).relative == 0.0


def test_systems_on_different_references_are_not_compared():
    with pytest.raises(AvsrError, match="different references"):
        compare(score_function(["a"], ["a"]), score_function(["b"], ["a"]))


@pytest.mark.parametrize(
    ("edits", "lengths", "samples"), [([], [], 9), ([1], [1, 2], 9), ([1], [1], 0)]
)
def test_an_interval_of_nothing_is_refused(edits, lengths, samples):
    with pytest.raises(ValueError, match=r"interval|one count"):
        bootstrap.interval(edits, lengths, samples=samples)
