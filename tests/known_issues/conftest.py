"""A whole recogniser of two layers, with bytes for tokens."""

import pytest
import torch

from avsr.config import AvsrConfig
from avsr.model import AvsrModel, Features, View
from avsr.projector import ProjectorConfig
from avsr.rates import Rates
from avsr.streams import TokenStream
from experts import MomeConfig


class ByteTokenizer:
    bos_id, eos_id = 1, 2

    def encode(self, text):
        return [3 + byte for byte in text.encode()]

    def decode(self, ids):
        return bytes(max(index - 3, 0) for index in ids).decode("latin-1")


@pytest.fixture
def tiny():
    """A model, features of two clips, and a view of each: what `avsr.decode.decode` takes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    random = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        llm = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=259,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                initializer_range=0.3,
            )
        )
    config = AvsrConfig(
        audio_rates=(4,),
        video_rates=(2,),
        projector=ProjectorConfig(width=16),
        mome=MomeConfig(routed=4, top_k=2, rank=4),
    )
    model = AvsrModel(
        config,
        llm.requires_grad_(False).eval(),
        ByteTokenizer(),
        audio_width=8,
        video_width=6,
    ).eval()
    lengths = torch.tensor([40, 20])
    features = Features(
        TokenStream.from_features(torch.randn(2, 40, 8, generator=random), lengths, 50.0),
        TokenStream.from_features(torch.randn(2, 20, 6, generator=random), lengths // 2, 25.0),
    )
    return model, features, [View(0, Rates(4, 2)), View(1, Rates(4, 2))]
