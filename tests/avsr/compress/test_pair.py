"""Compressors inside a recogniser: by one line of its configuration, or instead of its own."""

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from avsr.api import Recogniser
from avsr.compress import Cluster, Guide, Weighted, compressors
from avsr.compress.pair import build_pair, foreign, parse
from avsr.compress.presets import PRESETS, build_compressor, resolved
from avsr.ctc import EmbeddingCtc
from avsr.decode import DecodeOptions
from avsr.errors import AvsrError, ConfigError, ModelError
from avsr.prepare import Prepared
from avsr.rates import Rates
from avsr.spoken import listener
from avsr.streams import Budget
from avsr.transcript import Transcript
from avsr.views import View
from tests.tiny import ByteTokenizer, awaken, tiny_features, tiny_model

WIDTHS, RATES = {"audio": 8, "video": 6}, {"audio": (4, 16), "video": (2, 5)}
BOTH = {"audio": {"name": "affinity", "weights": "inverse"}, "video": {"name": "guided"}}


def test_one_line_is_for_both_modalities() -> None:
    pair = build_pair({"name": "cluster"}, WIDTHS, RATES)
    assert pair["audio"] is pair["video"]
    assert isinstance(pair["audio"], Cluster)
    pair = build_pair({"name": "conv"}, WIDTHS, RATES)
    assert list(pair["audio"].kernels) == ["4", "16"]
    assert pair["video"].kernels["5"].weight.shape == (6, 30)
    pair = build_pair(BOTH, WIDTHS, RATES)
    assert [pair[kind].card.name for kind in ("audio", "video")] == ["affinity", "guided"]
    assert pair["video"].of_guide.weight.shape[1] == 8
    with pytest.raises(ConfigError, match="there is none"):
        build_pair({"name": "hier"}, {"audio": 8, "video": None}, {"audio": (4,), "video": ()})


@pytest.mark.parametrize("text", ["select,by=received", "ppllava"])
def test_a_guide_that_a_model_does_not_give_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="which a model does not give"):
        build_pair(parse(text), WIDTHS, RATES)
    with pytest.raises(AvsrError):
        foreign({"name": "pool"}, parse(text))


@pytest.mark.parametrize("text", ["weighted,by=density", "guided,guide=density"])
def test_a_density_is_refused_where_no_ctc_tells_it(text: str) -> None:
    model = tiny_model(audio_rates=(4,), video_rates=(2,), compress=parse(text))
    views = [View(0, Rates(4, 2))]
    with pytest.raises(ModelError, match="nobody tells this model"):
        model.tokens(tiny_features((40,)), views)
    table = model.llm.get_input_embeddings().weight
    model.density = listener(model, EmbeddingCtc(table, [5, 6, 7]))
    texts = [torch.tensor(ByteTokenizer().encode("bin blue"))]
    model.train()(tiny_features((40,)), views, texts).total.backward()
    for name, parameter in model.compressors.named_parameters():
        assert parameter.grad is not None or "guide" in name, name


def test_a_density_is_given_where_the_projectors_have_a_ctc(recogniser: Recogniser) -> None:
    model = recogniser.model
    table = model.llm.get_input_embeddings().weight
    known = Recogniser(
        model, SimpleNamespace(hz=50.0), None, {}, alignment=EmbeddingCtc(table, [5, 6, 7])
    )
    known.use_compressor("weighted,by=density")
    clips = tiny_features((42,))
    view = [View(0, Rates(16, None))]
    weighted = model.tokens(clips, view)["audio_16"]
    told = model.density(clips.audio, "audio")
    assert told.shape == clips.audio.mask.shape
    assert told.min() >= 0
    assert told.std() > 0
    short = Weighted(by="density")(clips.audio, Budget.rate(16), Guide(density=told))
    torch.testing.assert_close(weighted.x, model.project(short, "audio", 16).x)
    assert hear(known).warnings[0].startswith("compressed by 'weighted,by=density'")


@pytest.mark.parametrize("config", [{"name": "cluster"}, {"name": "hier"}, {"name": "cif"}, BOTH])
def test_a_recogniser_trains_with_it_at_every_rate(config: dict) -> None:
    model = tiny_model(audio_rates=(4, 16), video_rates=(2, 5), compress=config).train()
    awaken(model.compressors)
    clips = tiny_features((40, 22))
    pairs = [(4, 2), (16, 5), (4, None), (None, 5)]
    views = [View(row, Rates(*pair)) for row in range(2) for pair in pairs]
    texts = [torch.tensor(ByteTokenizer().encode(text)) for text in ("bin blue", "set white")]
    losses = model(clips, views, texts)
    losses.total.backward()
    for name, parameter in model.compressors.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    alone = model.eval()(clips, views[:1], texts).per_view[0]
    torch.testing.assert_close(model(clips, views, texts).per_view[0], alone, rtol=1e-4, atol=1e-4)
    rebuilt = type(model.config).from_dict(model.config.to_dict())
    assert rebuilt.compress == model.config.compress


