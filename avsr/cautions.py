"""What must be said beside a transcript of a task that was not trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line's help must not wait for torch
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
