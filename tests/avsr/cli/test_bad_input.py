"""Each bad input, through the real command with a tiny random model: its line, its exit status.

In every call a good clip stands beside the bad one, and is read as if it were alone.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from avsr.checkpoint import build_model, save_model
from avsr.cli import main
from avsr.config import AvsrConfig
from avsr.errors import AvsrError
from avsr.projector import ProjectorConfig
from avsr.weights import pull
from experts import MomeConfig
from frontends.audio_tower import WhisperShape, WhisperTower
from frontends.video_tower import LipEncoder, LipShape
from tests.frontends.clips import tone, write_clip

DEMO = Path(__file__).parents[3] / "avsr" / "models" / "demo.mp4"
SECOND = [k / 25 for k in range(25)]
WORDS = ["<s>", "</s>", "<unk>", *(f"word{k}" for k in range(45))]
EOS = 1


def _llm(folder: Path, seed: int) -> Path:
    """A Llama of two layers that never ends a text, and a tokenizer of 48 words."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=0,
        eos_token_id=EOS,
        initializer_range=0.3,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        llm = LlamaForCausalLM(config)
        llm.lm_head.weight[EOS] = 0.0  # so never the most likely
    llm.save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({word: k for k, word in enumerate(WORDS)}, "<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    told = {"bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    return folder


def _whisper(folder: Path) -> Path:
    shape = WhisperShape(16, 1, 2, 24, 80, 1500)
    tower = WhisperTower(shape)
    folder.mkdir()
    state = {f"model.encoder.{key}": value for key, value in tower.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(vars(shape)))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder; its LLM lies beside it as `llm`."""
    home = tmp_path_factory.mktemp("tiny")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        lips = LipEncoder(LipShape(stem=4, trunk=(4, 8), width=8, dilations=(1,)))
        lips.save(home / "lips")
        config = AvsrConfig(
            language_model=str(_llm(home / "llm", seed=1)),
            audio_tower=str(_whisper(home / "whisper")),
            video_tower=str(home / "lips"),
            projector=ProjectorConfig(width=16),
            mome=MomeConfig(routed=4, top_k=2, rank=4),
        )
    made = build_model(config, dtype=torch.float32)
    save_model(made, home / "model", lip_encoder=home / "lips")
    return home / "model"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: list[str]
    err: list[str]

    def of(self, name: str) -> list[str]:
        """What stderr says about an input, without the name."""
        return [e.removeprefix(f"{name}: ") for e in self.err if e.startswith(f"{name}: ")]


@pytest.fixture
def transcribe(model, tmp_path, monkeypatch, capsys):
    """Run `avsr transcribe` in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str, model: Path | str = model) -> Ended:
        capsys.readouterr()
        options = ["--model", str(model), "--dtype", "float32", "--device", "cpu"]
        code = main(["transcribe", *words, *options, "--max-new-tokens", "3"])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Ended(code, out.splitlines(), err.splitlines())

    return call


@pytest.fixture
def good(tmp_path) -> str:
    """One second of sound without a picture."""
    write_clip(tmp_path / "good.wav", wave=tone(1.0, 16_000))
    return "good.wav"


@pytest.fixture
def clip(tmp_path):
    """Write a mouth clip: `clip("name.mp4", seconds=1.0, hz=440.0)`; hz 0 is silence."""

    def make(name: str, *, seconds: float = 1.0, hz: float | None = 440.0, picture=True) -> str:
        wave = None if hz is None else tone(seconds, 16_000, hz=hz)
        times = [k / 25 for k in range(round(seconds * 25))] if picture else None
        codec = "aac" if name.endswith(".mp4") else "pcm_s16le"
        write_clip(tmp_path / name, times=times, wave=wave, wave_codec=codec)
        return name

    return make


def test_a_good_clip_is_read_from_both_streams(transcribe, clip):
    ended = transcribe(clip("good.mp4"), "--roi", "given", "-f", "json", "--stdout")
    assert ended.code == 0
    told = json.loads(Path("good.json").read_text())
    assert told["modality"] == "av"
    assert told["text"] == ended.out[0]
    assert len(ended.out[0].split()) == 3


def _none(path: Path) -> None:
    path.unlink(missing_ok=True)


