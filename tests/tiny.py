"""Whole recognisers of two layers, with bytes for tokens, for tests of any package."""

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from avsr.config import AvsrConfig
from avsr.model import AvsrModel
from avsr.projector import ProjectorConfig
from avsr.streams import TokenStream
from avsr.views import Features
from experts import MomeConfig

KINDS = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}
AUDIO_WIDTH, VIDEO_WIDTH = 8, 6
VOCABULARY = 259  # three special tokens and the bytes


class ByteTokenizer:
    """Bytes behind three special tokens; Qwen's kind has no BOS."""

    def __init__(self, *, bos_id=1, eos_id=2):
        self.bos_id, self.eos_id = bos_id, eos_id

    def encode(self, text):
        return [3 + byte for byte in text.encode()]

    def decode(self, ids):
        return bytes(max(index - 3, 0) for index in ids).decode("latin-1")


def tiny_llm(kind="llama", seed=0):
    """A frozen random LLM: H = 32, 2 layers; the usual small weights do next to nothing."""
    config_class, model_class = KINDS[kind]
    config = config_class(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        initializer_range=0.3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        llm = model_class(config)
    return llm.requires_grad_(False).eval()


def tiny_config(**changes):
    """Few and small experts and projectors without dropout; one rate of each modality."""
    settings = {
        "audio_rates": (4,),
        "video_rates": (2,),
        "projector": ProjectorConfig(width=16, context=1, dropout=0.0),
        "mome": MomeConfig(routed=4, top_k=2, rank=4),
    }
    return AvsrConfig(**{**settings, **changes})


def tiny_model(kind="llama", *, llm=None, seed=0, **changes):
    """A recogniser in eval mode around a tiny LLM."""
    return AvsrModel(
        tiny_config(**changes),
        tiny_llm(kind) if llm is None else llm,
        ByteTokenizer() if kind == "llama" else ByteTokenizer(bos_id=None),
        audio_width=AUDIO_WIDTH,
        video_width=VIDEO_WIDTH,
        seed=seed,
    ).eval()


def awaken(module, std=0.3, seed=2):
    """Random values in every parameter, as if it had been trained."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, std, generator=generator)
    return module


def tiny_features(lengths=(40, 20), seed=0):
    """Random features of clips of so many audio frames, half as many video frames."""
    random = torch.Generator().manual_seed(seed)
    frames = torch.tensor(lengths)
    longest = max(lengths)
    sound = torch.randn(len(lengths), longest, AUDIO_WIDTH, generator=random)
    lips = torch.randn(len(lengths), longest // 2, VIDEO_WIDTH, generator=random)
    return Features(
        TokenStream.from_features(sound, frames, 50.0),
        TokenStream.from_features(lips, frames // 2, 25.0),
    )
