"""What each row of a forward pass is: its rates and so its task, told to the hooks of an adapter.

Rows announced by the caller -> number of the weights (router, bank, placement) that a row uses.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Task: TypeAlias = Literal["a", "v", "av"]
TASKS: tuple[Task, ...] = ("a", "v", "av")


@dataclass(frozen=True)
class Row:
    """One sequence of a batch, read at one rate pair.

    Args:
        audio: frames per audio token, None without sound.
        video: frames per video token, None without lips.

    Raises:
        ValueError: neither is given.
    """

    audio: int | None
    video: int | None

    def __post_init__(self) -> None:
        if self.audio is None and self.video is None:
            raise ValueError("a row needs an audio or a video rate, both are None")

    @property
    def task(self) -> Task:
        """What is read: sound, lips or both."""
        if self.video is None:
            return "a"
        return "v" if self.audio is None else "av"

    def __str__(self) -> str:
        """As in "a4v2", "a16", "v5"."""
        parts = (("a", self.audio), ("v", self.video))
        return "".join(f"{name}{rate}" for name, rate in parts if rate is not None)


Rule: TypeAlias = Callable[[Row], int]


def by_scale(scales: Sequence[Row]) -> Rule:
    """The rule that gives a row its number among `scales`."""
    numbers = {row: number for number, row in enumerate(scales)}
    return numbers.__getitem__  # a method of a dict can be pickled, a closure cannot


def is_lips_alone(row: Row) -> int:
    """1 for a row of video only, else 0."""
    return int(row.task == "v")


_PASSES = 256  # with gradients, whose rows are remembered; a training step has one or a few


@dataclass
class _Frame:
    """The rows of one pass, and what was already worked out about them.

    Autograd numbers a thread's operations: those of the pass are `first` up to `end`.
    """

    rows: tuple[Row, ...]
    thread: int
    first: int
    end: float = math.inf
    known: dict[tuple[Rule, int, torch.device], int | Tensor] = field(default_factory=dict)


class RowContext:
    """The rows that the current thread's forward passes are about.

    Beam search repeats each row, in place, so a batch may be a multiple of what was announced.
    Gradient checkpointing computes a pass again inside `backward`, when its context is closed: the
    number of the operation whose gradient is wanted tells which pass that was.
    """

    def __init__(self) -> None:
        self._open: dict[int, _Frame] = {}
        self._past: deque[_Frame] = deque(maxlen=_PASSES)

    @contextmanager
    def reading(self, rows: Sequence[Row]) -> Iterator[None]:
        """Say what the rows of the passes inside the context are.

        Raises:
            ValueError: no rows.
            RuntimeError: the context is already open in this thread.
        """
        here = threading.get_ident()
        if here in self._open:
            raise RuntimeError("the rows are already announced; close that context first")
        if len(rows) == 0:
            raise ValueError("no rows to read")
        frame = _Frame(tuple(rows), here, torch._C._autograd._get_sequence_nr())
        self._open[here] = frame
        if torch.is_grad_enabled():
            self._past.append(frame)
        try:
            yield
        finally:
            frame.end = torch._C._autograd._get_sequence_nr()
            del self._open[here]

    def look(self, rule: Rule, batch: int, device: torch.device) -> int | Tensor:
        """Apply a rule to the rows of the running pass.

        Args:
            rule: row -> number.
            batch: rows that the LLM runs on.
            device: of the result.

        Returns:
            The number that all rows share, or [batch] long.

        Raises:
            RuntimeError: nobody announced the rows.
            ValueError: others were announced than the LLM runs on.
        """
        frame = self._recomputed() or self._open.get(threading.get_ident())
        if frame is None:
            raise RuntimeError(
                "this method treats rows by their rates: run the LLM inside "
                "`with adapter.reading(rows)` or `with adapter.tokens(mask, rows=rows)`"
            )
        key = (rule, batch, device)
        if key not in frame.known:
            if batch % len(frame.rows):
                raise ValueError(
                    f"{len(frame.rows)} rows were announced, but the LLM runs on {batch}"
                )
            numbers = [rule(row) for row in frame.rows]
            each = torch.tensor(numbers, device=device)
            frame.known[key] = (
                numbers[0]
                if len(set(numbers)) == 1
                else each.repeat_interleave(batch // len(frame.rows))
            )
        return frame.known[key]

    def _recomputed(self) -> _Frame | None:
        """The pass that gradient checkpointing does again, None where none is."""
        if torch._C._current_graph_task_id() == -1:
            return None
        number = torch._C._current_autograd_node()._sequence_nr()
        here = threading.get_ident()  # on a CPU backward runs where it was called
        found = [frame for frame in self._past if frame.first <= number < frame.end]
        return max(found, key=lambda frame: frame.thread == here, default=None)


def group(rows: Sequence[Row]) -> Tensor:
    """[B] number of each row's rate pair among those of the batch."""
    numbers = {row: number for number, row in enumerate(dict.fromkeys(rows))}
    return torch.tensor([numbers[row] for row in rows])
