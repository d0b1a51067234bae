"""Alignments, confusions and groups tell the same errors as the score that they explain."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from avsr.alignment import by_length, by_name, confusions, printed, worst
from avsr.score import score

texts = st.lists(st.sampled_from("abcdef"), max_size=14).map(" ".join)
corpora = st.lists(st.tuples(texts, texts, st.sampled_from(["ann", "bob"])), min_size=1, max_size=8)


@settings(max_examples=30)
@given(corpora)
def test_everything_adds_up_to_the_score(corpus):
    said, heard, names = zip(*corpus, strict=True)
    made = score(said, heard, samples=0)
    found = confusions(made)
    totals = [sum(n for _, n in kind) for kind in vars(found).values()]
    counts = made.words
    assert totals == [counts.substitutions, counts.deletions, counts.insertions]
    for groups in (by_name(made, names), by_length(made)):
        assert sum(group.utterances for group in groups) == len(corpus)
        assert sum(group.words.edits for group in groups) == counts.edits
        assert sum(group.wrong for group in groups) == made.wrong
    assert sum(one.words.edits for _, one in worst(made, len(corpus))) == counts.edits


@settings(max_examples=30)
@given(corpora)
def test_an_alignment_holds_both_texts_and_its_marks_the_counts(corpus):
    said, heard, _ = zip(*corpus, strict=True)
    made = score(said, heard, samples=0)
    for one, block in zip(made.utterances, printed(made, said), strict=True):
        assert [left for left, _ in one.alignment if left] == one.reference.split()
        assert [right for _, right in one.alignment if right] == one.hypothesis.split()
        marks = Counter(block.splitlines()[-1].removeprefix("Eval:").replace(" ", ""))
        counts = one.words
        wanted = {"S": counts.substitutions, "D": counts.deletions, "I": counts.insertions}
        assert marks == Counter({mark: n for mark, n in wanted.items() if n})


def test_the_most_frequent_and_the_worst_come_first():
    made = score(["a b", "a c d", "x"], ["e b", "e c", "x"], samples=0)
    found = confusions(made, most=1)
    assert found.substitutions == ((("a", "e"), 2),)
    assert [index for index, _ in worst(made, 5)] == [1, 0]
    assert [group.name for group in by_length(made)] == ["0 to 5 words"]
