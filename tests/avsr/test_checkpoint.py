"""Checkpoints: what is written comes back, and what is none of ours is refused in one line."""

import json
import pickle
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from avsr.checkpoint import (
    ALIGNMENT,
    build_model,
    load_alignment,
    load_checkpoint,
    load_towers,
    save_alignment,
    save_model,
    tower_widths,
)
from avsr.config import AvsrConfig
from avsr.ctc import EmbeddingCtc
from avsr.decode import DecodeOptions, decode
from avsr.errors import AvsrError, ConfigError, ModelError
from avsr.fingerprint import llm_fingerprint
from avsr.rates import Rates
from avsr.streams import TokenStream
from avsr.views import Features, View
from frontends.audio_tower import WhisperShape, WhisperTower
from frontends.avhubert_tower import AvHubertTower
from frontends.video_tower import LipEncoder, LipShape
from tests.frontends.avhuberts import tiny as tiny_avhubert
from tests.tiny import AUDIO_WIDTH, VIDEO_WIDTH, awaken, tiny_config, tiny_features, tiny_llm

VIEWS = [View(0, Rates(4, 2)), View(1, Rates(4, None)), View(0, Rates(None, 2))]


def write_llm(folder, kind="llama", seed=0):
    """An LLM folder as transformers writes it, its tokens bytes."""
    tiny_llm(kind, seed=seed).save_pretrained(folder)
    symbols = ["<pad>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({symbol: i for i, symbol in enumerate(symbols)}, []))
    tokenizer.add_special_tokens(symbols[:3])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<s>" if kind == "llama" else None, "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return folder


@pytest.fixture
def config(tmp_path, kind):
    """A configuration whose frozen parts lie in folders."""
    whisper, lips = tmp_path / "whisper", tmp_path / "lips"
    whisper.mkdir()
    (whisper / "config.json").write_text(json.dumps({"d_model": AUDIO_WIDTH}))
    save_file({"empty": torch.zeros(1)}, whisper / "model.safetensors")
    LipEncoder(LipShape(stem=2, trunk=(4,), width=VIDEO_WIDTH, dilations=(1,))).save(lips)
    return tiny_config(
        language_model=str(write_llm(tmp_path / "llm", kind)),
        audio_tower=str(whisper),
        video_tower=str(lips),
    )


@pytest.fixture
def saved(config, tmp_path):
    """A model with random experts, and the folder that it was written to."""
    model = build_model(config, dtype=torch.float32).eval()
    awaken(model.mome)
    save_model(model, tmp_path / "saved", dtype=torch.float32, training={"steps": 3})
    return model, tmp_path / "saved"


@pytest.fixture(params=["llama"])
def kind(request):
    """Most of this file needs one kind of LLM only."""
    return request.param


def read(model, beams=1):
    options = DecodeOptions(beams, max_new_tokens=6)
    return decode(model, tiny_features(), VIEWS, [1.0] * 3, options)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"], indirect=True)
def test_a_model_that_was_read_back_hears_the_same(saved):
    model, folder = saved
    again, facts = load_checkpoint(folder, dtype=torch.float32)
    assert facts["training"] == {"steps": 3}
    assert again.config == model.config
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    assert read(again) == read(model)
    assert any(h.token_ids for h in read(again))
    fresh = build_model(model.config, dtype=torch.float32, seed=9).eval()
    assert read(fresh) != read(model)  # the weights are what decides


def test_half_precision_files_are_read_as_float32_masters(saved, tmp_path):
    model, _ = saved
    save_model(model, tmp_path / "half")
    stored = load_file(tmp_path / "half/model.safetensors")
    assert {tensor.element_size() for tensor in stored.values()} == {2}
    again, _ = load_checkpoint(tmp_path / "half", dtype=torch.float32)
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    save_model(again, tmp_path / "second")  # nothing is lost from now on
    second = load_file(tmp_path / "second/model.safetensors")
    assert all(torch.equal(second[name], tensor) for name, tensor in stored.items())


def test_only_what_was_trained_is_stored(saved):
    model, folder = saved
    assert sorted(load_file(folder / "model.safetensors")) == sorted(model.state_dict())
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_an_alignment_that_was_read_back_scores_the_same(saved):
    model, folder = saved
    table = model.llm.get_input_embeddings().weight
    kept = EmbeddingCtc(table, [3, 5, 40])
    torch.nn.init.normal_(kept.blank)
    assert load_alignment(folder, model) is None
    save_alignment(kept, folder)
    again = load_alignment(folder, model)
    x = torch.randn(2, 5, table.shape[1])
    assert again.vocabulary == [3, 5, 40]
    assert torch.equal(again.log_probs(x), kept.log_probs(x))
    (folder / ALIGNMENT).write_bytes(b"half")
    with pytest.raises(ModelError, match=f"cannot read {ALIGNMENT}"):
        load_alignment(folder, model)


def test_shares_without_an_alignment_are_refused(saved):
    model, folder = saved
    model.config = replace(model.config, ctc_weights={"audio_4": 0.3})
    with pytest.raises(ModelError, match="ctc_weights"):
        load_alignment(folder, model)


@pytest.mark.parametrize(
    "weights",
    [{"audio_5": 0.1}, {"audio_4": 1.0}, {"audio_4": 0.6, "video_2": 0.4}, [0.3]],
    ids=str,
)
def test_shares_that_make_no_search_are_refused(weights):
    with pytest.raises(ConfigError, match="ctc_weights"):
        AvsrConfig(ctc_weights=weights)


def test_a_save_that_fails_leaves_the_checkpoint_before_it(saved, monkeypatch):
    model, folder = saved
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def half(state, path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("avsr.checkpoint.save_file", half)
    with pytest.raises(OSError, match="disk full"):
        save_model(model, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_model_with_its_lips_beside_it_can_be_moved(saved, tmp_path):
    model, _ = saved
    save_model(model, tmp_path / "a", lip_encoder=model.config.video_tower, dtype=torch.float32)
    (tmp_path / "a").rename(tmp_path / "b")
    (tmp_path / "lips").rename(tmp_path / "gone")
    again, facts = load_checkpoint(tmp_path / "b", dtype=torch.float32)
    assert facts["model"]["video_tower"] == "."
    assert read(again) == read(model)
    lips = LipEncoder.from_folder(tmp_path / "b")
    assert lips.width == VIDEO_WIDTH


def test_a_model_without_lips(saved, config, tmp_path):
    deaf = replace(config, video_tower=None, video_rates=())
    model = build_model(deaf, dtype=torch.float32)
    save_model(model, tmp_path / "sound", dtype=torch.float32)
    again, _ = load_checkpoint(tmp_path / "sound", dtype=torch.float32)
    assert again.rates == {"audio": (4,), "video": ()}
    with pytest.raises(ModelError, match="video rate 2 was not trained"):
        read(again)


def test_fingerprints_tell_llms_apart_whatever_their_dtype(kind):
    mine = llm_fingerprint(tiny_llm())
    assert mine == llm_fingerprint(tiny_llm())
    assert mine == llm_fingerprint(tiny_llm().bfloat16())
    others = [tiny_llm(seed=1), tiny_llm("qwen2"), tiny_llm("qwen3")]
    assert len({mine, *map(llm_fingerprint, others)}) == 4


def test_another_llm_is_refused(saved, tmp_path):
    _, folder = saved
    write_llm(tmp_path / "llm", seed=1)
    with pytest.raises(ModelError, match="another LLM") as caught:
        load_checkpoint(folder, dtype=torch.float32)
    assert caught.value.where == str(folder)


def test_another_tower_is_refused(saved, config, tmp_path):
    model, _ = saved
    whisper, lips = tmp_path / "a-whisper", tmp_path / "lips"
    shape = WhisperShape(AUDIO_WIDTH, 1, 2, 16, 8, 10)
    for name, seed in (("a-whisper", 0), ("another", 1)):
        torch.manual_seed(seed)
        state = {f"model.encoder.{k}": v for k, v in WhisperTower(shape).state_dict().items()}
        (tmp_path / name).mkdir()
        save_file(state, tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text(json.dumps(asdict(shape)))
    config = replace(config, audio_tower=str(whisper))
    audio, video = load_towers(config)
    towers = {"audio_tower": audio, "video_tower": video}
    save_model(model, tmp_path / "known", towers=towers)
    stored = json.loads((tmp_path / "known/config.json").read_text())["frozen"]
    assert sorted(stored) == ["audio_tower", "language_model", "video_tower"]
    load_towers(config, None, stored)
    with pytest.raises(ModelError, match="another audio_tower"):
        load_towers(replace(config, audio_tower=str(tmp_path / "another")), None, stored)
    torch.manual_seed(7)
    LipEncoder(LipShape(stem=2, trunk=(4,), width=VIDEO_WIDTH, dilations=(1,))).save(lips)
    with pytest.raises(ModelError, match="another video_tower"):
        load_towers(config, None, stored)
    load_towers(config, None, {"language_model": "of a time before towers had any"})


def edit(**changes):
    def spoil(folder):
        path = folder / "config.json"
        facts = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({k: v for k, v in facts.items() if v is not ...}))

    return spoil


def edit_model(**changes):
    def spoil(folder):
        model = json.loads((folder / "config.json").read_text())["model"]
        edit(model={**model, **changes})(folder)

    return spoil


def rewrite(change):
    def spoil(folder):
        path = folder / "model.safetensors"
        save_file(change(load_file(path)), path)

    return spoil


def cut(folder, size=1000):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])


SPOILS = {
    "no config": (lambda f: (f / "config.json").unlink(), "no readable config.json"),
    "config no JSON": (lambda f: (f / "config.json").write_text("{"), "no readable config.json"),
    "config no text": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), "config.json"),
    "config a list": (lambda f: (f / "config.json").write_text("[]"), "not one of this package"),
    "config of another": (edit(avsr_format=...), "not one of this package"),
    "newer": (edit(avsr_format=99), "format 99 is newer"),
    "newer keys": (edit_model(colour="red"), "colour"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "cannot read model.safetensors"),
    "cut": (cut, "cannot read model.safetensors"),
    "empty": (lambda f: cut(f, 0), "cannot read model.safetensors"),
    "cut at the end": (
        lambda f: cut(f, (f / "model.safetensors").stat().st_size - 1),
        "cannot read model.safetensors",
    ),
    "tensor lost": (
        rewrite(lambda s: {k: v for k, v in s.items() if k != "prompter.markers"}),
        "do not fit the configuration",
    ),
    "tensor too many": (rewrite(lambda s: {**s, "x": torch.ones(1)}), "do not fit"),
    "other shape": (
        rewrite(lambda s: {**s, "prompter.markers": torch.ones(4, 5)}),
        "do not fit the configuration",
    ),
    "other rates": (edit_model(audio_rates=[4, 8]), "do not fit the configuration"),
}
# Values that JSON can hold and no model can.
STRICTER = {
    "format no number": (edit(avsr_format="1"), "format"),
    "format null": (edit(avsr_format=None), "format"),
    "no model": (edit(model=...), "model"),
    "model a list": (edit(model=[]), "model"),
    "newer projector": (edit_model(projector={"colour": 1}), "colour"),
    "newer experts": (edit_model(mome={"colour": 1}), "colour"),
    "experts that cannot be": (edit_model(mome={"routed": 2, "top_k": 3}), "top_k"),
    "no such compressor": (edit_model(compress={"name": "sieve"}), "sieve"),
    "rates no list": (edit_model(audio_rates=4), "audio_rates"),
    "rates no numbers": (edit_model(audio_rates=["4"]), "audio_rates"),
    "no such lips": (edit_model(video_tower="/no/such"), "lip"),
    "no such llm": (edit_model(language_model="/no/such"), "no such model"),
}


