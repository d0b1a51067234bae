"""Self-supervised encoders of sound: WavLM, HuBERT and wav2vec 2.0, as transformers has them.

Data: waves [B, S] float32, 16 kHz, with lengths [B] -> features [B, T, D] at 50 Hz, lengths [B].

Each row is encoded at its own length: the base models level their first layer over the whole clip,
so that padding would change every frame of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from frontends.errors import AvsrError
from frontends.tower_lora import LowRank, gradients_if_adapted

__all__ = ["KINDS", "SpeechTower", "is_speech_tower"]

KINDS = ("wavlm", "hubert", "wav2vec2")
SHORTEST = 400  # samples under one frame


class SpeechTower(nn.Module):
    """A frozen encoder of transformers.

    Args:
        net: its model.
        level: "utterance" brings each clip to zero mean and unit deviation first, as the large
            models were trained.
    """

    hz = 50.0
    causal = False
    low_rank: tuple[LowRank, ...] = ()  # see frontends.tower_lora

    def __init__(self, net: Any, *, level: str = "as is") -> None:
        super().__init__()
        self.net, self.level = net, level
        self.requires_grad_(False).eval()

    @classmethod
    def from_folder(cls, folder: Path | str) -> SpeechTower:
        """Read a transformers folder; its preprocessor_config.json says whether sound is levelled.

        Raises:
            AvsrError: the folder holds no such model.
        """
        from transformers import AutoModel

        folder = Path(folder)
        try:
            if not is_speech_tower(folder):
                raise ValueError(f"model_type is none of {', '.join(KINDS)}")
            net = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
            told = folder / "preprocessor_config.json"
            facts = json.loads(told.read_text(encoding="utf-8")) if told.is_file() else {}
            level = "utterance" if facts.get("do_normalize", False) else "as is"
        except (OSError, ValueError, RuntimeError, AttributeError) as error:
            raise AvsrError(
                f"not a model of speech: {' '.join(str(error).split())[:200]}",
                where=str(folder),
                todo="Name a folder with config.json and model.safetensors of WavLM or HuBERT.",
            ) from error
        return cls(net.float(), level=level)

    @property
    def width(self) -> int:
        """Width D of the features."""
        return int(self.net.config.hidden_size)

    def train(self, mode: bool = True) -> SpeechTower:
        """Stay in eval mode: a frozen tower behaves the same inside `fit`."""
        return super().train(False)

    @gradients_if_adapted
    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a batch of waveforms.

        Args:
            waves: [B, S] float32 at 16 kHz; what lies beyond a row's length is ignored.
            lengths: samples per row [B].

        Returns:
            Features [B, T, D] (zero beyond a row's end) and frames per row [B]. A frame is 320
            samples, the first needs 400; a shorter clip is filled up with silence.
        """
        rows = [self._encode(wave[:n]) for wave, n in zip(waves, lengths.tolist(), strict=True)]
        counts = torch.tensor([len(row) for row in rows], device=lengths.device)
        return pad_sequence(rows, batch_first=True), counts

    def _encode(self, wave: Tensor) -> Tensor:
        """[S] -> [T, D]."""
        if self.level == "utterance" and len(wave):
            wave = F.layer_norm(wave, wave.shape, eps=1e-7)
        wave = F.pad(wave, (0, max(0, SHORTEST - len(wave))))
        out: Tensor = self.net(wave[None]).last_hidden_state[0]
        return out


def is_speech_tower(folder: Path | str) -> bool:
    """Whether a folder says that it holds one of these models."""
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") in KINDS
