"""AV-HuBERT as a frozen tower: mouth crops, waveforms or both in, features at 25 Hz out.

Data: crops [B, T, 96, 96] uint8 at 25 fps or waves [B, S] at 16 kHz, lengths [B] -> features
[B, T, D], lengths [B].  A folder of one holds `config.json` and `model.safetensors`, as written by
tools/convert_avhubert.py.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from frontends.avhubert import AvHubert, AvHubertShape, normalise
from frontends.errors import AvsrError
from frontends.filterbank import stacked_filterbank
from frontends.tower_lora import LowRank, gradients_if_adapted

__all__ = ["MODEL_TYPE", "AvHubertTower", "is_avhubert"]

MODEL_TYPE = "avhubert"
Modality = Literal["video", "audio"]


class AvHubertTower(nn.Module):
    """Frozen AV-HuBERT. Called as a video tower or as an audio tower; `both` reads a clip whole.

    Args:
        net: the encoder.
        modality: what a call reads.
    """

    hz = 25.0
    causal = False
    low_rank: tuple[LowRank, ...] = ()  # see frontends.tower_lora

    def __init__(self, net: AvHubert, *, modality: Modality = "video") -> None:
        super().__init__()
        if modality not in ("video", "audio"):
            raise ValueError(f"modality must be 'video' or 'audio', got {modality!r}")
        self.net, self.modality = net, modality
        self.requires_grad_(False).eval()

    @classmethod
    def from_folder(cls, folder: Path | str, *, modality: Modality = "video") -> AvHubertTower:
        """Read a converted model.

        Args:
            folder: holds `config.json` and `model.safetensors`.
            modality: what a call reads.

        Raises:
            AvsrError: the folder does not hold an AV-HuBERT model.
        """
        folder = Path(folder)
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            if config.pop("model_type") != MODEL_TYPE:
                raise ValueError(f"model_type is not {MODEL_TYPE!r}")
            config.pop("source", None)
            with torch.device("meta"):
                net = AvHubert(AvHubertShape(**config))
            state = load_file(folder / "model.safetensors")
            whole = (k for k in state if k.endswith("num_batches_tracked"))
            net.load_state_dict(
                {k: v.float() for k, v in state.items()} | {k: state[k] for k in whole},
                assign=True,
            )
        except (
            *(OSError, SafetensorError, RuntimeError),
            *(AttributeError, KeyError, TypeError, ValueError),
        ) as error:
            raise AvsrError(
                f"not an AV-HuBERT model: {' '.join(str(error).split())[:200]}",
                where=str(folder),
                todo="Make one of an official checkpoint with tools/convert_avhubert.py.",
            ) from error
        return cls(net, modality=modality)

    def save(
        self, folder: Path | str, *, dtype: torch.dtype | None = None, source: str = ""
    ) -> None:
        """Write `config.json` and `model.safetensors` into `folder`.

        Args:
            folder: made if it is not there.
            dtype: of the stored numbers, None for what they are.
            source: what it was converted from, for the reader of the file.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            k: (v.to(dtype) if dtype is not None and v.is_floating_point() else v).contiguous()
            for k, v in self.net.state_dict().items()
        }
        save_file(state, folder / "model.safetensors")
        facts: dict[str, Any] = {"model_type": MODEL_TYPE, **asdict(self.net.shape)}
        facts |= {"source": source} if source else {}
        (folder / "config.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    @property
    def width(self) -> int:
        """Width D of the features."""
        return self.net.shape.width

    def train(self, mode: bool = True) -> AvHubertTower:
        """Stay in eval mode: a frozen tower behaves the same inside `fit`."""
        return super().train(False)

    @gradients_if_adapted
    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a batch of clips by the tower's modality.

        Args:
            inputs: mouth crops [B, T, 96, 96] uint8 grey at 25 fps, or waves [B, S] float32 at
                16 kHz; what lies beyond a row's length is ignored.
            lengths: frames or samples per row [B].

        Returns:
            Features [B, T, D], zero beyond a row's end, and frames per row [B]. Of sound, a frame
            is 640 samples; a last part of one makes a frame of its own.
        """
        rows = [row[:n] for row, n in zip(inputs, lengths.tolist(), strict=True)]
        if self.modality == "video":
            if not any(map(len, rows)):
                return inputs.new_zeros(len(rows), 0, self.width, dtype=torch.float32), lengths
            return self.net(video=[normalise(row) for row in rows]), lengths
        sound = [stacked_filterbank(row if len(row) else row.new_zeros(1)) for row in rows]
        counts = torch.tensor([len(row) for row in sound], device=lengths.device)
        return self.net(audio=[self._fits(row) for row in sound]), counts

    @gradients_if_adapted
    def both(
        self, crops: Tensor, frames: Tensor, waves: Tensor, samples: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Encode lips and sound together, one feature a picture.

        Args:
            crops: [B, T, 96, 96] uint8 grey at 25 fps.
            frames: pictures per row [B].
            waves: [B, S] float32 at 16 kHz, beginning with the pictures. Sound that ends before
                them is followed by zeros, sound that ends after them is left out.
            samples: per row [B].

        Returns:
            Features [B, T, D], zero beyond a row's end, and frames per row [B].
        """
        video, audio = [], []
        for row, shown, wave, heard in zip(
            crops, frames.tolist(), waves, samples.tolist(), strict=True
        ):
            video.append(normalise(row[:shown]))
            sound = stacked_filterbank(wave[:heard] if heard else wave.new_zeros(1))
            audio.append(self._fits(F.pad(sound[:shown], (0, 0, 0, max(0, shown - len(sound))))))
        return self.net(video=video, audio=audio), frames

    def _fits(self, sound: Tensor) -> Tensor:
        """Filterbanks [T, 104] on the network's device, refused where it was made for others."""
        wanted = self.net.shape.audio_features
        if sound.shape[1] != wanted:
            raise AvsrError(
                f"this AV-HuBERT hears {wanted} numbers a frame, not {sound.shape[1]}",
                todo="Use it for lips alone.",
            )
        return sound


def is_avhubert(folder: Path | str) -> bool:
    """Whether a folder says that it holds an AV-HuBERT."""
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == MODEL_TYPE
