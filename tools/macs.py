"""Multiply-accumulates of the parts of a recogniser, from their sizes alone.

Data: configurations of transformers, numbers of frames and tokens -> MACs.
Norms, biases, activations and the vocabulary are left out: at these sizes they are per cents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Llm:
    """Sizes of a Llama- or Qwen-type language model."""

    layers: int
    width: int
    inner: int
    keys: int

    @classmethod
    def of(cls, config: Any) -> Llm:
        """From a configuration of transformers."""
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return cls(
            config.num_hidden_layers,
            config.hidden_size,
            config.intermediate_size,
            head * config.num_key_value_heads,
        )

    def prefill(self, tokens: float) -> float:
        """MACs of reading so many tokens at once; attention counts its causal half."""
        weights = 2 * self.width**2 + 2 * self.width * self.keys + 3 * self.width * self.inner
        return self.layers * (tokens * weights + tokens**2 * self.width)


@dataclass(frozen=True)
class Whisper:
    """Sizes of a Whisper encoder."""

    layers: int
    width: int
    bands: int = 80

    @classmethod
    def of(cls, config: Any) -> Whisper:
        """From a configuration of transformers."""
        return cls(config.encoder_layers, config.d_model, config.num_mel_bins)

    def encode(self, frames: float) -> float:
        """MACs of encoding so many frames of 50 Hz, not padded to 30 seconds."""
        stem = 2 * frames * 3 * self.bands * self.width + frames * 3 * self.width**2
        layer = frames * 12 * self.width**2 + 2 * frames**2 * self.width
        return stem + self.layers * layer
