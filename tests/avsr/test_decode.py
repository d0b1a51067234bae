"""Decoding against plain loops: batch = single, cached = uncached, and no settings but our own."""

import copy

import pytest
import torch
from transformers import GenerationConfig

from avsr.decode import DecodeOptions, Hypothesis, decode
from avsr.errors import ConfigError
from avsr.rates import Rates
from avsr.views import View
from tests.tiny import tiny_features, tiny_model

NEVER = 258  # as end of text: a token these models do not choose


@torch.no_grad()
def next_logprobs(model, features, view, written):
    """Log-probabilities of the next token, by a forward pass of the whole row, alone, no cache."""
    embeds = model.sequences(features, [view]).embeds
    if written:
        embeds = torch.cat([embeds, model.embed(torch.tensor([written]))], dim=1)
    logits = model.llm(inputs_embeds=embeds, use_cache=False).logits
    return logits[0, -1].log_softmax(-1)


def plain_greedy(model, features, view, cap):
    """Token ids, log-probabilities and whether the cap was met before EOS."""
    written, scores = [], []
    while len(written) < cap:
        logprobs = next_logprobs(model, features, view, written)
        best = int(logprobs.argmax())
        scores.append(float(logprobs[best]))
        if best == model.tokenizer.eos_id:
            return written, scores, False
        written.append(best)
    return written, scores, True


def end_within(model, features, view, cap):
    """Make the model end this view's text early, by calling a token that it writes the end."""
    model.tokenizer.eos_id = NEVER
    written = plain_greedy(model, features, view, cap)[0]
    new = [i for i, token in enumerate(written) if i >= 2 and token not in written[:i]]
    model.tokenizer.eos_id = written[new[0]]
    return new[0]


def assert_same(heard, alone):
    assert heard.token_ids == alone.token_ids
    assert (heard.text, heard.truncated) == (alone.text, alone.truncated)
    assert heard.prompt_tokens == alone.prompt_tokens
    assert heard.logprobs == pytest.approx(alone.logprobs, abs=1e-4)


def test_greedy_is_a_plain_uncached_loop(trained, clips, views):
    """Rows of unequal length in one left-padded batch, with a cache, against rows alone without."""
    end_within(trained, clips, views[0], 9)
    options = DecodeOptions(max_new_tokens=9)
    heard = decode(trained, clips, views, [1.0] * len(views), options)
    assert len({h.prompt_tokens for h in heard}) > 1
    for view, hypothesis in zip(views, heard, strict=True):
        ids, scores, truncated = plain_greedy(trained, clips, view, 9)
        assert hypothesis.token_ids == tuple(ids)
        assert hypothesis.truncated == truncated
        assert hypothesis.logprobs == pytest.approx(scores, abs=1e-4)
        assert hypothesis.text == " ".join(trained.tokenizer.decode(ids).split())
        lone = trained.sequences(clips, [view]).embeds
        assert hypothesis.prompt_tokens == lone.shape[1]
    assert not all(h.truncated for h in heard)
    assert any(h.truncated for h in heard)


@pytest.mark.parametrize("beams", [1, 3])
def test_batch_is_single_with_caps_of_their_own(trained, clips, views, beams):
    """Hardly a text ends by itself here: each row is cut where it would be cut alone."""
    trained.tokenizer.eos_id = NEVER
    seconds = [0.0, 0.5, 1.0, 0.25, 0.0, 0.75]  # caps 16 to 24
    heard = decode(trained, clips, views, seconds, DecodeOptions(beams))
    for view, length, hypothesis in zip(views, seconds, heard, strict=True):
        [alone] = decode(trained, clips, [view], [length], DecodeOptions(beams))
        assert_same(hypothesis, alone)
        assert hypothesis.truncated == (len(hypothesis.token_ids) == 16 + 8 * length)
    assert len({len(h.token_ids) for h in heard if h.truncated}) > 2


