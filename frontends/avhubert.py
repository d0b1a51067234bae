"""AV-HuBERT in plain PyTorch: lips, sound or both in, contextual features out.

Data: frames [T, 88, 88] and filterbanks [T, 104] of each clip -> [B, T, D] at 25 Hz.

Parameters carry the names, shapes and order of the official checkpoints of
facebookresearch/av_hubert, so that `load_state_dict` takes them strictly once the heads of
pre-training are left out, which `encoder_state` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from frontends.avhubert_resnet import LipResNet
from frontends.avhubert_transformer import PARAMETRIZED, AvHubertTransformer

__all__ = ["BASE", "LARGE", "AvHubert", "AvHubertShape", "encoder_state", "shape_of"]

SIDE = 88  # px of a frame
MEAN, DEVIATION = 0.421, 0.165  # of grey values from 0 to 1 in the data AV-HuBERT was trained on
PREFIXES = ("encoder.w2v_model.", "w2v_encoder.w2v_model.")  # in a fine-tuned checkpoint
REST = ("decoder.", "encoder.proj.", "w2v_encoder.proj.")  # what else there is in one
HEADS = ("mask_emb", "label_embs_concat", "final_proj.weight", "final_proj.bias")


@dataclass(frozen=True)
class AvHubertShape:
    """Sizes of an AV-HuBERT encoder, those of the large model by default."""

    layers: int = 24
    width: int = 1024  # D
    hidden: int = 4096  # of the feed-forward parts
    heads: int = 16
    audio_features: int = 104  # 26 bands, 4 frames
    stem: int = 64  # channels after the 3D convolution
    kernel: int = 128  # frames under the positional convolution
    groups: int = 16  # of the positional convolution

    def __post_init__(self) -> None:
        """Check what the layers cannot do."""
        for name, value in vars(self).items():
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a whole number >= 1, got {value!r}")
        for name in ("heads", "groups"):
            if self.width % getattr(self, name):
                raise ValueError(
                    f"width {self.width} cannot be split into {name} {vars(self)[name]}"
                )


LARGE = AvHubertShape()
BASE = AvHubertShape(layers=12, width=768, hidden=3072, heads=12)


class _Extractor(nn.Module):
    """Features of one modality, brought to the width of the transformer."""

    def __init__(self, inputs: int, width: int, resnet: LipResNet | None = None) -> None:
        super().__init__()
        if resnet is not None:
            self.resnet = resnet
        self.proj = nn.Linear(inputs, width)


class AvHubert(nn.Module):
    """Encoder of AV-HuBERT (arXiv 2201.02184), for inference: it stays in eval mode.

    Args:
        shape: its sizes.
    """

    def __init__(self, shape: AvHubertShape = LARGE) -> None:
        super().__init__()
        self.shape = shape
        resnet = LipResNet(shape.stem)
        self.feature_extractor_audio = _Extractor(shape.audio_features, shape.width)
        self.feature_extractor_video = _Extractor(resnet.width, shape.width, resnet)
        self.layer_norm = nn.LayerNorm(2 * shape.width)
        self.post_extract_proj = nn.Linear(2 * shape.width, shape.width)
        self.encoder = AvHubertTransformer(
            width=shape.width,
            hidden=shape.hidden,
            heads=shape.heads,
            layers=shape.layers,
            kernel=shape.kernel,
            groups=shape.groups,
        )
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> AvHubert:
        """Stay in eval mode: peers that did not had their batch statistics drift while frozen."""
        return super().train(False)

    def forward(
        self, video: Sequence[Tensor] | None = None, audio: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Encode a batch of clips from lips, from sound or from both.

        A modality that is left out counts as zeros, after its projection.

        Args:
            video: frames [T, 88, 88] of each clip, as `normalise` makes them.
            audio: filterbanks [T, 104] of each clip, as many as frames where both are given.

        Returns:
            [B, T, D], zero beyond each clip's end: T out is T in.

        Raises:
            ValueError: nothing is given, or a clip's frames and filterbanks differ in number.
        """
        lengths = [len(row) for row in (video if video is not None else audio or ())]
        if not lengths or max(lengths) == 0:
            raise ValueError("AV-HuBERT needs frames or filterbanks of at least one clip")
        heard = [] if audio is None else [len(row) for row in audio]
        if video is not None and audio is not None and heard != lengths:
            raise ValueError(f"clips of {lengths} frames have {heard} filterbanks")
        seen = self._seen(video) if video is not None else None
        sound = self.feature_extractor_audio.proj(torch.cat(list(audio))) if audio else None
        known = sound if seen is None else seen
        assert known is not None
        halves = [torch.zeros_like(known) if half is None else half for half in (sound, seen)]
        x = self.post_extract_proj(self.layer_norm(torch.cat(halves, dim=-1)))  # audio first
        x = pad_sequence(list(x.split(lengths)), batch_first=True)  # [B, T, D]
        ends = torch.tensor(lengths, device=x.device)
        out: Tensor = self.encoder(x, torch.arange(x.shape[1], device=x.device) < ends[:, None])
        return out

    def _seen(self, video: Sequence[Tensor]) -> Tensor:
        """Projected frame features of all clips, one after the other [sum T, D]."""
        extractor = self.feature_extractor_video
        out: Tensor = extractor.proj(extractor.resnet(video))
        return out


