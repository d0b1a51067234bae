"""Laws of the Whisper converter: every number arrives, under its name, or one line says why not."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from avsr.ctranslate2 import convert, read_variables, to_transformers
from avsr.errors import ModelError

WIDTH, LAYERS, MELS, WORDS = 128, 2, 80, 60
CODES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


def pack(
    variables: dict[str, NDArray], aliases: dict[str, str] | None = None, *, version: int = 6
) -> bytes:
    """Write `model.bin` as weights.md describes it."""

    def string(text: str) -> bytes:
        raw = text.encode() + b"\0"
        return struct.pack("<H", len(raw)) + raw

    out = struct.pack("<I", version) + string("WhisperSpec")
    out += struct.pack("<II", 3, len(variables))
    for name, array in variables.items():
        out += string(name) + struct.pack("<B", array.ndim)
        out += struct.pack(f"<{array.ndim}I", *array.shape)
        out += struct.pack("<BI", CODES[str(array.dtype)], array.nbytes) + array.tobytes()
    aliases = aliases or {}
    out += struct.pack("<I", len(aliases))
    return out + b"".join(string(new) + string(old) for new, old in aliases.items())


@pytest.fixture(scope="module")
def whisper():
    """A tiny random Whisper of transformers, its numbers exact in float16."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=WIDTH,
        vocab_size=WORDS,
        num_mel_bins=MELS,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=96,
        max_source_positions=40,
        max_target_positions=16,
        pad_token_id=50,
        bos_token_id=50,
        eos_token_id=50,
        decoder_start_token_id=51,
    )
    model = WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter).mul_(0.1).half().float())
    return model


def to_ctranslate2(model) -> dict[str, NDArray]:
    """Name and stack a Whisper's tensors as CTranslate2 does, written down a second time."""
    state = {k: v.numpy().astype(np.float16) for k, v in model.model.state_dict().items()}
    width, out = model.config.d_model, {}

    def put(here: str, *there: str) -> None:
        for part in ("weight", "bias"):
            empty = np.zeros(width, np.float16)
            out[f"{here}/{part}"] = np.concatenate([state.get(f"{t}.{part}", empty) for t in there])

    def norm(here: str, there: str) -> None:
        out[f"{here}/gamma"], out[f"{here}/beta"] = state[f"{there}.weight"], state[f"{there}.bias"]

    for half in ("encoder", "decoder"):
        out[f"{half}/position_encodings/encodings"] = state[f"{half}.embed_positions.weight"]
        out[f"{half}/num_heads"] = np.array(2, np.int16)
        norm(f"{half}/layer_norm", f"{half}.layer_norm")
        for i in range(LAYERS):
            here, there = f"{half}/layer_{i}", f"{half}.layers.{i}"
            mine = f"{there}.self_attn"
            put(f"{here}/self_attention/linear_0", *(f"{mine}.{x}_proj" for x in "qkv"))
            put(f"{here}/self_attention/linear_1", f"{mine}.out_proj")
            norm(f"{here}/self_attention/layer_norm", f"{there}.self_attn_layer_norm")
            if half == "decoder":
                cross = f"{there}.encoder_attn"
                put(f"{here}/attention/linear_0", f"{cross}.q_proj")
                put(f"{here}/attention/linear_1", f"{cross}.k_proj", f"{cross}.v_proj")
                put(f"{here}/attention/linear_2", f"{cross}.out_proj")
                norm(f"{here}/attention/layer_norm", f"{there}.encoder_attn_layer_norm")
            put(f"{here}/ffn/linear_0", f"{there}.fc1")
            put(f"{here}/ffn/linear_1", f"{there}.fc2")
            norm(f"{here}/ffn/layer_norm", f"{there}.final_layer_norm")
    for name in ("conv1", "conv2"):
        put(f"encoder/{name}", f"encoder.{name}")
    out["decoder/embeddings/weight"] = state["decoder.embed_tokens.weight"]
    return out


ALIASES = {"decoder/projection/weight": "decoder/embeddings/weight"}
SPECIAL = {"<|endoftext|>": 50, "<|startoftranscript|>": 51, "<|en|>": 52, "<|de|>": 53}
SPECIAL |= {"<|translate|>": 54, "<|transcribe|>": 55, "<|startofprev|>": 56}
SPECIAL |= {"<|notimestamps|>": 57}


@pytest.fixture
def source(whisper, tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "model.bin").write_bytes(pack(to_ctranslate2(whisper), ALIASES))
    (folder / "config.json").write_text('{"suppress_ids": [1, 2], "suppress_ids_begin": [3]}')
    tokens = [{"content": text, "id": index} for text, index in SPECIAL.items()]
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
    return folder


