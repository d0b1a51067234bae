"""The recogniser: the frozen LLM stays, rows do not meet, the layout is the paper's."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from avsr.api import Recogniser
from avsr.errors import ConfigError, ModelError
from avsr.model import AvsrModel
from avsr.prepare import Prepared
from avsr.projector import ProjectorConfig
from avsr.prompt import IGNORE
from avsr.rates import Rates
from avsr.streams import TokenStream
from avsr.views import Features, View, task_of
from tests.tiny import (
    AUDIO_WIDTH,
    ByteTokenizer,
    awaken,
    tiny_config,
    tiny_features,
    tiny_llm,
    tiny_model,
)

PAIRS = [Rates(a, v) for a, v in itertools.product((4, 16), (2, 5))]
TASKS = [Rates(4, None), Rates(None, 2), Rates(4, 2)]
TRAINED = ("multi_modal_projector.", "prompter.markers", "mome.")


def texts(*words):
    return [torch.tensor(ByteTokenizer().encode(word), dtype=torch.long) for word in words]


@pytest.fixture
def transcripts():
    return texts("set white", "lay", "bin blue at f two now")


def alone(model, features, view, words):
    """Loss of one view, its clip alone and unpadded."""
    streams = {}
    for modality in ("audio", "video"):
        stream = getattr(features, modality)
        wanted = getattr(view.rates, modality) is not None
        streams[modality] = stream.select([view.row]).trim() if wanted else None
    return model(Features(**streams), [View(0, view.rates)], [words[view.row]]).per_view[0]


def test_identity_at_init(kind):
    llm = tiny_llm(kind)
    ids = torch.randint(3, 259, (2, 9), generator=torch.Generator().manual_seed(1))
    bare = llm(ids).logits
    model = tiny_model(kind, llm=llm)
    for training in (True, False):
        model.train(training)
        assert torch.equal(llm(ids).logits, bare)
    awaken(model.mome)
    assert not torch.allclose(llm(ids).logits, bare)  # the experts are indeed in the way


def test_only_what_is_trained_is_in_the_state(trained):
    state, names = trained.state_dict(), [name for name, _ in trained.named_parameters()]
    assert sorted(state) == sorted(names)  # nothing is trained and not stored, or stored and not
    assert all(name.startswith(TRAINED) for name in state)
    assert all(any(name.startswith(part) for name in state) for part in TRAINED)
    for pair in PAIRS:
        assert f"multi_modal_projector.audio_{pair.audio}.gain" in state
        assert f"multi_modal_projector.video_{pair.video}.gain" in state
    frozen = {p.data_ptr() for p in trained.llm.parameters()}
    assert not frozen & {tensor.data_ptr() for tensor in state.values()}
    assert not any(isinstance(m, type(trained.llm)) for m in trained.modules())


def test_every_trained_parameter_learns_and_none_of_the_llm(trained, clips, transcripts):
    trained.train()
    views = [View(row, rates) for row in range(3) for rates in PAIRS]
    trained(clips, views, transcripts).total.backward()
    for name, parameter in trained.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
    assert (trained.prompter.markers.grad.abs().amax(1) > 0).all()  # each of the four
    for name, parameter in trained.llm.named_parameters():
        assert parameter.grad is None, name
        assert not parameter.requires_grad, name


def test_the_frozen_llm_is_bit_equal_after_training(kind, clips, transcripts):
    model = tiny_model(kind).train()
    frozen = {k: v.clone() for k, v in model.llm.state_dict().items()}
    before = {k: v.clone() for k, v in model.state_dict().items()}
    views = [View(row, rates) for row in range(3) for rates in TASKS]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(6):
        loss = model(clips, views, transcripts).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    after = model.llm.state_dict()
    assert list(after) == list(frozen)
    assert all(torch.equal(after[k], v) for k, v in frozen.items())
    assert not any(torch.equal(model.state_dict()[k], v) for k, v in before.items())


def test_the_frozen_llm_follows_to_a_device_and_keeps_its_dtype(kind):
    llm = tiny_llm(kind).bfloat16()
    model = tiny_model(kind, llm=llm)
    model.to(torch.float32)  # as a trainer of full precision says it
    assert {p.dtype for p in llm.parameters()} == {torch.bfloat16}
    model.to("meta")  # as a trainer moves it to a GPU
    assert {p.device.type for p in (*model.parameters(), *llm.parameters())} == {"meta"}
    assert {b.device.type for b in llm.buffers()} == {"meta"}


def test_loss_of_a_batch_is_the_mean_over_its_sequences_one_by_one(
    trained, clips, views, transcripts
):
    together = trained(clips, views, transcripts)
    singles = torch.stack([alone(trained, clips, view, transcripts) for view in views])
    torch.testing.assert_close(together.per_view, singles, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together.text, singles.mean(), rtol=1e-5, atol=1e-5)
    assert singles.unique().numel() == len(views)  # the views differ, or this would prove nothing


def test_all_rate_pairs_in_one_forward_are_what_they_are_alone(trained, clips, transcripts):
    views = [View(0, rates) for rates in PAIRS]
    together = trained(clips, views, transcripts).per_view
    singles = [trained(clips, [view], transcripts).per_view[0] for view in views]
    torch.testing.assert_close(together, torch.stack(singles), rtol=1e-5, atol=1e-5)


def test_loss_is_cross_entropy_of_the_text_and_eos(trained, clips, transcripts):
    """Against the LLM's own loss on the whole sequence, labels shifted by hand."""
    view, words = View(1, Rates(4, 2)), transcripts[1]
    batch = trained.sequences(clips, [view], transcripts)
    logits = trained.llm(inputs_embeds=batch.embeds).logits[0]
    wanted = [*words.tolist(), trained.tokenizer.eos_id]
    start = len(logits) - len(wanted)
    expected = -sum(
        logits[start + i].log_softmax(-1)[token] for i, token in enumerate(wanted)
    ) / len(wanted)
    torch.testing.assert_close(trained(clips, [view], transcripts).text, expected)


