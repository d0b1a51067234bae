"""Whisper's own decoder on the same sound, as a row beside a recogniser built on its encoder.

waves [S] float32, 16 kHz -> padded 30 s log-mels -> transformers' Whisper, greedy -> text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError

import avsr.torchaudio_guard  # noqa: F401
from avsr.errors import ModelError
from avsr.normalize import spell_digits
from frontends.log_mel import SAMPLE_RATE, log_mel

__all__ = ["WhisperBaseline"]

_WINDOW = 30 * SAMPLE_RATE
_MAX_TOKENS = 224  # half of Whisper's context, as in its own decoder


class WhisperBaseline:
    """A whole Whisper model from transformers, decoded greedily with settings of our own.

    Args:
        folder: a transformers Whisper folder: config.json, model.safetensors, tokenizer.json.
        device: where it runs.
        language: for a multilingual model, the language spoken.
    """

    def __init__(
        self, folder: Path | str, *, device: torch.device | str = "cpu", language: str = "en"
    ) -> None:
        """Read the model."""
        from transformers import AutoTokenizer, WhisperForConditionalGeneration

        try:
            loaded: Any = WhisperForConditionalGeneration.from_pretrained(
                folder,
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
            self.model, told = loaded
            if told["missing_keys"]:  # transformers would make them up and only warn
                raise ValueError(f"{len(told['missing_keys'])} tensors missing")
            self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"not a whole Whisper model: {error}",
                where=str(folder),
                todo="Name a transformers folder of a Whisper model.",
            ) from error
        torch.nn.Module.to(self.model, device)  # transformers' own `to` hides its types
        self.model.eval().requires_grad_(False)
        self.device = torch.device(device)
        self.start = _start(self.tokenizer, language)
        self.settings = _settings(self.model, self.tokenizer, self.start)

    @torch.inference_mode()
    def transcribe(self, waves: Sequence[npt.NDArray[np.float32]]) -> list[str]:
        """Write down each wave, with numbers spelled out as the references have them.

        Args:
            waves: mono sound [S] at 16 kHz, at most 30 s each.

        Returns:
            One text a wave.

        Raises:
            ModelError: a wave is longer than Whisper's window.
        """
        if not waves:
            return []
        if any(len(wave) > _WINDOW for wave in waves):
            raise ModelError("the baseline reads at most 30 s", todo="Give shorter clips.")
        bands = self.model.config.num_mel_bins
        padded = [torch.from_numpy(np.pad(wave, (0, _WINDOW - len(wave)))) for wave in waves]
        mels = torch.stack([log_mel(wave, bands) for wave in padded]).to(self.device)
        begin = torch.tensor([self.start] * len(waves), device=self.device)
        # The plain generation loop: Whisper's own `generate` adds fallbacks that sample.
        from transformers import GenerationMixin

        ids = GenerationMixin.generate(
            self.model,
            inputs=mels.to(self.model.dtype),
            decoder_input_ids=begin,
            decoder_attention_mask=torch.ones_like(begin),
            generation_config=self.settings,
        )
        texts = self.tokenizer.batch_decode(ids[:, len(self.start) :], skip_special_tokens=True)
        return [spell_digits(text) for text in texts]


def _start(tokenizer: Any, language: str) -> list[int]:
    """The tokens that ask for a transcript without time stamps."""
    known = tokenizer.get_vocab()
    # English-only models are told by their shifted vocabulary, not by a missing language token.
    english = known.get("<|startoftranscript|>") == 50257
    asked = [] if english else [f"<|{language}|>", "<|transcribe|>"]
    names = ("<|startoftranscript|>", *asked, "<|notimestamps|>")
    absent = [name for name in names if name not in known]
    if absent:
        raise ModelError(
            f"no token {absent[0]} in this Whisper model", where=f"language {language}"
        )
    return [known[name] for name in names]


def _settings(model: Any, tokenizer: Any, start: Sequence[int]) -> Any:
    """Greedy search that never writes the marks Whisper was shipped to avoid, nor time stamps."""
    from transformers import GenerationConfig

    vocabulary = tokenizer.get_vocab()
    end = vocabulary["<|endoftext|>"]
    special = {index for index in vocabulary.values() if index > end}
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_length=len(start) + _MAX_TOKENS,
        decoder_start_token_id=start[0],
        eos_token_id=end,
        pad_token_id=end,
        suppress_tokens=sorted(special.union(model.generation_config.suppress_tokens or ())),
        begin_suppress_tokens=model.generation_config.begin_suppress_tokens,
    )
