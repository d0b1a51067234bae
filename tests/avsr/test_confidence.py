"""Word confidences are the probabilities of their tokens, wherever tokens cut, and calibrated."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsr.confidence import FILE, Calibration, calibration_error, mean, scored_words
from avsr.errors import ModelError
from avsr.transcript import Word

PIECES = ["bin", " bl", "ue", " at", " f", " ", "x", ","]


def decode(ids):
    return "".join(PIECES[k] for k in ids)


def bytes_decode(ids):
    return bytes(ids).decode("utf-8", errors="replace")


def test_a_word_is_as_likely_as_its_tokens_together():
    logs = [math.log(p) for p in (0.9, 0.5, 0.4, 0.8, 0.3)]
    words = scored_words(decode, [0, 1, 2, 3], logs)  # the fifth is of the end
    assert [word.text for word in words] == ["bin", "blue", "at"]
    assert [word.confidence for word in words] == pytest.approx([0.9, 0.2, 0.8])
    assert all(word.start is None and word.end is None for word in words)
    assert mean(words) == pytest.approx((0.9 + 0.2 + 0.8) / 3)


def test_tokens_that_end_within_a_letter_lose_nothing():
    text = "né à"
    ids = list(text.encode())
    logs = [-0.1 * (k + 1) for k in range(len(ids))]
    words = scored_words(bytes_decode, ids, logs)
    assert [word.text for word in words] == ["né", "à"]
    assert math.log(words[0].confidence) == pytest.approx(sum(logs[:3]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.floats(-5, 0)), max_size=12))
def test_words_are_those_of_the_text_and_no_log_probability_is_counted_twice(tokens):
    ids, logs = [k for k, _ in tokens], [log for _, log in tokens]
    words = scored_words(decode, ids, logs)
    assert [word.text for word in words] == decode(ids).split()
    assert all(0 <= word.confidence <= 1 for word in words)
    total = sum(math.log(word.confidence) for word in words if word.confidence > 0)
    assert total >= sum(logs) - 1e-6
    if 5 not in ids:  # a blank by itself belongs to no word
        assert total == pytest.approx(sum(logs))


def test_no_words_have_no_confidence():
    assert scored_words(decode, [], [-0.1]) == ()
    assert mean(()) is None
    assert mean((Word("a"),)) is None


def test_a_calibration_is_applied_kept_and_refused_when_broken(tmp_path):
    made = Calibration((0.2, 0.8), (0.5, 0.9), 10, "val")
    assert [made(raw) for raw in (0.0, 0.2, 0.5, 1.0)] == pytest.approx([0.5, 0.5, 0.7, 0.9])
    (word,) = scored_words(decode, [0], [math.log(0.5)], made)
    assert word.confidence == pytest.approx(0.7)
    assert Calibration.of(tmp_path) is None
    (tmp_path / FILE).write_text(made.to_json())
    assert Calibration.of(tmp_path) == made
    for broken in (
        "{",
        "[]",
        made.to_json().replace("/1", "/9"),
        made.to_json().replace("0.8", "2"),
    ):
        (tmp_path / FILE).write_text(broken)
        with pytest.raises(ModelError, match="not a calibration"):
            Calibration.of(tmp_path)


@pytest.mark.parametrize(("raw", "right"), [((), ()), ((0.5, 0.2), (0, 1)), ((0.1, 0.2), (1, 0))])
def test_a_map_that_turns_the_order_is_refused(raw, right):
    with pytest.raises(ValueError, match="rising"):
        Calibration(raw, right)


def test_the_calibration_error_is_that_of_its_definition():
    error, table = calibration_error([0.05, 0.95, 0.95, 1.0], [0, 1, 0, 1])
    assert table[0] == (0.05, 0.0, 1)
    assert error == pytest.approx((1 * 0.05 + 3 * abs(2.9 / 3 - 2 / 3)) / 4)
    random = np.random.default_rng(0)
    sure = random.random(20_000)
    assert calibration_error(sure, random.random(20_000) < sure)[0] < 0.02
    with pytest.raises(ValueError, match="confidences"):
        calibration_error([], [])
