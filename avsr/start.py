"""What a new training takes over from checkpoints: parts of the same name, rate by rate.

Data: checkpoint folders -> Start -> weights of an AvsrModel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from avsr.checkpoint import read_config
from avsr.config import AvsrConfig
from avsr.errors import ModelError
from avsr.model import AvsrModel
from experts import Row

_PROJECTORS = "multi_modal_projector."


@dataclass(frozen=True)
class Start:
    """A checkpoint that a training starts from.

    Args:
        folder: where it lies.
        config: of its model.
        state: its trained parts.
    """

    folder: Path
    config: AvsrConfig
    state: Mapping[str, Tensor]

    @classmethod
    def read(cls, folder: Path | str) -> Start:
        """Read one; quick beside an LLM, so that a wrong folder is told first.

        Raises:
            ModelError: no model of ours lies there.
        """
        config, _ = read_config(folder)
        try:
            state = load_file(Path(folder) / "model.safetensors")
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"cannot start from it: {error}",
                where=str(folder),
                todo="Name folders that a training has written.",
            ) from error
        return cls(Path(folder), config, state)


def take_over(model: AvsrModel, starts: Sequence[Start]) -> list[str]:
    """Copy what fits from checkpoints, of which later ones win.

    A projector of a rate that none has comes from its nearest rate of the same modality; so do
    weights that an adapter keeps for each rate pair, from the nearest pair of the same task.

    Args:
        model: that is to be trained.
        starts: checkpoints.

    Returns:
        Parts of the model of which something stays fresh, as "mome" and "audio_4".

    Raises:
        ModelError: nothing of a checkpoint fits.
    """
    own = model.state_dict()
    merged: dict[str, Tensor] = {}
    for start in starts:
        offered = _spread(start.state, model.config).items()
        if not any(k in own and v.shape == own[k].shape for k, v in offered):
            raise ModelError(
                "nothing of it fits the model that is to start from it",
                where=str(start.folder),
                todo="Name a checkpoint of the same sizes, or leave it out of `start`.",
            )
        merged |= start.state
    merged = _spread(merged, model.config)
    prefix = f"{model.config.method}."
    by_pair = {k for k in own if k.startswith(prefix) and model.adapter.kept_by_scale(k)}
    taken = {k: v.float() for k, v in merged.items() if k in own and v.shape == own[k].shape}
    anew = {_part(key) for key in own if key not in taken and key not in by_pair}
    for key in by_pair:
        taken[key], lacking = _by_pair(key, own[key], model.adapter.scales, starts)
        anew |= {f"{_part(key)} at {row}" for row in lacking}
    model.load_state_dict({**own, **taken})
    return sorted(anew)


def _spread(state: Mapping[str, Tensor], config: AvsrConfig) -> dict[str, Tensor]:
    """Give every configured rate a projector: its own, or the nearest trained one."""
    out = dict(state)
    trained = sorted({_part(key) for key in state if key.startswith(_PROJECTORS)})
    for kind, rates in (("audio", config.audio_rates), ("video", config.video_rates)):
        for rate in rates:
            name = config.projector.name(kind, rate)
            known = [other for other in trained if other.split("_")[0] == kind]
            if name in known or not known:
                continue
            nearest = min(known, key=lambda other: abs(_rate_of(other, rate) - rate))
            source = f"{_PROJECTORS}{nearest}."
            found = {k: v for k, v in state.items() if k.startswith(source)}
            copied = {f"{_PROJECTORS}{name}.{k[len(source) :]}": v for k, v in found.items()}
            out |= {k: v for k, v in copied.items() if k not in out}  # a shared one: the finest's
    return out


def _rate_of(projector: str, otherwise: int) -> int:
    """Rate in a projector's name; one that serves every rate has none."""
    _, _, rate = projector.partition("_")
    return int(rate) if rate else otherwise


def _by_pair(
    key: str, fresh: Tensor, rows: Sequence[Row], starts: Sequence[Start]
) -> tuple[Tensor, list[Row]]:
    """A tensor of one part a rate pair, each from the nearest pair; the pairs without one."""
    parts, lacking = fresh.unflatten(0, (len(rows), -1)).clone(), []
    for number, row in enumerate(rows):
        found = _nearest(row, key, parts[number].shape, starts)
        if found is None:
            lacking.append(row)
        else:
            parts[number] = found
    return parts.flatten(0, 1), lacking


def _nearest(row: Row, key: str, shape: torch.Size, starts: Iterable[Start]) -> Tensor | None:
    """The part of the nearest rate pair of the same task, the latest of equally near ones."""
    best: tuple[int, Tensor] | None = None
    for start in starts:
        held, pairs = start.state.get(key), start.config.scales
        if held is None or held.shape != (len(pairs) * shape[0], *shape[1:]):
            continue
        parts = held.unflatten(0, (len(pairs), -1))
        for part, pair in zip(parts, pairs, strict=True):
            apart = abs((pair.audio or 0) - (row.audio or 0))
            apart += abs((pair.video or 0) - (row.video or 0))
            if pair.task == row.task and (best is None or apart <= best[0]):
                best = apart, part
    return None if best is None else best[1]


def _part(key: str) -> str:
    """The part of a model that a tensor belongs to."""
    return key.removeprefix(_PROJECTORS).split(".")[0]