@pytest.mark.parametrize(("spoil", "message"), [*SPOILS.values()], ids=[*SPOILS])
def test_a_folder_that_is_none_of_ours_is_refused(saved, spoil, message):
    refuse(saved[1], spoil, message)


@pytest.mark.parametrize(("spoil", "message"), [*STRICTER.values()], ids=[*STRICTER])
def test_a_configuration_that_cannot_be_is_refused(saved, spoil, message):
    refuse(saved[1], spoil, message)


def refuse(folder, spoil, message):
    load_checkpoint(folder, dtype=torch.float32)
    spoil(folder)
    with pytest.raises(AvsrError, match=message) as caught:
        load_checkpoint(folder, dtype=torch.float32)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("name", ["model.pt", "model.ckpt", "model.bin", "model.pth"])
def test_a_pickle_is_refused_unread(tmp_path, name):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelError, match="pickle"):
        load_checkpoint(tmp_path / name)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/model.safetensors").write_bytes(pickle.dumps(Bomb()))
    (tmp_path / "folder/config.json").write_text(json.dumps({"avsr_format": 1, "model": {}}))
    with pytest.raises(ModelError, match=r"cannot read model\.safetensors"):
        load_checkpoint(tmp_path / "folder")
    assert not (tmp_path / "ran").exists()


