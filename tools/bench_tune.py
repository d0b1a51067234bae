"""A model tuned to a compressor for a few steps, so that a method is not judged by its newness.

Data: trained model, compressor, clips of a training split -> the same model with that compressor,
projectors, adapter and compressor tuned to each other. `pool` is tuned as well: the same steps
with the same clips, rates and draws are what the others are compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from avsr.compress.pair import build_pair
from avsr.prepare import Prepared
from avsr.rates import Rates
from avsr.views import View, task_of

TASKS = {"a": 0.3, "v": 0.2, "av": 0.5}  # as the default model's own training draws them
CTC = 0.5
CLIPS = 8  # a step


def refitted(recogniser: Any, config: Mapping[str, Any]) -> None:
    """Give a model another compressor in place of its own, with fresh weights where it has any.

    Raises:
        ValueError: its tokens are wider than the projectors' inputs.
        ConfigError: no such compressor.
    """
    model = recogniser.model
    lips = recogniser.video_tower
    widths = {
        "audio": recogniser.audio_tower.width,
        "video": None if lips is None else lips.width,
    }
    made = build_pair(config, widths, model.rates)
    for kind, compressor in made.items():
        if compressor.card.op == "concat":
            raise ValueError(
                f"{compressor.card.name} gives {kind} tokens that the trained projectors are too "
                "narrow for; `conv` is a stack and a linear layer, and starts as pooling"
            )
    model.compressors = made
    recogniser.compression_note = None


def tune(
    recogniser: Any,
    takes: Sequence[tuple[Prepared, str]],
    *,
    steps: int,
    seed: int,
    lr: float = 2e-4,
    new_lr: float = 2e-3,
    each: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train projectors, adapter and compressors in place, one task and rate pair drawn a step.

    Args:
        recogniser: its model already has the compressor.
        takes: clips with features, and their texts.
        steps: of AdamW, the rate falling linearly to nought.
        seed: of clips, tasks, rates and dropout.
        lr: peak rate of what was trained before.
        new_lr: peak rate of the compressors' own weights.
        each: called with step and loss.
    """
    model, alignment = recogniser.model, recogniser.alignment
    model.requires_grad_(True)  # a loaded model is frozen; its LLM and towers are no part of it
    own = list(model.compressors.parameters())
    held = {id(parameter) for parameter in own}
    rest = [p for p in model.parameters() if id(p) not in held]
    groups = [{"params": rest, "lr": lr}]
    groups += [{"params": own, "lr": new_lr}] if own else []
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / max(1, steps))
    random = torch.Generator().manual_seed(seed)
    texts = [torch.tensor(model.tokenizer.encode(" " + text)) for _, text in takes]
    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for step in range(steps):
            rates = _drawn(recogniser, random)
            picked = torch.randint(len(takes), (CLIPS,), generator=random).tolist()
            loss = _loss(
                model, alignment, recogniser.features([takes[i][0] for i in picked]), rates,
                [texts[i] for i in picked],
            )  # fmt: skip
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([*rest, *own], 1.0)
            optimizer.step()
            model.adapter.settle()
            schedule.step()
            each(step, loss.item())
    model.eval().requires_grad_(False)


def _loss(
    model: Any, alignment: Any, features: Any, rates: Rates, texts: Sequence[Tensor]
) -> Tensor:
    """The LLM's loss, and that of the CTC that has a say in the search."""
    views = [View(row, rates) for row in range(len(texts))]
    total: Tensor = model(features, views, texts).total
    if alignment is None:
        return total
    streams = model.tokens(features, views)
    aligned = [alignment(s, texts) for name, s in streams.items() if name in _voices(model)]
    return total + CTC * torch.stack(aligned).mean() if aligned else total


def _voices(model: Any) -> Mapping[str, float]:
    """Projectors whose CTC has a say in the search."""
    return model.config.ctc_weights or {}


def _drawn(recogniser: Any, random: torch.Generator) -> Rates:
    """A task by its chance, and one of its rate pairs."""
    names = list(TASKS)
    chances = torch.tensor([TASKS[name] for name in names])
    task = names[int(torch.multinomial(chances, 1, generator=random))]
    pairs = recogniser.pairs(task)
    rates: Rates = pairs[int(torch.randint(len(pairs), (1,), generator=random))]
    assert task_of(rates) == task
    return rates