def _cut(path: Path) -> None:
    write_clip(path, times=SECOND, wave=tone(1.0, 16_000), wave_codec="aac")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (_none, "no such file"),
        (Path.mkdir, "no media file in this folder"),
        (Path.touch, "empty"),
        (lambda path: path.write_text("hello, this is no film\n" * 50), "text file"),
        (_cut, "cut"),
        (lambda path: path.write_bytes(pickle.dumps({"a": list(range(2000))})), "not media"),
    ],
    ids=["none", "folder", "empty", "text", "cut", "pickle"],
)
@pytest.mark.parametrize("batch", ["1", "3"])
def test_an_unreadable_input_is_one_line_and_harms_no_other(
    transcribe, good, tmp_path, make, told, batch
):
    alone = transcribe(good)
    assert alone.code == 0
    make(tmp_path / "bad.mp4")
    ended = transcribe(good, "bad.mp4", good, "--batch-size", batch)
    assert ended.code == 1
    assert ended.out == [f"good.wav: {alone.out[0]}"] * 2
    (line,) = ended.of("bad.mp4")
    assert line.startswith("error: ")
    assert told in line
    assert len([e for e in ended.err if "error" in e]) == 1


@pytest.mark.parametrize("modality", ["a", "av", "v", "auto"])
def test_without_sound_lips_are_read_only_where_that_was_allowed(transcribe, clip, modality):
    name = clip("mute.mkv", hz=None)
    roi = [] if modality == "a" else ["--roi", "given"]  # of no meaning for sound alone
    ended = transcribe(name, *roi, "--modality", modality)
    fault = "the clip has no audio track"
    if modality in ("v", "auto"):
        assert (ended.code, len(ended.out)) == (0, 1)
        warned = f"warning: {fault}; read from the lips alone"
        assert (warned in ended.of(name)) == (modality == "auto")
    else:
        assert (ended.code, ended.out) == (1, [])
        assert ended.of(name) == [f"error: {fault}. Use --modality v or auto."]


@pytest.mark.parametrize("modality", ["a", "av", "v", "auto"])
def test_without_a_picture_sound_is_read_only_where_that_was_allowed(transcribe, good, modality):
    ended = transcribe(good, "--modality", modality)
    if modality in ("a", "auto"):
        assert (ended.code, len(ended.out)) == (0, 1)
    else:
        assert (ended.code, ended.out) == (1, [])
        assert ended.of(good) == ["error: the clip has no video track. Use --modality a or auto."]


def test_a_silent_clip_is_read_from_its_lips_and_says_so(transcribe, clip, good):
    silent = clip("silent.mkv", hz=0.0)
    ended = transcribe(silent, good, "--roi", "given")
    assert (ended.code, len(ended.out)) == (0, 2)
    assert "warning: the sound is silent; read from the lips alone" in ended.of(silent)
    ended = transcribe(silent, good, "--modality", "a")
    assert (ended.code, len(ended.out)) == (1, 1)
    assert ended.of(silent) == ["error: the sound is silent. Use --modality v or auto."]
    ended = transcribe(clip("silent.wav", hz=0.0, picture=False), good)
    assert (ended.code, len(ended.out)) == (1, 1)
    assert ended.of("silent.wav") == ["error: the sound is silent. Give a clip with speech."]


def test_a_clip_of_a_fifth_of_a_second_is_read_with_a_warning(transcribe, clip):
    name = clip("short.mkv", seconds=0.2)
    ended = transcribe(name, "--roi", "given", "--rate", "coarse")  # shorter than one token
    assert (ended.code, len(ended.out)) == (0, 1)
    assert "warning: the clip lasts only 0.20 s, hardly a word" in ended.of(name)


@pytest.fixture
def face_models() -> None:
    pytest.importorskip("ai_edge_litert")
    try:
        pull("face-models", local_files_only=True)
    except AvsrError as error:
        pytest.skip(f"no face models: {error}")


@pytest.mark.weights
@pytest.mark.usefixtures("face_models")
def test_a_picture_without_a_face_falls_back_only_under_auto(transcribe, clip, good):
    name = clip("wall.mkv")
    fault = "no face in any picture"
    ended = transcribe(name, good)
    assert (ended.code, len(ended.out)) == (0, 2)
    assert f"warning: {fault}; read from the sound alone" in ended.of(name)
    for modality in ("v", "av"):
        ended = transcribe(name, "--modality", modality)
        assert (ended.code, ended.out) == (1, [])
        (line,) = ended.of(name)
        assert line.startswith(f"error: {fault}")


@pytest.mark.weights
@pytest.mark.usefixtures("face_models")
def test_of_two_faces_one_is_followed_and_the_other_told(transcribe, tmp_path, good):
    with av.open(str(DEMO)) as film:
        shown = [frame.to_ndarray(format="rgb24") for frame in islice(film.decode(video=0), 25)]
    pair = [np.hstack([image, image]) for image in shown]
    path = tmp_path / "pair.mkv"
    write_clip(path, times=SECOND, picture=pair.__getitem__, wave=tone(1.0, 16_000))
    ended = transcribe("pair.mkv", good)
    assert (ended.code, len(ended.out)) == (0, 2)
    assert "warning: 2 faces at once; the largest was followed" in ended.of("pair.mkv")


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_a_rate_not_trained_is_wrong_usage_and_lists_the_trained(transcribe, clip, kind):
    ended = transcribe(clip("good.mkv"), "--roi", "given", f"--{kind}-rate", "7")
    assert (ended.code, ended.out) == (2, [])
    trained = {"audio": "4, 16", "video": "2, 5"}[kind]
    todo = f"Choose one of the trained {kind} rates: {trained}."
    assert ended.err == [f"avsr: error: {kind} rate 7 was not trained. {todo}"]


