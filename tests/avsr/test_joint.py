"""The joint search against a plain loop, and that it hears what the LLM alone does not."""

import pytest
import torch

from avsr.ctc import EmbeddingCtc
from avsr.ctc_prefix import PrefixScorer
from avsr.decode import DecodeOptions, decode
from avsr.errors import ConfigError
from avsr.joint import FLOOR, JointScores, Voice, read_voices
from avsr.rates import Rates
from avsr.views import View
from tests.avsr.test_decode import NEVER, assert_same, next_logprobs

WORDS = list(range(40, 90))


@pytest.fixture
def alignment(trained):
    """CTC over some of the tiny LLM's tokens."""
    torch.manual_seed(0)
    return EmbeddingCtc(trained.llm.get_input_embeddings().weight, WORDS).requires_grad_(False)


def plain_joint(model, alignment, features, view, cap, share):
    """Greedy joint search of one row: no cache, every prefix scored from its beginning."""
    streams = model.tokens(features, [view])
    names = [f"audio_{view.rates.audio}", f"video_{view.rates.video}"]
    scorers = []
    for name in (name for name in names if name in streams):
        count = int(streams[name].lengths[view.row])
        scorers.append(PrefixScorer(alignment.log_probs(streams[name].x)[view.row, :count]))
    written = []
    while len(written) < cap:
        mixed = (1 - share * len(scorers)) * next_logprobs(model, features, view, written)
        for scorer in scorers:
            prefix = scorer.start()
            for token in written:
                known = WORDS.index(token) + 1 if token in WORDS else scorer.unknown
                prefix = scorer.extend(prefix, known)
            totals = (scorer.totals(prefix) - prefix.total).tolist()
            for token in range(len(mixed)):
                ctc = totals[WORDS.index(token) + 1] if token in WORDS else totals[-1]
                if token == model.tokenizer.eos_id:
                    ctc = scorer.end(prefix) - prefix.total
                mixed[token] += share * max(FLOOR, ctc)
        best = int(mixed.argmax())
        if best == model.tokenizer.eos_id:
            break
        written.append(best)
    return tuple(written)


def test_greedy_is_a_plain_loop_over_both_scores(trained, alignment, clips, views):
    options = DecodeOptions(max_new_tokens=5, ctc_weight=0.3)
    heard = decode(trained, clips, views, [1.0] * 6, options, alignment)
    for view, hypothesis in zip(views, heard, strict=True):
        expected = plain_joint(trained, alignment, clips, view, 5, 0.3)
        assert hypothesis.token_ids == expected


@pytest.mark.parametrize("beams", [1, 3])
def test_batch_is_single(trained, alignment, clips, views, beams):
    trained.tokenizer.eos_id = NEVER
    options = DecodeOptions(beams, max_new_tokens=8, ctc_weight=0.3)
    heard = decode(trained, clips, views, [1.0] * 6, options, alignment)
    for view, hypothesis in zip(views, heard, strict=True):
        alone = decode(trained, clips, [view], [1.0], options, alignment)
        assert_same(hypothesis, alone[0])


def test_frames_that_are_sure_are_written_down(trained, clips):
    """Sound that says three words and no more is written down, and then the search ends."""
    logp = torch.full((12, 1 + len(WORDS)), -30.0)
    logp[:, 0] = 0.0
    for frame, word in ((2, 7), (5, 7), (9, 30)):
        logp[frame, 0], logp[frame, word] = -30.0, 0.0
    eos = trained.tokenizer.eos_id
    joint = JointScores([[Voice(PrefixScorer(logp), 0.9)]], WORDS, eos)
    written = []
    vocabulary = trained.llm.get_input_embeddings().weight.shape[0]
    flat = torch.zeros(1, vocabulary)
    while eos not in written and len(written) < 9:
        so_far = torch.tensor([written], dtype=torch.long)
        written.append(int(joint(so_far, flat).argmax()))
    assert written == [WORDS[6], WORDS[6], WORDS[29], eos]


def test_without_a_share_or_without_an_alignment_the_llm_searches_alone(
    trained, alignment, clips, views
):
    alone = decode(trained, clips, views, [1.0] * 6, DecodeOptions(max_new_tokens=6))
    for weight, given in ((0.0, alignment), (0.3, None), (None, alignment)):
        options = DecodeOptions(max_new_tokens=6, ctc_weight=weight)
        heard = decode(trained, clips, views, [1.0] * 6, options, given)
        assert heard == alone


def test_logprobs_are_the_llms_own(trained, alignment, clips):
    """The joint score chooses; how likely the choice was is still the LLM's to say."""
    view = View(0, Rates(4, 2))
    for beams in (1, 2):
        options = DecodeOptions(beams, max_new_tokens=4, ctc_weight=0.4)
        [heard] = decode(trained, clips, [view], [1.0], options, alignment)
        for i, (token, logprob) in enumerate(zip(heard.token_ids, heard.logprobs, strict=False)):
            own = next_logprobs(trained, clips, view, list(heard.token_ids[:i]))
            assert logprob == pytest.approx(float(own[token]), abs=1e-4)


def test_a_stream_without_a_share_has_no_voice(trained, alignment, clips):
    views = [View(0, Rates(4, 2)), View(1, Rates(16, 2)), View(2, Rates(None, 5))]
    streams = trained.tokens(clips, views)
    voices = read_voices(alignment, streams, views, {"audio_4": 0.3, "video_2": 0.1})
    assert [[voice.weight for voice in row] for row in voices] == [[0.3, 0.1], [0.1], []]


@pytest.mark.parametrize("weight", [-0.1, 0.5, float("nan")])
def test_a_share_that_leaves_the_llm_nothing_is_refused(weight):
    with pytest.raises(ConfigError, match="CTC weight"):
        DecodeOptions(ctc_weight=weight)
