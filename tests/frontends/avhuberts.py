"""AV-HuBERTs of tiny width, and official checkpoints of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from frontends.avhubert import AvHubert, AvHubertShape

TINY = AvHubertShape(layers=2, width=16, hidden=24, heads=2, stem=2, kernel=6, groups=4)


def tiny(shape: AvHubertShape = TINY, seed: int = 0) -> AvHubert:
    """An encoder of random weights whose batch statistics are not the initial ones."""
    net = AvHubert(shape)
    random = torch.Generator().manual_seed(seed)
    for name, value in net.state_dict().items():
        if name.endswith("running_var") or name.endswith("weight_g"):
            value.uniform_(0.5, 1.5, generator=random)
        elif value.is_floating_point():
            value.normal_(0.0, 0.3, generator=random)
        else:
            value.fill_(9)
    return net


def official(shape: AvHubertShape = TINY) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the encoder, as the official checkpoints list them."""
    d, f, c = shape.width, shape.hidden, shape.stem
    table: dict[str, tuple[int, ...]] = {
        "feature_extractor_audio.proj.weight": (d, shape.audio_features),
        "feature_extractor_audio.proj.bias": (d,),
        "feature_extractor_video.proj.weight": (d, 8 * c),
        "feature_extractor_video.proj.bias": (d,),
        "layer_norm.weight": (2 * d,),
        "layer_norm.bias": (2 * d,),
        "post_extract_proj.weight": (d, 2 * d),
        "post_extract_proj.bias": (d,),
        "encoder.pos_conv.0.bias": (d,),
        "encoder.pos_conv.0.weight_g": (1, 1, shape.kernel),
        "encoder.pos_conv.0.weight_v": (d, d // shape.groups, shape.kernel),
        "encoder.layer_norm.weight": (d,),
        "encoder.layer_norm.bias": (d,),
    }

    def norm(name: str, width: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            table[f"{name}.{part}"] = (width,)
        table[f"{name}.num_batches_tracked"] = ()

    resnet = "feature_extractor_video.resnet"
    table[f"{resnet}.frontend3D.0.weight"] = (c, 1, 5, 7, 7)
    norm(f"{resnet}.frontend3D.1", c)
    table[f"{resnet}.frontend3D.2.weight"] = (c,)
    before = c
    for stage, width in enumerate((c, 2 * c, 4 * c, 8 * c), 1):
        for block in (0, 1):
            name = f"{resnet}.trunk.layer{stage}.{block}"
            inputs = before if block == 0 else width
            table[f"{name}.conv1.weight"] = (width, inputs, 3, 3)
            table[f"{name}.conv2.weight"] = (width, width, 3, 3)
            for part in ("1", "2"):
                norm(f"{name}.bn{part}", width)
                table[f"{name}.relu{part}.weight"] = (width,)
            if block == 0 and stage > 1:
                table[f"{name}.downsample.0.weight"] = (width, inputs, 1, 1)
                norm(f"{name}.downsample.1", width)
        before = width
    for layer in range(shape.layers):
        name = f"encoder.layers.{layer}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            table[f"{name}.self_attn.{part}.weight"] = (d, d)
            table[f"{name}.self_attn.{part}.bias"] = (d,)
        for part in ("self_attn_layer_norm", "final_layer_norm"):
            table[f"{name}.{part}.weight"] = table[f"{name}.{part}.bias"] = (d,)
        table[f"{name}.fc1.weight"], table[f"{name}.fc1.bias"] = (f, d), (f,)
        table[f"{name}.fc2.weight"], table[f"{name}.fc2.bias"] = (d, f), (d,)
    return table


def pretrained(net: AvHubert) -> dict[str, Tensor]:
    """The encoder's tensors with the heads of pre-training."""
    width, random = net.shape.width, torch.Generator().manual_seed(5)
    return {
        "mask_emb": torch.rand(net.shape.audio_features, generator=random),
        "label_embs_concat": torch.rand(20, 8, generator=random),
        **net.state_dict(),
        "final_proj.weight": torch.rand(8, width, generator=random),
        "final_proj.bias": torch.rand(8, generator=random),
    }


def finetuned(net: AvHubert) -> dict[str, Tensor]:
    """The same under a decoder."""
    inner = {f"encoder.w2v_model.{k}": v for k, v in pretrained(net).items() if "label" not in k}
    return {**inner, "decoder.layers.0.fc1.weight": torch.zeros(4, 4)}


def checkpoint(state: dict[str, Tensor], heads: int = TINY.heads) -> dict[str, Any]:
    """What an official file holds at its top."""
    model = {"_name": "av_hubert", "encoder_attention_heads": heads, "layer_norm_first": True}
    return {"args": None, "cfg": {"model": model}, "model": state, "optimizer_history": []}