@pytest.mark.parametrize("beams", [1, 3])
def test_batch_is_single_where_some_end(trained, clips, views, beams):
    options = DecodeOptions(beams, max_new_tokens=12)
    trained.tokenizer.eos_id = NEVER
    for end in decode(trained, clips, views, [1.0] * 6, options)[0].token_ids[2:]:
        trained.tokenizer.eos_id = end
        heard = decode(trained, clips, views, [1.0] * 6, options)
        if 0 < sum(h.truncated for h in heard) < 6:
            break
    else:
        pytest.fail("no token ends some rows only: take another seed")
    for view, hypothesis in zip(views, heard, strict=True):
        assert_same(hypothesis, decode(trained, clips, [view], [1.0], options)[0])


def test_an_end_just_beyond_the_cap_is_beyond_it_in_a_batch_too():
    """The other row goes on: the first one's end of text must not be seen after its own cap."""
    model, features, view = tiny_model(), tiny_features(), View(0, Rates(4, 2))
    model.tokenizer.eos_id = NEVER
    written = plain_greedy(model, features, view, 30)[0]
    ends = [i for i, token in enumerate(written) if i >= 16 and token not in written[:i]]
    assert ends, "this seed repeats itself: take another"
    model.tokenizer.eos_id = written[ends[0]]
    short = (ends[0] - 16) / 8  # its cap is just before the end
    if round(8 * short) + 16 != ends[0]:
        pytest.fail("the cap is not where the test wants it")
    heard = decode(model, features, [view, View(1, Rates(4, 2))], [short, 9.0])
    assert heard[0].truncated
    assert heard[0].token_ids == tuple(written[: ends[0]])
    assert len(heard[0].logprobs) == ends[0]
    assert_same(heard[0], decode(model, features, [view], [short])[0])
    [later] = decode(model, features, [view], [short + 1 / 8])
    assert (later.token_ids, later.truncated) == (heard[0].token_ids, False)


def test_a_full_beam_finds_the_best_of_all_texts(trained, clips):
    """With as many beams as tokens and two steps nothing is pruned: compare with every text."""
    view, size = View(2, Rates(16, 5)), 259
    eos = trained.tokenizer.eos_id
    first = next_logprobs(trained, clips, view, [])
    with torch.no_grad():
        start = trained.sequences(clips, [view]).embeds.expand(size, -1, -1)
        embeds = torch.cat([start, trained.embed(torch.arange(size))[:, None]], dim=1)
        second = trained.llm(inputs_embeds=embeds).logits[:, -1].log_softmax(-1)
    pairs = (first[:, None] + second) / 2  # mean log-probability of both tokens
    pairs[eos] = -torch.inf
    ended, (a, b) = first[eos], divmod(int(pairs.argmax()), size)
    best = () if ended > pairs.max() else (a,) if b == eos else (a, b)
    [heard] = decode(trained, clips, [view], [1.0], DecodeOptions(size, max_new_tokens=2))
    assert heard.token_ids == best
    assert heard.avg_logprob == pytest.approx(float(max(ended, pairs.max())), abs=1e-4)


@pytest.mark.parametrize("beams", [1, 4])
def test_logprobs_are_those_of_the_text_read_again(trained, clips, views, beams):
    end_within(trained, clips, views[0], 8)
    heard = decode(trained, clips, views, [1.0] * 6, DecodeOptions(beams, max_new_tokens=8))
    for view, hypothesis in zip(views, heard, strict=True):
        end = [] if hypothesis.truncated else [trained.tokenizer.eos_id]
        written = [*hypothesis.token_ids, *end]
        expected = [
            float(next_logprobs(trained, clips, view, written[:i])[token])
            for i, token in enumerate(written)
        ]
        assert hypothesis.logprobs == pytest.approx(expected, abs=1e-4)
        assert hypothesis.avg_logprob == pytest.approx(sum(expected) / len(expected), abs=1e-4)