def test_towers_of_sound_only(config, monkeypatch):
    asked = []
    monkeypatch.setattr(WhisperTower, "from_folder", lambda folder: asked.append(str(folder)))
    assert load_towers(replace(config, video_tower=None, video_rates=()))[1] is None
    video = load_towers(config)[1]
    assert asked == [config.audio_tower] * 2
    assert video.width == VIDEO_WIDTH
    with pytest.raises(ModelError, match="no folder yet"):
        load_towers(replace(config, video_tower="."))


def test_an_avhubert_is_a_tower_of_either_stream(config, tmp_path):
    """Named by its folder; its rate and width go with it."""
    AvHubertTower(tiny_avhubert()).save(tmp_path / "avhubert")
    named = str(tmp_path / "avhubert")
    both = replace(config, audio_tower=named, video_tower=named)
    audio, video = load_towers(both)
    assert (audio.modality, audio.hz, audio.width) == ("audio", 25.0, 16)
    assert (video.modality, video.hz, video.width) == ("video", 25.0, 16)
    assert tower_widths(both, None) == (16, 16)
    model = build_model(both, dtype=torch.float32)
    features = Features(
        TokenStream.from_features(torch.ones(1, 9, 16), torch.tensor([9]), audio.hz),
        TokenStream.from_features(torch.ones(1, 9, 16), torch.tensor([9]), video.hz),
    )
    view = View(0, Rates(4, 2))
    assert model.tokens(features, [view])["audio_4"].lengths.tolist() == [3]
