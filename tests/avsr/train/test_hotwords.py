"""Expected words: they guide what was trained to look for them, and nothing else."""

import copy

import pytest
import torch

from avsr.errors import ModelError
from avsr.hotwords import asks, drawn, embedded, expect
from avsr.rates import Rates
from avsr.train.module import AvsrTask
from avsr.train.objective import Objective
from avsr.views import View
from tests.avsr.train.test_ddp import part
from tests.tiny import ByteTokenizer, awaken, tiny_features, tiny_model

GUIDED = {"audio": {"name": "guided", "guide": "phrases"}, "video": {"name": "pool"}}
VIEWS = [View(0, Rates(4, 2)), View(1, Rates(4, None))]


def guided():
    model = tiny_model(audio_rates=(4,), video_rates=(2,), compress=GUIDED).eval()
    awaken(model.compressors)
    return model


def sound(model):
    return model.tokens(tiny_features((40, 22)), VIEWS)["audio_4"].x


@torch.no_grad()
def test_expected_words_weigh_frames_until_they_are_taken_back():
    model = guided()
    even = sound(model)
    expect(model, ["lay", " green "])
    assert torch.equal(model.phrases, embedded(model, ["lay", "green"]))
    told = sound(model)
    assert not torch.allclose(told, even)
    expect(model, ["green", "lay"])
    torch.testing.assert_close(sound(model), told)  # the best of them counts, not their order
    expect(model, ["", "  "])
    assert model.phrases is None
    assert torch.equal(sound(model), even)


def test_a_phrase_is_the_mean_of_its_tokens():
    model = guided()
    ids = torch.tensor(model.tokenizer.encode(" lay"))
    table = model.llm.get_input_embeddings().weight
    torch.testing.assert_close(embedded(model, ["lay"])[0], table[ids].float().mean(0))


def test_words_are_refused_where_nobody_looks_for_them():
    model = tiny_model(audio_rates=(4,), video_rates=(2,))
    assert not asks(model)
    with pytest.raises(ModelError, match="not trained to look for expected words"):
        expect(model, ["lay"])
    expect(model, [])


def test_words_of_a_batch_are_drawn_by_the_seed():
    model = guided()
    texts = [torch.tensor(ByteTokenizer().encode(t)) for t in ("bin blue now", "set blue")]
    every = drawn(model, texts, 9, (0, 1))
    torch.testing.assert_close(every, embedded(model, ["bin", "blue", "now", "set"]))
    some = [drawn(model, texts, 2, (0, n)) for n in range(6)]
    assert all(one.shape == (2, every.shape[1]) for one in some)
    assert any(not torch.equal(one, some[0]) for one in some)
    assert torch.equal(drawn(model, texts, 2, (0, 3)), some[3])


def test_training_tells_words_and_reading_back_does_not(home):
    config = home.config(compress=GUIDED)
    task = AvsrTask(config, Objective(tasks={"a": 1.0}, phrases=2), dtype="float32")
    task.log = lambda *_, **__: None
    before = copy.deepcopy(task.model.compressors.state_dict())
    batch = part([0, 1], lips=2)
    task.train().training_step(batch, 0).backward()
    assert len(task.model.phrases) == 2
    guide = task.model.compressors["audio"].of_guide.weight
    assert guide.grad is not None
    assert guide.grad.abs().sum() > 0
    assert before.keys() == task.model.compressors.state_dict().keys()
    task.on_validation_epoch_start()
    assert task.model.phrases is None


@pytest.mark.parametrize(("compress", "phrases"), [(GUIDED, 0), ({"name": "pool"}, 3)])
def test_words_without_who_looks_for_them_are_refused_and_the_other_way(home, compress, phrases):
    with pytest.raises(ValueError, match=f"objective.phrases={phrases}, but a compressor"):
        AvsrTask(home.config(compress=compress), Objective(phrases=phrases), dtype="float32")
