"""Greedy decoding of a whole LLM with MoME against without, and where the time goes.

Data: LLM -> two LLMs of the same weights, one with hooks -> seconds of prefill and of a token.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from paired import Clock, ratio, rounds
from torch import Tensor

from experts import Mome, MomeConfig, MomeLayer, attach


def twins(llm: Any, config: MomeConfig, seed: int) -> tuple[Any, Mome]:
    """A second LLM of the same weights, widened by MoME.

    Args:
        llm: stays as it is; its tensors are shared, so memory grows by the experts alone.
        config: sizes of the mixtures.
        seed: of the experts. Their up-projections are zero, so both write the same text; a kernel
            takes as long over zeros as over other numbers.

    Returns:
        The widened LLM and its experts, in eval mode.
    """
    shared: dict[int, Any] = {id(t): t for t in (*llm.parameters(), *llm.buffers())}
    widened = copy.deepcopy(llm, shared)
    return widened, attach(widened, config, seed=seed).eval().requires_grad_(False)


@torch.inference_mode()
def generate(llm: Any, embeds: Tensor, tokens: int) -> Tensor:
    """Write exactly so many tokens, greedily, as `avsr.decode` does but without its EOS.

    Args:
        llm: causal LM.
        embeds: [1, N, H] the prompt.
        tokens: how many to write; the prompt's own pass gives the first.

    Returns:
        [1, tokens].
    """
    from transformers import GenerationConfig

    bare = copy.copy(llm)
    bare.generation_config = GenerationConfig()
    settings = GenerationConfig(do_sample=False, max_new_tokens=tokens, pad_token_id=0)
    mask = torch.ones(embeds.shape[:2], dtype=torch.long)
    written: Tensor = bare.generate(
        inputs_embeds=embeds, attention_mask=mask, generation_config=settings
    )
    return written


@contextmanager
def watched(mome: Mome, clock: Clock = time.perf_counter) -> Iterator[Callable[[], float]]:
    """Sum the time spent inside the MoME layers; gives a function that tells it."""
    total = 0.0

    def around(run: Any) -> Any:
        def timed(*args: Any) -> Any:
            nonlocal total
            began = clock()
            out = run(*args)
            total += clock() - began
            return out

        return timed

    layers = [layer for layer in mome.layers if isinstance(layer, MomeLayer)]
    for layer in layers:
        layer.run = around(layer.run)  # type: ignore[method-assign]
    try:
        yield lambda: total
    finally:
        for layer in layers:
            del layer.run  # the method of the class is back


def measure(
    llm: Any,
    config: MomeConfig,
    *,
    prompt: int,
    tokens: int,
    repeats: int,
    seed: int,
    clock: Clock = time.perf_counter,
) -> dict[str, Any]:
    """Compare the two LLMs.

    Args:
        llm: causal LM, frozen, in eval mode.
        config: sizes of the mixtures.
        prompt: tokens of the prompt.
        tokens: tokens to write, at least 2.
        repeats: paired rounds.
        seed: of prompt, experts and bootstrap.
        clock: seconds.

    Raises:
        ValueError: the two do not write the same, or fewer than 2 tokens were asked for.
    """
    if tokens < 2:
        raise ValueError(f"a token's time needs at least 2 written tokens, got {tokens}")
    widened, mome = twins(llm, config, seed)
    table = llm.get_input_embeddings().weight
    ids = torch.randint(len(table), (1, prompt), generator=torch.Generator().manual_seed(seed))
    embeds = table[ids].detach()
    if not torch.equal(generate(llm, embeds, tokens), generate(widened, embeds, tokens)):
        raise ValueError("the LLM writes another text with experts that add nothing")
    works = {
        "without, prefill": lambda: generate(llm, embeds, 1),
        "with, prefill": lambda: generate(widened, embeds, 1),
        "without": lambda: generate(llm, embeds, tokens),
        "with": lambda: generate(widened, embeds, tokens),
    }
    spent = {k: np.asarray(v) for k, v in rounds(works, repeats=repeats, clock=clock).items()}
    step = {
        name: (spent[name] - spent[f"{name}, prefill"]) / (tokens - 1)
        for name in ("with", "without")
    }
    shares = [_share(widened, mome, embeds, tokens, clock) for _ in range(max(3, repeats // 3))]
    inside = float(np.median(shares))
    decode = ratio(step["with"].tolist(), step["without"].tolist(), seed=seed)
    total = ratio(spent["with"].tolist(), spent["without"].tolist(), seed=seed)
    prefill = ratio(spent["with, prefill"].tolist(), spent["without, prefill"].tolist(), seed=seed)
    return {
        "prompt": prompt,
        "tokens": tokens,
        "repeats": repeats,
        "dtype": str(table.dtype).removeprefix("torch."),
        "seconds": {name: float(np.median(row)) for name, row in spent.items()},
        "seconds_a_token": {name: float(np.median(row)) for name, row in step.items()},
        "decode": asdict(decode),
        "prefill": asdict(prefill),
        "total": asdict(total),
        # What MoME adds beyond its layers is hooks and what they disturb.
        "share": {
            "MoME layers": inside,
            "hooks and other": 1 - 1 / total.median - inside,
            "LLM": 1 / total.median,
        },
        "rounds": {name: row.tolist() for name, row in spent.items()},
    }


def _share(llm: Any, mome: Mome, embeds: Tensor, tokens: int, clock: Clock) -> float:
    """Share of a whole decoding that is spent inside the MoME layers."""
    with watched(mome, clock) as inside:
        began = clock()
        generate(llm, embeds, tokens)
        whole = clock() - began
    return inside() / whole
