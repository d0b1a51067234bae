"""The tensors of an Omni-AVSR or Llama-AVSR checkpoint, sorted by what they belong to.

    model_avg_N.pth -> Parts(whisper, avhubert, projectors, low-rank layers, markers, LLM)

Names follow from the authors' module trees. A name that is none of theirs stops the conversion.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

TASKS = {"audio": "a", "video": "v", "audiovisual": "av"}  # theirs to ours
TARGETS = {"Q": "q_proj", "V": "v_proj"}

_LORA = re.compile(
    r"model\.layers\.(\d+)\.self_attn\.lora_(down|up)_(Q|V)"
    r"(?:(_shared)|\.(audio|video|audiovisual))?(?:\.weight)"
)
_PROJECTOR = re.compile(r"(audio|video)_proj\.(?:(\d+)\.)?([023])\.(weight|bias)")
_ENCODER_LORA = re.compile(r"encoder\.layers\.(\d+)\.self_attn\.lora_(down|up)_(Q|V)\.weight")
_PROMPTS = ("prompt_audio", "prompt_video", "prompt_audiovisual")

LoraKey = tuple[int, str, str]  # layer, target, bank: "shared" or a task of ours
ProjectorKey = tuple[str, int | None]  # kind, number in the list of rates


@dataclass
class Parts:
    """What a checkpoint holds.

    Args:
        whisper: encoder of sound, under transformers' names.
        avhubert: encoder of lips, under its official names.
        avhubert_lora: (layer, target) -> {"down": [r, D], "up": [D, r]} inside it.
        projectors: (kind, number) -> {"0.weight": ..., "2.bias": ..., "3.weight": ...}.
        lora: (layer, target, bank) -> {"down": [r, H], "up": [O, r]} inside the LLM.
        llm: the LLM itself, under transformers' names.
        prompts: embedded instructions that Omni-AVSR stores.
    """

    whisper: dict[str, Tensor] = field(default_factory=dict)
    avhubert: dict[str, Tensor] = field(default_factory=dict)
    avhubert_lora: dict[tuple[int, str], dict[str, Tensor]] = field(default_factory=dict)
    projectors: dict[ProjectorKey, dict[str, Tensor]] = field(default_factory=dict)
    lora: dict[LoraKey, dict[str, Tensor]] = field(default_factory=dict)
    llm: dict[str, Tensor] = field(default_factory=dict)
    prompts: dict[str, Tensor] = field(default_factory=dict)

    @property
    def banks(self) -> tuple[str, ...]:
        """Which sets of low-rank layers the LLM has: "shared", "task", both or none."""
        found = {bank for _, _, bank in self.lora}
        shared = ("shared",) if "shared" in found else ()
        return (*shared, *(("task",) if found - {"shared"} else ()))


def sort(state: Mapping[str, Tensor]) -> Parts:
    """Sort a checkpoint's tensors.

    Args:
        state: names to tensors, with or without Lightning's "model." in front of all.

    Raises:
        ValueError: a name that belongs to none of the authors' systems, or a layer half there.
    """
    if all(name.startswith("model.") for name in state):
        state = {name.removeprefix("model."): value for name, value in state.items()}
    parts = Parts()
    for name, value in state.items():
        _place(parts, name, value)
    for key, pair in [*parts.lora.items(), *parts.avhubert_lora.items()]:
        if set(pair) != {"down", "up"}:
            raise ValueError(f"low-rank layer {key} has only its {next(iter(pair))}-projection")
    return parts


def _place(parts: Parts, name: str, value: Tensor) -> None:
    head, _, rest = name.partition(".")
    if name in _PROMPTS:
        parts.prompts[name] = value
    elif head == "audio_encoder":
        parts.whisper[rest] = value
    elif head == "video_encoder":
        found = _ENCODER_LORA.fullmatch(rest)
        if found is None:
            parts.avhubert[rest] = value
        else:
            layer, side, target = found.groups()
            key = (int(layer), TARGETS[target])
            parts.avhubert_lora.setdefault(key, {})[side] = value
    elif (projector := _PROJECTOR.fullmatch(name)) is not None:
        kind, number, layer, which = projector.groups()
        place = (kind, None if number is None else int(number))
        parts.projectors.setdefault(place, {})[f"{layer}.{which}"] = value
    elif head == "llm" and "lora_" in rest:
        lora = _LORA.fullmatch(rest)
        if lora is None:
            raise ValueError(f"{name}: an unknown kind of low-rank layer")
        layer, side, target, shared, task = lora.groups()
        bank = "shared" if task is None else TASKS[task]
        del shared
        parts.lora.setdefault((int(layer), TARGETS[target], bank), {})[side] = value
    elif head == "llm":
        parts.llm[rest] = value
    else:
        raise ValueError(f"{name} belongs to no system of the authors that is known")