SHIPPED = {
    "do_sample": True,
    "repetition_penalty": 5.0,
    "encoder_repetition_penalty": 3.0,
    "no_repeat_ngram_size": 1,
    "suppress_tokens": list(range(3, 200)),
    "begin_suppress_tokens": list(range(3, 200)),
    "bad_words_ids": [[i] for i in range(3, 200)],
    "sequence_bias": [[[i], -50.0] for i in range(3, 200)],
    "forced_bos_token_id": 7,
    "forced_eos_token_id": 7,
    "exponential_decay_length_penalty": [1, 2.0],
    "min_length": 6,
    "min_new_tokens": 6,
    "max_length": 3,
    "max_time": 1e-9,
    "guidance_scale": 3.0,
    "early_stopping": True,
    "length_penalty": -3.0,
    "num_beams": 2,
    "num_return_sequences": 2,
    "cache_implementation": "static",
    "use_cache": False,
    "prompt_lookup_num_tokens": 2,
    "eos_token_id": list(range(3, 200)),
    "remove_invalid_values": True,
}


@pytest.mark.parametrize("beams", [1, 3])
def test_no_setting_of_the_llm_is_heard(beams, recwarn):
    model, features = tiny_model(), tiny_features()
    views, options = [View(0, Rates(4, 2)), View(1, Rates(4, None))], DecodeOptions(beams, 5)
    plain = decode(model, features, views, [1.0, 1.0], options)
    model.tokenizer.eos_id = plain[0].token_ids[2]  # so that a row ends and another goes on
    plain = decode(model, features, views, [1.0, 1.0], options)
    for settings in ({k: v} for k, v in SHIPPED.items()):
        shipped = GenerationConfig()
        for name, value in settings.items():
            setattr(shipped, name, value)  # past validation, as an older file may be
        model.llm.generation_config = shipped
        before = copy.deepcopy(shipped.to_dict())
        assert decode(model, features, views, [1.0, 1.0], options) == plain, settings
        assert model.llm.generation_config is shipped  # other users of the LLM keep theirs
        assert shipped.to_dict() == before
    assert not [w for w in recwarn if issubclass(w.category, UserWarning)]


@pytest.mark.parametrize("beams", [1, 3])
def test_twice_the_same_and_no_chance(trained, clips, views, beams):
    before, options = torch.get_rng_state(), DecodeOptions(beams, max_new_tokens=6)
    first = decode(trained, clips, views, [1.0] * 6, options)
    assert decode(trained, clips, views, [1.0] * 6, options) == first
    assert torch.equal(torch.get_rng_state(), before)


def test_the_order_of_a_batch_does_not_matter(trained, clips, views):
    options = DecodeOptions(max_new_tokens=6)
    heard = decode(trained, clips, views, [1.0] * 6, options)
    back = decode(trained, clips, views[::-1], [1.0] * 6, options)[::-1]
    for one, other in zip(heard, back, strict=True):
        assert_same(one, other)


def test_nothing_to_read_gives_nothing(trained, clips):
    assert decode(trained, clips, [], []) == []


def test_a_text_that_ends_at_once_is_empty(trained, clips):
    view = View(0, Rates(4, 2))
    trained.tokenizer.eos_id = int(next_logprobs(trained, clips, view, []).argmax())
    [heard] = decode(trained, clips, [view], [1.0])
    assert (heard.text, heard.token_ids, heard.truncated) == ("", (), False)
    assert heard.logprobs == pytest.approx(
        [float(next_logprobs(trained, clips, view, []).max())], abs=1e-4
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"beam_size": 0}, "beam size"), ({"max_new_tokens": 0}, "max new tokens")],
)
def test_settings_that_make_no_search_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        DecodeOptions(**settings)


def test_caps():
    assert [DecodeOptions().cap(s) for s in (0.0, 3.0, 30.0)] == [16, 40, 256]
    assert DecodeOptions(max_new_tokens=5).cap(30.0) == 5


def test_no_token_has_no_mean():
    assert Hypothesis("", (), (), True, 3, {}).avg_logprob is None
