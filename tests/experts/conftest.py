"""Two-layer random LLMs of the supported kinds."""

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

KINDS = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}


@pytest.fixture
def tiny_llm():
    """tiny_llm(kind, dtype) -> a frozen LLM in eval mode: H = 32, 2 layers, 40 tokens."""

    def build(kind="llama", dtype=torch.float32):
        config_class, model_class = KINDS[kind]
        config = config_class(
            vocab_size=40,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            max_position_embeddings=64,
            bos_token_id=1,
            eos_token_id=None,
            pad_token_id=0,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            llm = model_class(config)
            for module in llm.modules():  # the default 0.02 makes a nearly linear model
                if isinstance(module, torch.nn.Linear):
                    torch.nn.init.normal_(module.weight, std=0.15)
        return llm.to(dtype).eval().requires_grad_(False)

    return build


@pytest.fixture
def paper_llm():
    """paper_llm(hidden, layers, kv) -> a Llama of these widths on the meta device."""

    def build(hidden, layers, kv):
        config = LlamaConfig(
            vocab_size=8,
            hidden_size=hidden,
            intermediate_size=8,
            num_hidden_layers=layers,
            num_attention_heads=hidden // 128,
            num_key_value_heads=kv // 128,
            head_dim=128,
        )
        with torch.device("meta"):
            return LlamaForCausalLM(config)

    return build


@pytest.fixture
def ids():
    """Token ids [B=3, N=7]."""
    return torch.randint(3, 40, (3, 7), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def awaken():
    """awaken(module): random values in every parameter, as if it had been trained."""

    def fill(module, std=0.3, seed=2):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_(0.0, std, generator=generator)
        return module

    return fill