def test_total_is_text_and_weighted_balance(trained, clips, transcripts):
    trained.train()
    losses = trained(clips, [View(0, PAIRS[0])], transcripts, balance=0.5)
    assert losses.balance > 0
    torch.testing.assert_close(losses.total, losses.text + 0.5 * losses.balance)


def test_balance_counts_no_padding_and_no_other_rate_pair(trained, clips, transcripts):
    """A short and a long sequence, each the only one of its rate pair."""
    trained.train()
    views = [View(2, Rates(16, None)), View(0, Rates(4, 2))]
    alone = [trained(clips, [view], transcripts).balance for view in views]
    both = trained(clips, views, transcripts).balance
    torch.testing.assert_close(both, torch.stack(alone).mean(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("filling", [float("nan"), 1e30])
def test_padding_reaches_neither_loss_nor_gradients(trained, clips, transcripts, filling):
    def run(features):
        trained.zero_grad()
        losses = trained(features, [View(2, r) for r in PAIRS], transcripts)
        losses.total.backward()
        return losses.total.detach(), [p.grad.clone() for p in trained.parameters()]

    def padded(stream):
        longer = stream.pad_to(stream.mask.shape[1] + 13)
        return longer.replace(x=longer.x.masked_fill(~longer.mask[..., None], filling))

    trained.train()  # with the balance loss, which must not count padding either
    loss, gradients = run(clips)
    with_filling, theirs = run(Features(padded(clips.audio), padded(clips.video)))
    torch.testing.assert_close(with_filling, loss, rtol=1e-6, atol=1e-6)
    for mine, other in zip(gradients, theirs, strict=True):
        torch.testing.assert_close(other, mine, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("rates", "kept"), [(Rates(4, None), "audio"), (Rates(None, 2), "video")])
def test_a_task_without_a_modality_does_not_hear_it(trained, clips, transcripts, rates, kept):
    other = tiny_features((40, 22, 9), seed=7)
    mixed = {"audio": other.audio, "video": other.video, kept: getattr(clips, kept)}
    views = [View(0, rates)]
    loss = trained(clips, views, transcripts).text
    assert torch.equal(trained(Features(**mixed), views, transcripts).text, loss)
    assert not torch.equal(trained(other, views, transcripts).text, loss)


@pytest.mark.parametrize("rates", TASKS, ids=str)
def test_layout_is_bos_audio_video_prompt_text(trained, clips, transcripts, rates):
    table = trained.llm.get_input_embeddings().weight
    tokenizer, markers = trained.tokenizer, trained.prompter.markers

    def block(modality, rate, first):
        stream = getattr(clips, modality)
        own = stream.x[1, : int(stream.lengths[1])]
        pooled = torch.stack([chunk.mean(0) for chunk in own.split(rate)])[None]
        project = trained.multi_modal_projector[f"{modality}_{rate}"]
        tokens = project(pooled, torch.ones(pooled.shape[:2], dtype=torch.bool))[0]
        return [markers[first, None], tokens, markers[first + 1, None]]

    parts = [] if tokenizer.bos_id is None else [table[tokenizer.bos_id][None]]
    parts += [] if rates.audio is None else block("audio", rates.audio, 0)
    parts += [] if rates.video is None else block("video", rates.video, 2)
    prompt = {
        "a": "Transcribe speech to text.",
        "v": "Transcribe video to text.",
        "av": "Transcribe speech and video to text.",
    }[task_of(rates)]
    parts.append(table[torch.tensor(tokenizer.encode(prompt))])
    generated = torch.cat(parts)
    spoken = torch.cat([generated, table[transcripts[1]]])

    # The longest row decides the padding; row 1 is not it.
    views = [View(0, Rates(4, 2)), View(1, rates)]
    batch = trained.sequences(clips, views, transcripts)
    size = len(spoken)
    assert batch.mask[1].tolist() == [True] * size + [False] * (batch.mask.shape[1] - size)
    torch.testing.assert_close(batch.embeds[1, :size], spoken, rtol=1e-5, atol=1e-6)
    assert not batch.embeds[1, size:].any()
    wanted = [*transcripts[1].tolist(), tokenizer.eos_id]
    labels = batch.labels[1].tolist()
    assert labels[len(generated) - 1 : size] == wanted
    assert labels[: len(generated) - 1] == [IGNORE] * (len(generated) - 1)
    assert labels[size:] == [IGNORE] * (len(labels) - size)

    open_end = trained.sequences(clips, views)
    size = len(generated)
    assert open_end.mask[1].tolist() == [False] * (open_end.mask.shape[1] - size) + [True] * size
    torch.testing.assert_close(open_end.embeds[1, -size:], generated, rtol=1e-5, atol=1e-6)
    assert (open_end.labels == IGNORE).all()


def test_an_empty_transcript_teaches_the_end(trained, clips):
    losses = trained(clips, [View(0, Rates(4, 2))], texts("", "a", "b"))
    batch = trained.sequences(clips, [View(0, Rates(4, 2))])
    last = trained.llm(inputs_embeds=batch.embeds).logits[0, -1]
    eos = torch.tensor(trained.tokenizer.eos_id)
    torch.testing.assert_close(losses.text, F.cross_entropy(last, eos))


@pytest.mark.parametrize(
    ("rates", "message"),
    [(Rates(8, None), r"audio rate 8 .*: 4, 16"), (Rates(4, 3), r"video rate 3 .*: 2, 5")],
)
def test_a_rate_that_was_not_trained_is_refused_with_the_list(trained, clips, rates, message):
    for words in (None, texts("a", "b", "c")):
        with pytest.raises(ModelError, match=message):
            trained.sequences(clips, [View(0, Rates(4, 2)), View(1, rates)], words)


def test_a_modality_that_the_batch_has_not_is_refused(trained, clips):
    with pytest.raises(ModelError, match="video"):
        trained.sequences(Features(clips.audio, None), [View(0, Rates(4, 2))])


@pytest.mark.parametrize(
    ("rates", "lacking", "told"),
    [
        (Rates(4, None), "audio", "audio"),
        (Rates(None, 2), "video", "video"),
        (Rates(16, 5), "video", "video"),
        (Rates(16, 5), "audio", "audio"),
    ],
    ids=str,
)
def test_a_modality_that_its_clip_has_not_is_refused(trained, clips, rates, lacking, told):
    """The batch has it, the row has not: an empty block would be read without a word."""
    stream = getattr(clips, lacking)
    lengths = stream.lengths.masked_fill(torch.tensor([False, True, False]), 0)
    bare = TokenStream.from_features(stream.x, lengths, stream.hz)
    features = replace(clips, **{lacking: bare})
    for words in (None, texts("a", "b", "c")):
        with pytest.raises(ModelError, match=f"{told}, but its clip has none") as caught:
            trained.sequences(features, [View(0, rates), View(1, rates)], words)
        assert caught.value.where == "clip 1 of the batch"
        assert told in caught.value.todo
        others = [View(0, rates), View(2, rates)]
        found, truth = (trained.sequences(f, others, words) for f in (features, clips))
        torch.testing.assert_close(found.embeds, truth.embeds, rtol=1e-5, atol=1e-6)


@pytest.fixture
def recogniser(trained, monkeypatch):
    """The library's front door around it; a file's name tells what its clip has."""
    tower = SimpleNamespace(hz=50.0)
    made = Recogniser(trained, tower, None, {})
    features = tiny_features((40,))

    def prepare(path, *, modality, roi, clip=None):
        sound = features.audio.x[0] if "a" in path else None
        lips = features.video.x[0] if "v" in path else None
        wave = None if sound is None else torch.zeros(12_800).numpy()
        crops = None if lips is None else torch.zeros(20, 96, 96).byte().numpy()
        assert modality == "auto"
        return Prepared(path, 0.8, path, wave, crops, None, (), {}, sound, lips)

    monkeypatch.setattr("avsr.prepare.sha256_of", lambda path: "hash")  # there is no file
    monkeypatch.setattr(made, "prepare", prepare)
    return made


def test_a_clip_is_read_by_what_it_has_whatever_is_beside_it(recogniser):
    paths = ["a", "v", "av", "a"]
    found = recogniser.transcribe(paths, batch_size=4)
    assert [transcript.modality for transcript in found] == paths
    alone = [recogniser.transcribe([path])[0] for path in paths]
    assert [transcript.text for transcript in found] == [transcript.text for transcript in alone]


@pytest.mark.parametrize(("path", "task"), [("a", "v"), ("a", "av"), ("v", "a")])
def test_asking_a_prepared_clip_for_more_than_it_has_is_refused(recogniser, path, task):
    clips = [recogniser.prepare(name, modality="auto", roi="auto") for name in ("av", path)]
    with pytest.raises(ModelError, match="its clip has none"):
        recogniser.recognise(clips, modality=task)


def test_video_rates_without_a_tower_are_refused():
    with pytest.raises(ModelError, match="video rates"):
        AvsrModel(
            tiny_config(), tiny_llm(), ByteTokenizer(), audio_width=AUDIO_WIDTH, video_width=None
        )


def test_a_seed_gives_its_weights_and_leaves_other_chance_alone(kind):
    before = torch.get_rng_state()
    first, again, other = (tiny_model(kind, seed=s).state_dict() for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["prompter.markers"], other["prompter.markers"])


def test_one_projector_may_serve_every_rate(clips, transcripts):
    """Then both rates learn into the same weights, and the state has no projector a rate."""
    projector = ProjectorConfig(width=16, per="modality")
    model = tiny_model("llama", audio_rates=(4, 16), video_rates=(2, 5), projector=projector)
    assert set(model.multi_modal_projector) == {"audio", "video"}
    for rates in (Rates(4, None), Rates(16, None)):
        model.zero_grad()
        model(clips, [View(0, rates)], transcripts).total.backward()
        assert model.multi_modal_projector["audio"].second.weight.grad.abs().sum() > 0
        assert model.multi_modal_projector["video"].second.weight.grad is None


def test_one_projector_for_stacks_of_several_widths_is_refused():
    with pytest.raises(ConfigError, match="no projector reads them all"):
        tiny_config(
            audio_rates=(4, 16),
            compress={"name": "stack"},
            projector=ProjectorConfig(per="modality"),
        )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_trained_parts_in_another_dtype_are_refused_and_stay(dtype):
    model = tiny_model("llama")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ModelError, match="stay in float32"):
        model.to(dtype)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.to("cpu") is model.float() is model