def test_a_view_of_one_modality_never_sees_the_other() -> None:
    model = tiny_model(audio_rates=(4,), video_rates=(2,), compress={"name": "hier"})
    awaken(model.compressors)
    clips, other = tiny_features((40, 22)), tiny_features((40, 22), seed=5)
    both = type(clips)(clips.audio, other.video)
    views = [View(0, Rates(4, None)), View(0, Rates(4, 2))]
    one, two = (model.eval().tokens(features, views) for features in (clips, both))
    assert torch.equal(one["audio_4"].x, two["audio_4"].x)
    assert not torch.allclose(one["audio_4_seen"].x, two["audio_4_seen"].x)


@pytest.mark.parametrize("name", [n for n in compressors if compressors[n].card.foreign == "warns"])
def test_what_makes_means_runs_in_a_model_that_was_not_trained_with_it(name: str) -> None:
    if name == "pool":
        assert foreign({"name": "pool"}, {"name": "pool"}) == (None, None)
        assert foreign({"name": "pool"}, {"name": "pool", "tail": "keep"}) == (None, None)
        return
    made, note = foreign({"name": "pool"}, {"name": name})
    assert note == f"compressed by {name!r}; the model was trained with 'pool'"
    assert made.card.name == name


def test_other_settings_and_presets_are_told_apart() -> None:
    _, note = foreign({"name": "pool"}, parse("omni-avsr"))
    assert note == "compressed by 'omni-avsr' (pool,tail=drop); the model was trained with 'pool'"
    means = {"audio": BOTH["audio"], "video": {"name": "pool"}}
    _, note = foreign(means, {"name": "cluster"})
    assert note == "compressed by 'cluster'; the model was trained with 'one for each modality'"


@pytest.mark.parametrize("name", ["stack", "conv", "guided", "hier", "qformer", "cif"])
def test_what_must_be_trained_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=f"not trained with the compressor {name!r}"):
        foreign({"name": "pool"}, {"name": name})


def test_a_budget_of_its_own_is_all_it_is_asked_for() -> None:
    clips = tiny_features((40, 22))
    for text, counts in (
        ("pool,budget=tokens:3", [3, 3]),
        ("cluster,budget=per_second:10", [8, 5]),
        ("random,budget=keep:0.5", [20, 11]),
        ("none,budget=threshold:0.5", [40, 22]),
        ("omni-avsr,budget=rate:8", [5, 2]),
    ):
        made = build_compressor(parse(text), width=8, other_width=6, rates=(4, 16))
        for rate in (4, 16):
            assert made(clips.audio, Budget.rate(rate)).lengths.tolist() == counts, text
        both = made.multi(clips.audio, [Budget.rate(4), Budget.rate(16)])
        assert torch.equal(both[0].x, both[1].x)
        again = build_compressor(made.to_dict(), width=8, other_width=6, rates=(4, 16))
        assert again.to_dict() == made.to_dict()
    own = {"name": "affinity", "budget": {"threshold": 0.9}}
    model = tiny_model(audio_rates=(4, 16), video_rates=(2,), compress=own)
    tokens = model.tokens(clips, [View(0, Rates(4, None)), View(0, Rates(16, None))])
    assert torch.equal(tokens["audio_4"].mask, tokens["audio_16"].mask)
    assert type(model.config).from_dict(model.config.to_dict()).compress == own


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pool,budget=threshold:0.9", "takes no budget of threshold"),
        ("pool,budget=colour:0.9", 'Write "KIND:NUMBER"'),
        ("pool,budget=tokens:2.5", "a whole number"),
        ("pool,budget=tokens", "cannot read the budget 'tokens'"),
        ("pool,budget=keep:two", "cannot read the budget 'keep:two'"),
        ("pool,budget=keep:nan", "above 0 and at most 1"),
    ],
)
def test_budgets_that_cannot_be_met_are_refused(text: str, told: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=re.escape(told)):
        foreign({"name": "pool"}, parse(text))


def test_one_modality_may_have_another_compressor() -> None:
    model = tiny_model(audio_rates=(4,), video_rates=(2,))
    recogniser = Recogniser(model, SimpleNamespace(hz=50.0), SimpleNamespace(hz=25.0), {"a": 1})
    own = model.compressors
    recogniser.use_compressor("audio=cluster")
    assert isinstance(model.compressors["audio"], Cluster)
    assert model.compressors["video"] is own["video"]
    assert recogniser.compression_note is not None
    assert recogniser.compression_note.startswith("audio compressed by 'cluster'")
    assert recogniser.facts["compress"]["video"]["name"] == "pool"
    recogniser.use_compressor({"audio": {"name": "pool"}, "video": {"name": "pool"}})
    assert model.compressors is own
    assert recogniser.compression_note is None
    for wrong in ({"sound": {"name": "pool"}}, {}):
        with pytest.raises(ConfigError):
            recogniser.use_compressor(wrong)
    with pytest.raises(ModelError, match="not trained with the compressor 'docslm'"):
        recogniser.use_compressor("video=docslm")