def refused(ended: Ended) -> str:
    """The one line of a call that could not have its model."""
    assert (ended.code, ended.out) == (3, [])
    (line,) = ended.err
    assert line.startswith("avsr: error: ")
    return line


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nonesuch", "unknown model 'nonesuch'"),
        ("./nonesuch", "no such model folder"),
        ("nobody/nothing", "in the local hub cache"),
    ],
)
def test_an_unknown_model(transcribe, good, monkeypatch, name, told):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert told in refused(transcribe(good, model=name))


def test_a_folder_that_is_no_model_of_ours(transcribe, good, model, tmp_path):
    (tmp_path / "void").mkdir()
    assert "in this folder (void)" in refused(transcribe(good, model="./void"))
    assert "not one of this package's models" in refused(
        transcribe(good, model=model.parent / "llm")
    )


def _copy(model: Path, to: Path) -> Path:
    to.mkdir()
    for file in model.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


@pytest.mark.parametrize("other", ["the same shape", "another shape"])
def test_a_checkpoint_of_another_llm(transcribe, good, model, tmp_path, other):
    folder = _copy(model, tmp_path / "model")
    llm = _llm(tmp_path / "llm", seed=2)
    if other == "another shape":
        facts = json.loads((llm / "config.json").read_text())
        (llm / "config.json").write_text(json.dumps({**facts, "num_hidden_layers": 1}))
        state = load_file(llm / "model.safetensors")
        kept = {key: value for key, value in state.items() if "layers.1." not in key}
        save_file(kept, llm / "model.safetensors")
    facts = json.loads((folder / "config.json").read_text())
    facts["model"]["language_model"] = str(llm)
    (folder / "config.json").write_text(json.dumps(facts))
    line = refused(transcribe(good, model=folder))
    assert "trained inside another LLM" in line


class Trap:
    """Leaves a file when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("sprung"),))


def test_a_pickle_is_refused_unread_as_file_in_a_folder_and_under_a_safe_name(
    transcribe, good, model, tmp_path
):
    trap = pickle.dumps(Trap())
    (tmp_path / "model.ckpt").write_bytes(trap)
    assert "pickles are never loaded" in refused(transcribe(good, model="model.ckpt"))
    folder = _copy(model, tmp_path / "folder")
    (folder / "model.safetensors").write_bytes(trap)
    assert "cannot read model.safetensors" in refused(transcribe(good, model=folder))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    (folder / "lip_encoder.safetensors").unlink()
    assert "pytorch_model.bin, a pickle" in refused(transcribe(good, model=folder))
    assert not (tmp_path / "sprung").exists()


@pytest.fixture
def cut_off(monkeypatch, tmp_path):
    """An empty cache, and an index at which nobody answers."""
    monkeypatch.setenv("AVSR_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("cut_off")
@pytest.mark.parametrize("options", [[], ["--local-files-only"]])
@pytest.mark.parametrize("part", ["language_model", "audio_tower"])
def test_frozen_parts_without_cache_and_network(
    transcribe, good, model, tmp_path, monkeypatch, options, part
):
    folder = _copy(model, tmp_path / "model")
    facts = json.loads((folder / "config.json").read_text())
    name = {"language_model": "smollm2-135m-instruct", "audio_tower": "whisper-tiny.en"}[part]
    facts["model"][part] = name
    (folder / "config.json").write_text(json.dumps(facts))
    if options:
        monkeypatch.setattr("avsr.weights.download", lambda *_: pytest.fail("asked the network"))
    line = refused(transcribe(good, *options, "--quiet", model=folder))
    fault = f"weights {name} are not in the cache" if options else "no connection to the package"
    assert fault in line


@pytest.mark.usefixtures("cut_off")
def test_face_models_without_cache_and_network_leave_sound_clips_unharmed(
    transcribe, clip, good, monkeypatch
):
    monkeypatch.setattr("avsr.weights.download", lambda *_: pytest.fail("asked the network"))
    name = clip("face.mkv")
    ended = transcribe(name, good, "--local-files-only")
    assert ended.code == 3
    assert len(ended.out) == 1
    (line,) = ended.of(name)
    assert line.startswith("error: weights face-models are not in the cache")
