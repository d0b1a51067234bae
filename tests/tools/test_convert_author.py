"""Checkpoints of the authors' other systems, of tiny width, come over whole; strangers stop it."""

import copy

import pytest
import torch
import torch.nn.functional as F

from avsr.checkpoint import load_checkpoint, load_towers
from avsr.language_model import load_llm
from avsr.rates import Rates
from avsr.streams import TokenStream
from avsr.views import Features, View
from frontends.audio_tower import WhisperShape, WhisperTower
from tests.avsr.train.folders import write_llm
from tests.frontends.avhuberts import TINY, pretrained, tiny

WIDTH, RANK, MID = 32, 3, 10
RATES = {"audio": (4, 16), "video": (2, 5)}
VARIANTS = {
    "omni-s": ("",),
    "omni-t": (".audio", ".video", ".audiovisual"),
    "omni-st": ("_shared", ".audio", ".video", ".audiovisual"),
}


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return write_llm(tmp_path_factory.mktemp("llm") / "llm")


@pytest.fixture(scope="module")
def whisper():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return WhisperTower(WhisperShape(16, 1, 1, 24, 80, 1500))


@pytest.fixture(scope="module")
def lips():
    return tiny()


def rand(*shape, seed=[0]):  # noqa: B006  # a new seed each time, the same in every run
    seed[0] += 1
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed[0])) * 0.3