def test_command_lines_are_read() -> None:
    assert parse("audio=cluster,max_span=3") == {"audio": {"name": "cluster", "max_span": 3}}
    assert parse("duration,rates=[4,16],cap=9") == {
        "name": "duration",
        "rates": [4, 16],
        "cap": 9,
    }
    assert parse("cluster") == {"name": "cluster"}
    found = parse("keyframe, fine=1,relevance=energy")
    assert found == {"name": "keyframe", "fine": 1, "relevance": "energy"}
    assert compressors.build(found).to_dict().items() >= found.items()
    for wrong in ("cluster,share", "cluster,=2"):
        with pytest.raises(ConfigError, match="cannot read"):
            parse(wrong)
    for wrong in ("clutser", "cluster,shar=1", ""):
        with pytest.raises(AvsrError):
            foreign({"name": "pool"}, parse(wrong))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_compressor(name: str) -> None:
    made = build_compressor({"name": name}, width=4, other_width=3, rates=(4,))
    assert made.to_dict().items() >= PRESETS[name].items()
    assert name not in compressors
    assert resolved({"name": name, "x": 1}) == {**PRESETS[name], "x": 1}


@pytest.fixture
def recogniser() -> Recogniser:
    model = awaken(tiny_model(audio_rates=(4, 16), video_rates=(2, 5)))
    return Recogniser(model, SimpleNamespace(hz=50.0), None, {"name": "tiny"})


def hear(recogniser: Recogniser) -> Transcript:
    features = tiny_features((42,))
    sound, lips = features.audio.x[0], features.video.x[0]
    clip = Prepared("x.mp4", 0.84, "av", None, None, None, (), {}, sound, lips)
    options = DecodeOptions(max_new_tokens=2)
    (made,) = recogniser.recognise([clip], rates=Rates(4, 2), options=options)
    return replace(made, warnings=tuple(w for w in made.warnings if "was cut" not in w))


def test_another_method_is_said_and_the_own_one_comes_back(recogniser: Recogniser) -> None:
    own = hear(recogniser)
    assert own.warnings == ()
    recogniser.use_compressor("cluster")
    other = hear(recogniser)
    assert other.warnings == ("compressed by 'cluster'; the model was trained with 'pool'",)
    assert other.tokens["audio"] == own.tokens["audio"] == 11
    assert other.segments[0].avg_logprob != own.segments[0].avg_logprob
    assert recogniser.facts["compress"]["name"] == "cluster"
    recogniser.use_compressor({"name": "pool"})
    again = hear(recogniser)
    assert again.warnings == ()
    assert again.segments[0].avg_logprob == own.segments[0].avg_logprob
    assert recogniser.facts == {"name": "tiny"}


def test_a_task_that_was_not_trained_is_said(recogniser: Recogniser) -> None:
    recogniser.facts = {"name": "tiny", "trained_tasks": ["a"]}
    assert hear(recogniser).warnings == (
        "the model was trained on sound alone, and reads sound and lips untrained",
    )
    recogniser.facts = {"name": "tiny", "trained_tasks": ["a", "av"]}
    assert hear(recogniser).warnings == ()


def test_a_budget_that_is_not_met_is_said(recogniser: Recogniser) -> None:
    recogniser.use_compressor("none")
    made = hear(recogniser)
    assert made.warnings[1:] == (
        "audio rate 4 stands for 11 tokens, 42 were made",
        "video rate 2 stands for 11 tokens, 21 were made",
    )
    assert (made.tokens["audio"], made.tokens["video"]) == (42, 21)
    prompt = made.tokens["prompt"]
    recogniser.use_compressor("cluster")
    assert hear(recogniser).tokens["prompt"] == prompt


def test_a_method_that_must_be_trained_leaves_the_own_one_in_place(recogniser: Recogniser) -> None:
    own = recogniser.model.compressors
    for wrong in ("hier", "stack", "clutser"):
        with pytest.raises(AvsrError):
            recogniser.use_compressor(wrong)
    assert recogniser.model.compressors is own


def test_presets_that_are_the_same_at_a_rate_are_those_that_the_page_names() -> None:
    x = tiny_features((90, 37)).audio
    assert x is not None

    def owners(name: str, budget: Budget) -> torch.Tensor:
        made = build_compressor({"name": name}, width=8, other_width=6, rates=(4,))
        return made(x, budget).owner

    plain = owners("affinity", Budget.rate(4))
    for name in ("affinity-pooling", "sa-map", "fastvid"):
        assert torch.equal(owners(name, Budget.rate(4)), plain)
    apart = Budget.threshold(0.1)
    assert not torch.equal(owners("sa-map", apart), owners("affinity", apart))
    wide = Budget.threshold(-1.0)
    assert not torch.equal(owners("dycoke", wide), owners("mustdrop", wide))
