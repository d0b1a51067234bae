"""Whisper's own decoder beside ours: transformers' greedy search, and no clip disturbs another."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from avsr import baseline
from avsr.baseline import WhisperBaseline
from avsr.errors import AvsrError, ModelError, SetupError

RATE = 16_000
WORDS = [f"word{chr(97 + k)}" for k in range(20)]  # no digits: those are spelled out
SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]
TIMES = ["<|0.00|>", "<|0.02|>"]
STEPS = 16  # tokens a text, instead of 224
BANNED, BANNED_FIRST = [3, 7], [5]  # what the shipped settings leave out, always or at first


def write_tokenizer(folder: Path, names: list[str]) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(WordLevel({name: k for k, name in enumerate(names)}, WORDS[0]))
    tokenizer.pre_tokenizer = Whitespace()
    special = [name for name in names if name.startswith("<|")]
    tokenizer.add_special_tokens(special)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=SPECIAL[0]).save_pretrained(
        folder
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Whisper of one layer, multilingual, whose texts depend on the sound."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    names = WORDS + SPECIAL + TIMES
    ids = {name: k for k, name in enumerate(names)}
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    config = WhisperConfig(
        vocab_size=len(names),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        decoder_start_token_id=start,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        init_std=0.6,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = WhisperForConditionalGeneration(config)
    shipped = model.generation_config
    shipped.suppress_tokens = BANNED
    shipped.begin_suppress_tokens = BANNED_FIRST
    path = tmp_path_factory.mktemp("whisper")
    model.save_pretrained(path)
    write_tokenizer(path, names)
    return path


@pytest.fixture
def whisper(folder: Path, monkeypatch: pytest.MonkeyPatch) -> WhisperBaseline:
    """The baseline on it, with short texts."""
    monkeypatch.setattr(baseline, "_MAX_TOKENS", STEPS)
    return WhisperBaseline(folder)


def sounds() -> list[Any]:
    """Noise of unequal length and loudness, and a tone."""
    random = np.random.default_rng(0)
    noise = [0.3 * random.normal(size=n) for n in (8_000, 40_000)]
    tone = 0.5 * np.sin(np.arange(24_000) / 7)
    return [wave.astype(np.float32) for wave in (*noise, tone)]


def theirs(folder: Path, waves: list[Any]) -> list[str]:
    """transformers alone: its spectrograms, its Whisper `generate`, its tokenizer."""
    from transformers import (
        AutoTokenizer,
        GenerationConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
    )

    model = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    known = tokenizer.get_vocab()
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=STEPS,
        decoder_start_token_id=known["<|startoftranscript|>"],
        eos_token_id=known["<|endoftext|>"],
        pad_token_id=known["<|endoftext|>"],
        # Ours never writes a special token, as the lists of real models have it.
        suppress_tokens=sorted({*BANNED, *(known[name] for name in (*SPECIAL[1:], *TIMES))}),
        begin_suppress_tokens=BANNED_FIRST,
    )
    settings.is_multilingual = True
    settings.lang_to_id = {"<|en|>": known["<|en|>"]}
    settings.task_to_id = {"transcribe": known["<|transcribe|>"]}
    settings.no_timestamps_token_id = known["<|notimestamps|>"]
    mels = WhisperFeatureExtractor()(waves, sampling_rate=RATE, return_tensors="pt").input_features
    with torch.inference_mode():
        ids = model.generate(mels, generation_config=settings, language="en", task="transcribe")
    return tokenizer.batch_decode(ids, skip_special_tokens=True)


def test_texts_are_those_of_transformers(folder: Path, whisper: WhisperBaseline) -> None:
    found = whisper.transcribe(sounds())
    assert [text.strip() for text in found] == [t.strip() for t in theirs(folder, sounds())]
    assert len(set(found)) == 3  # or it would not matter what is heard
    assert all(found)


def test_what_the_shipped_settings_leave_out_is_not_said(whisper: WhisperBaseline) -> None:
    texts = [text.split() for text in whisper.transcribe(sounds())]
    assert not {WORDS[k] for k in BANNED} & {word for text in texts for word in text}
    assert all(text[0] != WORDS[k] for text in texts for k in BANNED_FIRST)
    whisper.settings.suppress_tokens = None  # without the settings some of it is said
    free = whisper.transcribe(sounds())
    assert [text.split() for text in free] != texts


def test_batch_is_single_and_the_same_each_time(whisper: WhisperBaseline) -> None:
    together = whisper.transcribe(sounds())
    assert whisper.transcribe(sounds()) == together
    assert [whisper.transcribe([wave])[0] for wave in sounds()] == together


def test_a_wave_of_any_length_is_read_as_if_padded_to_the_window(whisper: WhisperBaseline) -> None:
    padded = [np.pad(wave, (0, 30 * RATE - len(wave))) for wave in sounds()]
    assert whisper.transcribe(padded) == whisper.transcribe(sounds())
    assert len(whisper.transcribe([np.zeros(1, np.float32)])) == 1


def test_no_waves_are_no_texts(whisper: WhisperBaseline) -> None:
    assert whisper.transcribe([]) == []


def test_what_exceeds_the_window_is_refused_whole(whisper: WhisperBaseline) -> None:
    long = np.zeros(30 * RATE + 1, np.float32)
    with pytest.raises(ModelError, match="30 s"):
        whisper.transcribe([*sounds(), long])


def test_digits_are_spelled_out(whisper: WhisperBaseline, monkeypatch: pytest.MonkeyPatch) -> None:
    class Said:
        def batch_decode(self, ids: Any, skip_special_tokens: bool) -> list[str]:
            assert skip_special_tokens
            return ["at 2 now"] * len(ids)

    monkeypatch.setattr(whisper, "tokenizer", Said())
    assert whisper.transcribe(sounds()[:1]) == ["at two now"]


def test_it_is_frozen_and_asks_for_a_transcript_without_times(whisper: WhisperBaseline) -> None:
    assert not any(p.requires_grad for p in whisper.model.parameters())
    assert not whisper.model.training
    names = ["<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]
    assert whisper.tokenizer.convert_ids_to_tokens(whisper.start) == names


def test_a_language_that_it_does_not_know_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"<\|xx\|>") as caught:
        WhisperBaseline(folder, language="xx")
    assert "xx" in caught.value.where


def _copy(folder: Path, to: Path) -> Path:
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def _half(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in state.items() if "decoder" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def _other_kind(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "d_model": 24}))


BREAKS = {
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "cut weights": lambda folder: (folder / "model.safetensors").write_bytes(b"cut"),
    "encoder alone": _half,
    "other sizes": _other_kind,
    "no config": lambda folder: (folder / "config.json").unlink(),
    "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "not JSON": lambda folder: (folder / "config.json").write_text("{"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_folder_that_is_no_whole_whisper_is_one_error(
    folder: Path, tmp_path: Path, name: str
) -> None:
    broken = _copy(folder, tmp_path / "broken")
    BREAKS[name](broken)
    with pytest.raises(AvsrError) as caught:
        WhisperBaseline(broken)
    assert str(broken) in str(caught.value)


def test_no_folder_at_all_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a whole Whisper model"):
        WhisperBaseline(tmp_path / "nowhere")


@pytest.mark.weights
@pytest.mark.data
def test_the_pinned_whisper_writes_down_a_clip() -> None:
    from avsr.manifest import read_manifest
    from avsr.score import score
    from avsr.weights import pull
    from frontends.media import open_clip

    home = Path(os.environ.get("AVSR_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
    if not (home / "manifest.jsonl").is_file():
        pytest.skip(f"no clips at {home}; set AVSR_DATA to the folder that holds manifest.jsonl")
    try:
        weights = pull("whisper-tiny.en", local_files_only=True)
    except SetupError as error:
        pytest.skip(f"no weights: {error}")
    clips = read_manifest(
        home / "manifest.jsonl", lambda i: i.corpus == "librispeech" and 2 < i.duration < 6
    )[:2]
    waves = [open_clip(clip.path, streams="a").audio for clip in clips]
    assert all(wave is not None for wave in waves)
    said = WhisperBaseline(weights).transcribe([wave for wave in waves if wave is not None])
    assert score([c.text for c in clips], said, samples=0).wer < 0.2
