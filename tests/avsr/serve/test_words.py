"""Confidence of words: every token's log-probability goes to the words it is part of."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avsr.decode import Hypothesis
from avsr.serve.words import judged, sure_words
from avsr.transcript import Segment, Transcript, Word

few = settings(
    max_examples=30, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
PIECES = ["bin", " blue", " at", " f", "our", " ", "\n", "n w", " é", "€", ""]


def decode(ids):
    return "".join(PIECES[i] for i in ids)


def made(ids, logprobs, reached_end=True):
    text = " ".join(decode(ids).split())
    scores = (*logprobs, -9.0) if reached_end else tuple(logprobs)
    return Hypothesis(text, tuple(ids), scores, not reached_end, 5, {})


def test_a_word_is_as_sure_as_its_tokens_together():
    words = sure_words(made([0, 1, 3, 4], [-0.1, -0.2, -0.3, -0.4]), decode)
    assert [word.text for word in words] == ["bin", "blue", "four"]
    found = [word.confidence for word in words]
    assert found == pytest.approx([math.exp(-0.1), math.exp(-0.2), math.exp(-0.7)])
    assert [text for text, _ in words[2].tokens] == [" f", "our"]


def test_a_token_of_two_words_counts_in_both_and_one_of_space_in_none():
    words = sure_words(made([0, 5, 7], [-0.1, -5.0, -0.3], reached_end=False), decode)
    assert [word.text for word in words] == ["bin", "n", "w"]
    assert [w.confidence for w in words] == pytest.approx([math.exp(x) for x in (-0.1, -0.3, -0.3)])


def test_nothing_has_no_words():
    assert sure_words(made([], []), decode) == ()


@few
@given(st.lists(st.tuples(st.integers(0, 10), st.floats(-20, 1e-6)), max_size=12), st.booleans())
def test_words_are_those_of_the_text_whatever_the_tokens(tokens, end):
    hypothesis = made([i for i, _ in tokens], [p for _, p in tokens], end)
    words = sure_words(hypothesis, decode)
    assert " ".join(word.text for word in words) == hypothesis.text
    for word in words:
        assert 0 <= word.confidence <= 1
        assert word.tokens
        assert word.confidence == pytest.approx(math.prod(p for _, p in word.tokens))


@few
@given(st.text(max_size=12))
def test_characters_cut_between_tokens_keep_their_word(text):
    """Tokens of single bytes: of half a character the tokenizer gives a stand-in."""
    ids = list(text.encode())
    hypothesis = Hypothesis(" ".join(text.split()), tuple(ids), (-0.5,) * len(ids), True, 0, {})
    words = sure_words(hypothesis, lambda found: bytes(found).decode("utf-8", "replace"))
    assert [word.text for word in words] == text.split()
    assert all(0 < word.confidence < 1 for word in words)


def test_the_page_says_the_confidence_that_the_files_say():
    hypothesis = Hypothesis("ab c", (0, 1), (-0.1, -0.2), False, 3, {})
    words = sure_words(hypothesis, lambda ids: "ab c"[: 2 * len(ids)])
    parts = (Word("ab", confidence=0.3), Word("c"))
    found = judged(Transcript("ab c", (Segment(0, 1, "ab c", words=parts),)), words)
    assert [word.confidence for word in found] == [0.3, words[1].confidence]
    assert [word.tokens for word in found] == [word.tokens for word in words]
