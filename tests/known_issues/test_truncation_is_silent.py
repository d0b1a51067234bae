"""Llama-AVSR and Omni-AVSR stop after 32 new tokens without a word: long sentences lose their ends.

Here the limit follows from the clip's length, and a text that meets it says so.
"""

import pytest

from avsr.decode import DecodeOptions, decode


def read(tiny, limit, beams=1):
    model, features, views = tiny
    return decode(model, features, views, [0.8, 0.4], DecodeOptions(beams, max_new_tokens=limit))


@pytest.mark.parametrize("beams", [1, 2])
def test_a_text_that_meets_the_limit_says_so(tiny, beams):
    tiny[0].tokenizer.eos_id = 258  # a token this model does not choose
    for heard in read(tiny, 5, beams):
        assert heard.truncated
        assert len(heard.token_ids) == 5


def test_a_text_that_ends_by_itself_does_not(tiny):
    ids = read(tiny, 6)[0].token_ids
    end = next(index for index in range(1, 6) if ids[index] not in ids[:index])
    tiny[0].tokenizer.eos_id = ids[end]  # so that the sentence ends there
    heard = read(tiny, 6)[0]
    assert (heard.token_ids, heard.truncated) == (ids[:end], False)


def test_a_text_that_ends_just_at_the_limit_does_not(tiny):
    ids = read(tiny, 6)[0].token_ids
    end = next(index for index in range(1, 6) if ids[index] not in ids[:index])
    tiny[0].tokenizer.eos_id = ids[end]
    assert not read(tiny, end + 1)[0].truncated
    assert read(tiny, end)[0].truncated


def test_the_limit_grows_with_the_clip():
    options = DecodeOptions()
    assert options.cap(20.0) > 100  # fast speech has about five tokens a second
    assert options.cap(0.1) >= 8
