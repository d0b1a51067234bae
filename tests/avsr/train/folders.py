"""Folders that a whole training needs, all of them tiny: LLM, towers, manifest, recipe."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from avsr.config import AvsrConfig
from avsr.projector import ProjectorConfig
from experts import MomeConfig
from frontends.audio_tower import WhisperShape, WhisperTower
from frontends.video_tower import LipEncoder, LipShape
from tests.frontends.clips import tone, write_clip

NAMES = [f"word{k}" for k in range(12)]
WORDS = ["<s>", "</s>", "<unk>", *NAMES, "speech", "to", "text", "Transcribe", "."]


def write_llm(folder: Path) -> Path:
    """A Llama of two layers and a tokenizer of words."""
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
        eos_token_id=1,
        initializer_range=0.3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({word: k for k, word in enumerate(WORDS)}, "<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    told = {"bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    return folder


def write_whisper(folder: Path) -> Path:
    """A Whisper encoder of one layer, width 16."""
    shape = WhisperShape(16, 1, 2, 24, 80, 1500)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        state = WhisperTower(shape).state_dict()
    folder.mkdir()
    whole = {f"model.encoder.{key}": value for key, value in state.items()}
    save_file(whole, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(vars(shape)))
    return folder


def write_lips(folder: Path) -> Path:
    """A lip encoder of width 8."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        LipEncoder(LipShape(stem=4, trunk=(4, 8), width=8, dilations=(1,))).save(folder)
    return folder


def write_manifest(folder: Path, counts: dict[str, int], corpus: str = "tones") -> Path:
    """So many clips a split, 0.4 s and longer, each a tone of its own; three speakers in turn."""
    folder.mkdir(exist_ok=True)
    rows = []
    for split, count in counts.items():
        for k in range(count):
            name, seconds = f"{split}{k}", 0.4 + 0.03 * (7 * k % 11)
            path = folder / f"{name}.wav"
            write_clip(path, wave=tone(seconds, 16_000, hz=200.0 + 37 * len(rows)))
            rows.append(
                {
                    "id": name,
                    "corpus": corpus,
                    "split": split,
                    "speaker": f"speaker{k % 3}",
                    "audio_filepath": path.name,
                    "duration": seconds,
                    "text": f"{NAMES[k % 12]} {NAMES[(5 * k + 1) % 12]}",
                }
            )
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


@dataclass(frozen=True)
class Home:
    """Where the tiny parts lie."""

    folder: Path
    llm: Path
    whisper: Path
    lips: Path
    manifest: Path

    def config(self, **changes: object) -> AvsrConfig:
        """Both modalities at two rates each, without dropout."""
        settings: dict[str, Any] = {
            "language_model": str(self.llm),
            "audio_tower": str(self.whisper),
            "video_tower": str(self.lips),
            "audio_rates": (4, 16),
            "video_rates": (2, 5),
            "projector": ProjectorConfig(width=16, context=1, dropout=0.0),
            "mome": MomeConfig(routed=4, top_k=2, rank=4),
        }
        return AvsrConfig(**{**settings, **changes})

    def recipe(self, name: str, **trainer: object) -> Path:
        """A recipe as those of the project, of 14 clips in batches of at most 4."""
        corpus = {"manifest": str(self.manifest), "corpora": ["tones"]}
        out = self.folder / name
        checkpoint = {"dirpath": str(out), "every_n_train_steps": 2, "save_last": True}
        text = {
            "seed_everything": 0,
            "model": {
                "model": {
                    "language_model": str(self.llm),
                    "audio_tower": str(self.whisper),
                    "video_tower": None,
                    "audio_rates": [4, 16],
                    "video_rates": [],
                    "projector": {"width": 16, "context": 1, "dropout": 0.2},
                    "mome": {"routed": 4, "shared": 1, "top_k": 2, "rank": 4, "placement": "layer"},
                },
                "objective": {"matryoshka": "sample", "tasks": {"a": 1.0}},
                "schedule": {"lr": 0.01, "projector_lr": 0.01, "warmup": 2, "steps": 14},
                "dtype": "float32",
            },
            "data": {
                "train": [corpus],
                "held_out": [corpus],
                "cache": str(self.folder / "features"),
                "masks": {"per_second": 2.0},
                "batch_seconds": 2.0,
                "max_clips": 4,
            },
            "trainer": {
                "max_steps": 14,
                "accelerator": "cpu",
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "num_sanity_val_steps": 0,
                "log_every_n_steps": 1,
                "logger": {
                    "class_path": "lightning.pytorch.loggers.CSVLogger",
                    "init_args": {"save_dir": str(out)},
                },
                "callbacks": [
                    {
                        "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                        "init_args": {**checkpoint, "save_top_k": 0},
                    },
                    {
                        "class_path": "tests.avsr.train.diary.Diary",
                        "init_args": {"folder": str(out)},
                    },
                ],
                **trainer,
            },
        }
        out.mkdir(exist_ok=True)
        path = out / "recipe.yaml"
        path.write_text(yaml.safe_dump(text))
        return path


def write_home(folder: Path) -> Home:
    """All of them in one folder."""
    counts = {"train": 14, "validation": 3, "test": 2}
    return Home(
        folder,
        write_llm(folder / "llm"),
        write_whisper(folder / "whisper"),
        write_lips(folder / "lips"),
        write_manifest(folder / "clips", counts),
    )