@pytest.fixture
def target(source: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    convert(source, folder)
    return folder


def test_a_round_trip_keeps_every_tensor(whisper, target: Path) -> None:
    from transformers import WhisperForConditionalGeneration

    loaded, info = WhisperForConditionalGeneration.from_pretrained(target, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    wanted, got = whisper.state_dict(), loaded.state_dict()
    assert wanted.keys() == got.keys()
    assert all(torch.equal(got[name], tensor) for name, tensor in wanted.items())
    assert got["proj_out.weight"].dtype == torch.float32
    mels, ids = torch.randn(1, MELS, 80), torch.tensor([[51, 7, 8]])
    with torch.inference_mode():
        a = whisper(input_features=mels, decoder_input_ids=ids).logits
        b = loaded.eval()(input_features=mels, decoder_input_ids=ids).logits
    assert torch.equal(a, b)


def test_the_settings_are_read_off_the_tensors_and_tokens(target: Path) -> None:
    config = json.loads((target / "config.json").read_text())
    assert (config["encoder_layers"], config["decoder_layers"]) == (LAYERS, LAYERS)
    assert (config["encoder_ffn_dim"], config["decoder_ffn_dim"]) == (64, 96)
    assert (config["d_model"], config["vocab_size"]) == (WIDTH, WORDS)
    settings = json.loads((target / "generation_config.json").read_text())
    assert settings["suppress_tokens"] == [1, 2]
    assert settings["begin_suppress_tokens"] == [3]
    assert settings["lang_to_id"] == {"<|en|>": 52, "<|de|>": 53}
    assert settings["is_multilingual"]
    assert settings["max_length"] == 16


@pytest.mark.parametrize("kind", ["float32", "float16", "int8", "int16", "int32"])
def test_every_kind_of_number_is_read(tmp_path: Path, kind: str) -> None:
    array = np.arange(-6, 6).reshape(3, 4).astype(kind)
    odd = {"x": np.array([1], np.int8), "y": array, "z": np.array(3, np.int16)}  # y lies unaligned
    (tmp_path / "model.bin").write_bytes(pack(odd, {"again": "y"}))
    got = read_variables(tmp_path / "model.bin")
    assert got["y"].dtype == array.dtype
    assert np.array_equal(got["y"], array)
    assert np.array_equal(got["again"], array)
    assert got["z"].shape == ()


def test_bfloat16_is_read_exactly(tmp_path: Path) -> None:
    values = torch.tensor([1.5, -3.0, 1e30, 0.1], dtype=torch.bfloat16)
    data = pack({"x": values.view(torch.int16).numpy()})
    old = struct.pack("<BI", 2, 8)
    assert data.count(old) == 1
    (tmp_path / "model.bin").write_bytes(data.replace(old, struct.pack("<BI", 5, 8)))
    got = read_variables(tmp_path / "model.bin")["x"]
    assert np.array_equal(got, values.float().numpy())


def test_a_file_cut_anywhere_is_one_line(tmp_path: Path) -> None:
    data = pack({"one": np.ones((3, 2), np.float32), "two": np.ones(5, np.float16)}, {"a": "one"})
    path = tmp_path / "model.bin"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ModelError, match="not a CTranslate2 model"):
            read_variables(path)
    path.write_bytes(data)
    assert set(read_variables(path)) == {"one", "two", "a"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pack({}, version=5), "version 5"),
        (pack({}, {"a": "none"}), "a stands for none, which is missing"),
        (b"\x80\x04" + bytes(50), "version"),
    ],
)
def test_what_is_no_model_is_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "model.bin").write_bytes(data)
    with pytest.raises(ModelError, match=message):
        read_variables(tmp_path / "model.bin")


def test_a_variable_too_few_or_too_many_is_named(whisper) -> None:
    full = to_ctranslate2(whisper)
    for name, array in full.items():
        if array.ndim:
            with pytest.raises(ModelError):
                to_transformers({k: v for k, v in full.items() if k != name})
    with pytest.raises(ModelError, match="encoder/odd is new"):
        to_transformers(full | {"encoder/odd": np.ones(3)})


def test_keys_with_a_bias_are_not_dropped_in_silence(whisper) -> None:
    full = to_ctranslate2(whisper)
    name = "encoder/layer_0/self_attention/linear_0/bias"
    full[name] = full[name].copy()
    full[name][WIDTH] = 1
    with pytest.raises(ModelError, match="keys have biases"):
        to_transformers(full)
