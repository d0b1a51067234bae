"""Whisper's encoder at the true length of each clip.

Data: waves [B, S] float32, 16 kHz, with lengths [B] -> features [B, T, D] at 50 Hz, lengths [B].

Whisper was trained on sound padded to 30 s. Encoding the true length instead costs a tenth of the
time on short clips; `pad="30s"` gives the padded features for parity with other systems. Padding
inside a batch never reaches a real frame: it is zeroed before each convolution and masked in
attention.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from frontends.errors import AvsrError
from frontends.log_mel import HOP, SAMPLE_RATE, log_mel
from frontends.tower_lora import LowRank, gradients_if_adapted

PadMode = Literal["none", "30s"]
Level = Literal["as is", "utterance"]
WINDOW_SECONDS = 30


@dataclass(frozen=True)
class WhisperShape:
    """Sizes of a Whisper encoder, named as in its `config.json`."""

    d_model: int = 384
    encoder_layers: int = 4
    encoder_attention_heads: int = 6
    encoder_ffn_dim: int = 1536
    num_mel_bins: int = 80
    max_source_positions: int = 1500


class _Attention(nn.Module):
    """Self-attention with Whisper's biases: none on the keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        q, k, v = (self._split(part(x)) for part in (self.q_proj, self.k_proj, self.v_proj))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=keep)
        out: Tensor = self.out_proj(y.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, heads, T, D / heads]."""
        rows, frames, width = x.shape
        return x.view(rows, frames, self.heads, width // self.heads).transpose(1, 2)


class _Layer(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, shape: WhisperShape) -> None:
        super().__init__()
        self.self_attn = _Attention(shape.d_model, shape.encoder_attention_heads)
        self.self_attn_layer_norm = nn.LayerNorm(shape.d_model)
        self.fc1 = nn.Linear(shape.d_model, shape.encoder_ffn_dim)
        self.fc2 = nn.Linear(shape.encoder_ffn_dim, shape.d_model)
        self.final_layer_norm = nn.LayerNorm(shape.d_model)

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x), keep)
        out: Tensor = x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))
        return out


class WhisperTower(nn.Module):
    """Frozen Whisper encoder (arXiv 2212.04356) of any size.

    Args:
        shape: the encoder's sizes.
        pad: "none" encodes the true length; "30s" pads each clip to 30 s as Whisper's own decoder
            expects.
        level: "utterance" brings each clip to zero mean and unit deviation first, as the authors'
            other systems do.
    """

    hz = 50.0
    causal = False
    low_rank: tuple[LowRank, ...] = ()  # see frontends.tower_lora

    def __init__(
        self, shape: WhisperShape, *, pad: PadMode = "none", level: Level = "as is"
    ) -> None:
        super().__init__()
        if pad not in get_args(PadMode) or level not in get_args(Level):
            raise ValueError(f"no such padding {pad!r} or level {level!r}")
        self.shape, self.pad, self.level = shape, pad, level
        width = shape.d_model
        self.conv1 = nn.Conv1d(shape.num_mel_bins, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(shape.max_source_positions, width)
        self.layers = nn.ModuleList(_Layer(shape) for _ in range(shape.encoder_layers))
        self.layer_norm = nn.LayerNorm(width)
        self.requires_grad_(False).eval()

    @classmethod
    def from_folder(cls, folder: Path | str, *, pad: PadMode | None = None) -> "WhisperTower":
        """Read the encoder half of a transformers Whisper folder.

        Args:
            folder: holds `config.json` and `model.safetensors`.
            pad: see the class; None for what `avsr_pad` in config.json says, else "none".

        Raises:
            AvsrError: the folder does not hold a Whisper model.
        """
        folder = Path(folder)
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            shape = WhisperShape(**{k: config[k] for k in WhisperShape.__dataclass_fields__})
            with safe_open(folder / "model.safetensors", "pt") as file:
                prefix = "model.encoder."
                names = [k for k in file.keys() if k.startswith(prefix)]
                state = {k.removeprefix(prefix): file.get_tensor(k).float() for k in names}
            told = config.get("avsr_pad", "none") if pad is None else pad
            with torch.device("meta"):
                tower = cls(shape, pad=told, level=config.get("avsr_level", "as is"))
            tower.load_state_dict(state, assign=True)
        except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:200]  # torch lists every tensor of wrong shape
            raise AvsrError(
                f"not a Whisper model: {reason}",
                where=str(folder),
                todo="Name a folder with config.json and model.safetensors of a Whisper model.",
            ) from error
        return tower.requires_grad_(False).eval()

    @property
    def width(self) -> int:
        """Width D of the features."""
        return self.shape.d_model

    @property
    def max_seconds(self) -> float:
        """Longest clip that the position table covers."""
        return self.shape.max_source_positions / self.hz

    def train(self, mode: bool = True) -> "WhisperTower":
        """Stay in eval mode: a frozen tower behaves the same inside `fit`."""
        return super().train(False)

    def spectrograms(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mels [B, M, F] of each row's own samples, zero beyond them, and frame counts [B]."""
        rows = [wave[:n] for wave, n in zip(waves, lengths.tolist(), strict=True)]
        if self.level == "utterance":
            rows = [F.layer_norm(row, row.shape, eps=1e-8) if len(row) else row for row in rows]
        if self.pad == "30s":
            rows = [F.pad(row, (0, WINDOW_SECONDS * SAMPLE_RATE - len(row))) for row in rows]
        mels = [log_mel(row, self.shape.num_mel_bins) for row in rows]
        counts = torch.tensor([mel.shape[1] for mel in mels], device=waves.device)
        batch = torch.nn.utils.rnn.pad_sequence([m.T for m in mels], batch_first=True)
        return batch.transpose(1, 2), counts

    @gradients_if_adapted
    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a batch of waveforms.

        Args:
            waves: [B, S] float32 at 16 kHz; what lies beyond a row's length is ignored.
            lengths: samples per row [B].

        Returns:
            Features [B, T, D] (zero beyond a row's end) and frames per row [B]. A frame is 320
            samples. A last part below half a frame (160 samples) makes none with `pad="none"`, as
            at the end of Whisper's own window; with `pad="30s"` it does. No clip has none at all.

        Raises:
            AvsrError: a clip is longer than the position table.
        """
        limit = int(self.max_seconds * SAMPLE_RATE)
        if int(lengths.max()) > limit:
            raise AvsrError(
                f"a clip of {int(lengths.max()) / SAMPLE_RATE:.1f} s is longer than the "
                f"{self.max_seconds:.0f} s that this Whisper encoder covers",
                todo="Cut the recording into shorter clips.",
            )
        mels, frames = self.spectrograms(waves, lengths)
        wanted = (lengths.clamp(min=1) + 2 * HOP - 1) // (2 * HOP)
        counts = (frames + 1) // 2
        x = F.gelu(self.conv1(mels.to(self.conv1.weight.dtype)))
        x = x * _prefix(frames, x.shape[2])[:, None]  # conv2 must see zeros beyond the end
        x = F.gelu(self.conv2(x)).transpose(1, 2)  # [B, T, D]
        x = x + self.embed_positions.weight[: x.shape[1]]
        ragged = bool((counts != x.shape[1]).any())
        keep = _prefix(counts, x.shape[1])[:, None, None] if ragged else None
        for layer in self.layers:
            x = layer(x, keep)
        x = self.layer_norm(x)
        counts = torch.minimum(counts, wanted)
        x = x[:, : int(counts.max())]
        return x * _prefix(counts, x.shape[1])[..., None], counts


def _prefix(lengths: Tensor, size: int) -> Tensor:
    """[B] -> [B, size] bool, true below each length."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]