def normalise(crops: Tensor) -> Tensor:
    """Grey crops [..., 96, 96] uint8 -> their middle [..., 88, 88] float32, as AV-HuBERT saw it."""
    edge = (crops.shape[-1] - SIDE) // 2
    middle = crops[..., edge : edge + SIDE, edge : edge + SIDE]
    return (middle.float() / 255.0 - MEAN) / DEVIATION


def encoder_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Pick the encoder out of an official state dict, pre-trained or fine-tuned.

    Args:
        state: what lies under "model" in the checkpoint. In a fine-tuned one the encoder's names
            begin with "encoder.w2v_model."; the decoder is left out.

    Returns:
        The encoder's tensors under the names of `AvHubert`, weight norm as `weight_g`, `weight_v`.

    Raises:
        ValueError: a tensor that belongs to neither; its name is said.
    """
    tuned = any(name.startswith(PREFIXES) for name in state)
    renamed = {other: own for own, other in PARAMETRIZED.items()}
    out = {}
    for name, value in state.items():
        if tuned and not name.startswith(PREFIXES):
            if not name.startswith(REST):
                raise ValueError(f"{name} belongs to neither the encoder nor the decoder")
            continue
        own = name
        for prefix in PREFIXES:
            own = own.removeprefix(prefix)
        if own in HEADS:
            continue
        for other, official in renamed.items():
            own = own.replace(other, official)
        out[own] = value
    return out


def shape_of(state: Mapping[str, Tensor], *, heads: int | None = None) -> AvHubertShape:
    """Read an encoder's sizes off its tensors.

    Args:
        state: from `encoder_state`.
        heads: attention heads, which no tensor tells; None for one each 64 of the width, as in
            both released sizes.

    Raises:
        ValueError: a tensor is missing that the sizes are read from, or the sizes make no model.
    """
    try:
        width, grouped, kernel = state["encoder.pos_conv.0.weight_v"].shape
        numbers = [int(k.split(".")[2]) for k in state if k.startswith("encoder.layers.")]
        return AvHubertShape(
            layers=1 + max(numbers),
            width=width,
            hidden=len(state["encoder.layers.0.fc1.bias"]),
            heads=max(1, width // 64) if heads is None else heads,
            audio_features=state["feature_extractor_audio.proj.weight"].shape[1],
            stem=len(state["feature_extractor_video.resnet.frontend3D.0.weight"]),
            kernel=kernel,
            groups=width // grouped,
        )
    except KeyError as error:
        raise ValueError(f"no tensor {error} in the checkpoint: not an AV-HuBERT") from error