def checkpoint(llm, whisper, lips, *, banks=("",), numbered=True, norm=False, encoder_lora=True):
    """A state dict under the authors' names."""
    base, _ = load_llm(llm, torch.float32)
    state = {f"audio_encoder.{k}": v for k, v in whisper.state_dict().items()}
    state |= {f"video_encoder.{k}": v for k, v in pretrained(lips).items()}
    if encoder_lora:
        for layer in range(TINY.layers):
            for target in "QV":
                at = f"video_encoder.encoder.layers.{layer}.self_attn.lora"
                state[f"{at}_down_{target}.weight"] = rand(2, TINY.width)
                state[f"{at}_up_{target}.weight"] = rand(TINY.width, 2)
    for kind, rates in RATES.items():
        for number in range(len(rates)) if numbered else [None]:
            at = f"{kind}_proj." + ("" if number is None else f"{number}.")
            state |= {f"{at}0.weight": rand(MID, 16), f"{at}0.bias": rand(MID)}
            state |= {f"{at}2.weight": rand(WIDTH, MID), f"{at}2.bias": rand(WIDTH)}
            if norm:
                state |= {f"{at}3.weight": rand(WIDTH), f"{at}3.bias": rand(WIDTH)}
    state |= {f"llm.{k}": v for k, v in base.state_dict().items()}
    for name in ("model.embed_tokens", "lm_head"):
        table = base.get_parameter(f"{name}.weight")
        state[f"llm.{name}.weight"] = torch.cat([table, rand(5, WIDTH)])
    for layer in range(2):
        for target, outputs in (("Q", WIDTH), ("V", WIDTH // 2)):  # two of four heads hold values
            for bank in banks:
                at = f"llm.model.layers.{layer}.self_attn.lora"
                state[f"{at}_down_{target}{bank}.weight"] = rand(RANK, WIDTH)
                state[f"{at}_up_{target}{bank}.weight"] = rand(outputs, RANK)
    state |= {f"prompt_{k}": rand(1, 3, WIDTH) for k in ("audio", "video", "audiovisual")}
    return state


def merged(llm, state, task, scale=0.125):
    """The LLM with the low-rank updates of a task in its weights."""
    base, _ = load_llm(llm, torch.float32)
    base = copy.deepcopy(base)
    named = {"a": ".audio", "v": ".video", "av": ".audiovisual"}
    for layer in range(2):
        for target, name in (("Q", "q_proj"), ("V", "v_proj")):
            for bank in ("", "_shared", named[task]):
                at = f"llm.model.layers.{layer}.self_attn.lora"
                down = state.get(f"{at}_down_{target}{bank}.weight")
                if down is not None:
                    up = state[f"{at}_up_{target}{bank}.weight"]
                    weight = base.model.layers[layer].self_attn.get_submodule(name).weight
                    weight.data += scale * up @ down
    return base


def projected(state, kind, number, x, norm):
    """The authors' projector on pooled features; what does not fill a window is dropped."""
    at = f"{kind}_proj." + ("" if number is None else f"{number}.")
    y = F.relu(F.linear(x, state[f"{at}0.weight"], state[f"{at}0.bias"]))
    y = F.linear(y, state[f"{at}2.weight"], state[f"{at}2.bias"])
    return (
        F.layer_norm(y, y.shape[-1:], state[f"{at}3.weight"], state[f"{at}3.bias"]) if norm else y
    )


@torch.no_grad()
@pytest.mark.parametrize(
    "variant",
    [
        pytest.param("omni-s", marks=pytest.mark.slow),
        pytest.param("omni-t", marks=pytest.mark.slow),
        "omni-st",
        "llama-avsr",
    ],
)
def test_a_converted_model_computes_what_the_checkpoint_did(
    llm, whisper, lips, tool, tmp_path, variant
):
    tools = tool("convert_author")
    own = variant == "llama-avsr"  # one projector with a norm, plain low-rank layers
    banks = VARIANTS.get(variant, ("",))
    state = checkpoint(llm, whisper, lips, banks=banks, numbered=not own, norm=own)
    torch.save(state, tmp_path / "model_avg_4.pth")
    rates = {"audio": (4,), "video": (2,)} if own else RATES
    made = tools.convert(tmp_path / "model_avg_4.pth", tmp_path / "out", llm=str(llm),
                         rates=rates, heads=TINY.heads)  # fmt: skip
    model, facts = load_checkpoint(made, dtype=torch.float32)
    assert facts["training"]["converted_from"] == "model_avg_4.pth"
    assert model.config.method == ("omni-s" if own else variant)
    sound, mouth = rand(1, 19, 16), rand(1, 9, 16)
    features = Features(
        TokenStream.from_features(sound, torch.tensor([19]), 50.0),
        TokenStream.from_features(mouth, torch.tensor([9]), 25.0),
    )
    table = state["llm.model.embed_tokens.weight"]
    markers = table[-4:]
    for audio, video in ((4, 2), (4, None), (None, 2)):
        view = View(0, Rates(audio, video))
        rows = [model.embed(torch.tensor([model.tokenizer.bos_id]))]
        for kind, rate, x, first in (("audio", audio, sound, 0), ("video", video, mouth, 2)):
            if rate is not None:
                pooled = F.avg_pool1d(x.transpose(1, 2), rate).transpose(1, 2)[0]
                number = None if own else RATES[kind].index(rate)
                rows += [markers[first][None], projected(state, kind, number, pooled, own),
                         markers[first + 1][None]]  # fmt: skip
        task = view.kind.task
        rows.append(model.embed(torch.tensor(model.tokenizer.encode(model.config.prompts[task]))))
        wanted = merged(llm, state, task)(inputs_embeds=torch.cat(rows)[None]).logits[0, -1]
        batch = model.sequences(features, [view])
        with model.adapter.tokens(batch.mask, rows=[view.kind], collect="none"):
            found = model.llm(inputs_embeds=batch.embeds, attention_mask=batch.mask.long()).logits
        torch.testing.assert_close(found[0, -1], wanted, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_towers_come_from_the_checkpoint(llm, whisper, lips, tool, tmp_path):
    tools = tool("convert_author")
    state = checkpoint(llm, whisper, lips)
    drifted = {k: v + 0.25 if k.endswith("running_mean") else v for k, v in state.items()}
    torch.save({"state_dict": {f"model.{k}": v for k, v in drifted.items()}}, tmp_path / "a.ckpt")
    made = tools.convert(tmp_path / "a.ckpt", tmp_path / "out", llm=str(llm), rates=RATES, heads=2)
    model, _ = load_checkpoint(made, dtype=torch.float32)
    audio, video = load_towers(model.config, made)
    assert (audio.pad, audio.level) == ("30s", "utterance")
    assert all(torch.equal(v, whisper.state_dict()[k]) for k, v in audio.state_dict().items())
    own, truth = video.net.state_dict(), lips.state_dict()
    for name, value in own.items():
        if name.endswith("running_mean"):
            assert torch.equal(value, truth[name] + 0.25)
        elif name.endswith(("q_proj.weight", "v_proj.weight")):
            at = "video_encoder." + name.replace("q_proj.", "lora_%s_Q.").replace(
                "v_proj.", "lora_%s_V."
            )
            update = 2.0 * drifted[at % "up"] @ drifted[at % "down"]
            torch.testing.assert_close(value, truth[name] + update)
        else:
            assert torch.equal(value, truth[name]), name


def test_levelled_sound_is_the_same_at_any_loudness(whisper):
    tower = WhisperTower(whisper.shape, level="utterance")
    tower.load_state_dict(whisper.state_dict())
    wave = rand(1, 8000)
    one, _ = tower(wave, torch.tensor([8000]))
    two, _ = tower(0.1 * wave, torch.tensor([8000]))
    torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(whisper(wave, torch.tensor([8000]))[0], one, atol=1e-2)
    with pytest.raises(ValueError, match="level"):
        WhisperTower(whisper.shape, level="loud")


WRONG = {
    "adapter.weight belongs to no system": {"adapter.weight": torch.zeros(1)},
    "unknown kind of low-rank": {"llm.model.layers.0.self_attn.lora_down_K.weight": torch.zeros(1)},
    "video_encoder.*is unknown": {"video_encoder.encoder.layers.0.extra.weight": torch.zeros(1)},
    "audio_encoder.conv3.weight is unknown": {"audio_encoder.conv3.weight": torch.zeros(1)},
    "llm.model.extra is unknown": {"llm.model.extra": torch.zeros(1)},
    "has only its down": {"llm.model.layers.0.self_attn.lora_up_Q.weight": None},
    "llm.model.norm.weight is missing": {"llm.model.norm.weight": None},
    "llm.model.norm.weight differs": {"llm.model.norm.weight": torch.full((WIDTH,), 2.0)},
    "audio projectors .0. for": {f"audio_proj.1.{k}": None
                                 for k in ("0.weight", "0.bias", "2.weight", "2.bias")},
    "lacks a layer": {"video_proj.1.2.bias": None},
    "no low-rank v_proj": {f"llm.model.layers.1.self_attn.lora_{s}_V.weight": None
                           for s in ("up", "down")},
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(llm, whisper, lips):
    return checkpoint(llm, whisper, lips)


QUICK = ("adapter", "video_encoder", "llm.model.norm.weight differs")


@pytest.mark.parametrize(
    "said", [w if w.startswith(QUICK) else pytest.param(w, marks=pytest.mark.slow) for w in WRONG]
)
def test_an_unknown_or_missing_tensor_stops_the_conversion_with_its_name(
    whole, llm, tool, tmp_path, said
):
    tools = tool("convert_author")
    state = {k: v for k, v in {**whole, **WRONG[said]}.items() if v is not None}
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=said):
        tools.convert(tmp_path / "a.pth", tmp_path / "out", llm=str(llm), rates=RATES, heads=2)
    assert not (tmp_path / "out" / "model").exists()


@pytest.mark.slow
def test_rates_of_a_stream_that_is_not_there(whole, llm, tool, tmp_path):
    tools = tool("convert_author")
    torch.save(whole, tmp_path / "a.pth")
    for rates in ({"audio": (), "video": (2, 5)}, {"audio": (4, 16), "video": ()}):
        with pytest.raises(ValueError, match="encoder it has one"):
            tools.convert(tmp_path / "a.pth", tmp_path / "out", llm=str(llm), rates=rates)
