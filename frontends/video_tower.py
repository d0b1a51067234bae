"""Lip encoders: what a video tower is, and our own small one.

Data: grey mouth crops [B, T, 96, 96] uint8 at 25 fps, lengths [B] -> features [B, T, D] at 25 Hz,
lengths [B].
"""

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from frontends.errors import AvsrError
from frontends.tower_lora import LowRank

CROP = 64  # pixels that the encoder sees of each 96-pixel crop: lips and a little of the jaw
CONTEXT = 5  # frames under the 3D stem


class VideoTower(Protocol):
    """A frozen encoder of mouth crops."""

    hz: float

    @property
    def width(self) -> int:
        """Width D of the features."""
        ...

    def __call__(self, crops: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T, 96, 96] uint8, [B] -> features [B, T, D], lengths [B]."""
        ...


@dataclass(frozen=True)
class LipShape:
    """Sizes of the lip encoder."""

    stem: int = 24  # channels after the 3D convolution
    trunk: tuple[int, ...] = (48, 96)  # channels of the residual blocks, each halving the map
    width: int = 320  # of the temporal layers and of the features
    dilations: tuple[int, ...] = (1, 2, 4, 8, 1)  # frames, one temporal layer each
    dropout: float = 0.3  # while pretraining; a frozen tower has none


class _Block(nn.Module):
    """Residual block of two 3x3 convolutions that halves the map."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=2, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        out: Tensor = F.relu(y + self.bn3(self.shortcut(x)))
        return out


class _Temporal(nn.Module):
    """Residual layer of one dilated convolution over time; frames beyond the end count as zero."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Conv1d(width, width, 5, padding=2 * dilation, dilation=dilation)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        y = (self.norm(x) * keep).transpose(1, 2)
        y = F.gelu(self.mix(y)).transpose(1, 2)
        out: Tensor = (x + self.dropout(self.out(self.dropout(y)))) * keep
        return out


class LipEncoder(nn.Module):
    """3D convolution stem, residual trunk and dilated convolutions over time, on mouth crops.

    The stem is a 5x7x7 convolution of one grey channel; because its input has one channel and its
    temporal stride is one, it is computed as a 2D convolution over five neighbouring frames. Only
    real frames enter it, so padding reaches neither the features nor the batch statistics.
    """

    hz = 25.0
    low_rank: tuple[LowRank, ...] = ()  # it has no attention that could take some

    def __init__(self, shape: LipShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or LipShape()
        self.stem = nn.Conv2d(CONTEXT, shape.stem, 7, stride=4, padding=3, bias=False)
        self.stem_bn = nn.BatchNorm2d(shape.stem)
        widths = (shape.stem, *shape.trunk)
        self.trunk = nn.Sequential(*(_Block(a, b) for a, b in pairwise(widths)))
        side = CROP // 4
        for _ in shape.trunk:
            side = (side + 1) // 2
        self.squeeze = nn.Linear(shape.trunk[-1] * side * side, shape.width)
        self.norm = nn.LayerNorm(shape.width)
        self.dropout = nn.Dropout(shape.dropout)
        self.temporal = nn.ModuleList(
            _Temporal(shape.width, dilation, shape.dropout) for dilation in shape.dilations
        )
        self.final_norm = nn.LayerNorm(shape.width)

    @property
    def width(self) -> int:
        """Width D of the features."""
        return self.shape.width

    @classmethod
    def from_folder(cls, folder: Path | str) -> "LipEncoder":
        """Read a frozen encoder from `lip_encoder.json` and `lip_encoder.safetensors`.

        Raises:
            AvsrError: the folder does not hold a lip encoder.
        """
        folder = Path(folder)
        try:
            sizes = json.loads((folder / "lip_encoder.json").read_text(encoding="utf-8"))
            shape: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in sizes.items()
            }
            encoder = cls(LipShape(**shape))
            state = load_file(folder / "lip_encoder.safetensors")
            encoder.load_state_dict({k: v.to(_dtype_of(k)) for k, v in state.items()})
        except (
            *(OSError, SafetensorError, RuntimeError),
            *(AttributeError, KeyError, TypeError, ValueError),
        ) as error:
            raise AvsrError(
                f"not a lip encoder: {' '.join(str(error).split())[:200]}",
                where=str(folder),
                todo="Make one with tools/pretrain_lips.py.",
            ) from error
        return encoder.freeze()

    def save(self, folder: Path | str, dtype: torch.dtype = torch.float16) -> None:
        """Write `lip_encoder.json` and `lip_encoder.safetensors` into `folder`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            k: v.to(dtype) if v.is_floating_point() else v for k, v in self.state_dict().items()
        }
        save_file({k: v.contiguous() for k, v in state.items()}, folder / "lip_encoder.safetensors")
        text = json.dumps(asdict(self.shape), indent=2) + "\n"
        (folder / "lip_encoder.json").write_text(text, encoding="utf-8")

    def freeze(self) -> "LipEncoder":
        """Turn into a frozen tower: no gradients, and eval mode even inside `fit`."""
        self.requires_grad_(False)
        self.frozen = True
        return self.eval()

    frozen = False

    def train(self, mode: bool = True) -> "LipEncoder":
        """As in torch, but a frozen encoder stays in eval mode."""
        return super().train(mode and not self.frozen)

    def forward(self, crops: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a batch of mouth crops.

        Args:
            crops: [B, T, 96, 96] uint8 grey at 25 fps.
            lengths: frames per row [B].

        Returns:
            Features [B, T, D], zero beyond a row's end, and frames per row [B].
        """
        edge = (crops.shape[-1] - CROP) // 2
        centre = crops[..., edge : edge + CROP, edge : edge + CROP]
        rows = [normalise(row[:n]) for row, n in zip(centre, lengths.tolist(), strict=True)]
        return self.encode(rows), lengths

    def encode(self, rows: list[Tensor]) -> Tensor:
        """Encode normalised frames, one [T, 64, 64] float tensor a clip, to [B, T, D]."""
        lengths = [len(row) for row in rows]
        frames = torch.cat([_neighbourhoods(row) for row in rows])  # [sum T, 5, 64, 64]
        x = F.relu(self.stem_bn(self.stem(frames.contiguous(memory_format=torch.channels_last))))
        x = self.trunk(x).flatten(1)
        x = self.dropout(self.norm(self.squeeze(x).float()))
        x = pad_sequence(list(x.split(lengths)), batch_first=True)
        ends = torch.tensor(lengths, device=x.device)[:, None]
        real = torch.arange(x.shape[1], device=x.device) < ends
        keep = real[..., None].to(x.dtype)
        for layer in self.temporal:
            x = layer(x, keep)
        out: Tensor = self.final_norm(x) * keep
        return out


def normalise(crops: Tensor) -> Tensor:
    """Grey crops [T, ...] uint8 -> float32 of zero mean and unit deviation over the clip."""
    x = crops.float()
    if x.numel() == 0:
        return x
    return (x - x.mean()) / x.std().clamp(min=1.0)


def _neighbourhoods(frames: Tensor) -> Tensor:
    """[T, Y, X] -> [T, 5, Y, X]: each frame with two on either side, zeros beyond the clip."""
    if len(frames) == 0:  # too short for `unfold`, padded or not
        return frames.new_zeros(0, CONTEXT, *frames.shape[1:])
    around = F.pad(frames, (0, 0, 0, 0, CONTEXT // 2, CONTEXT // 2))
    return around.unfold(0, CONTEXT, 1).permute(0, 3, 1, 2)


def _dtype_of(name: str) -> torch.dtype:
    return torch.int64 if name.endswith("num_batches_tracked") else torch.float32
