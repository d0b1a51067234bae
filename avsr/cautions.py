"""What must be said beside a transcript: an untrained task, a budget that was not met."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line's help must not wait for torch
    from avsr.prepare import Prepared
    from avsr.rates import Rates
    from experts import Task

TASKS: Mapping[Task, str] = {"a": "sound alone", "v": "lips alone", "av": "sound and lips"}


def untrained(facts: Mapping[str, Any], task: Task) -> str | None:
    """A caution where a model reads what no training step showed it.

    Args:
        facts: of a `Recogniser`; its "trained_tasks" where the training told them.
        task: that is read.

    Returns:
        A sentence, or None.
    """
    known = facts.get("trained_tasks")
    if known is None or task in known:
        return None
    names = " and on ".join(TASKS[name] for name in TASKS if name in known)
    return f"the model was trained on {names}, and reads {TASKS[task]} untrained"


def missed(clip: Prepared, rates: Rates, used: Mapping[str, int]) -> list[str]:
    """Sentences about the streams of which more or fewer tokens were made than their rate means.

    Args:
        clip: with its features.
        rates: that were asked for.
        used: tokens of "audio" and "video" that the language model read.
    """
    out = []
    for kind in ("audio", "video"):
        features, rate = getattr(clip, kind), getattr(rates, kind)
        asked = 0 if features is None or rate is None else -(-len(features) // rate)
        if used[kind] != asked:
            out.append(f"{kind} rate {rate} stands for {asked} tokens, {used[kind]} were made")
    return out
