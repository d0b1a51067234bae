"""An iterator that works ahead in a thread of its own: items -> the same items, in order.

Decoding and the face networks both let go of Python's lock, so that one can run beside the other.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from queue import Empty, Full, Queue
from typing import Any, TypeVar

__all__ = ["ahead"]

Item = TypeVar("Item")

WAIT = 0.05  # s between two looks at whether anybody still listens


def ahead(items: Iterator[Item], most: int) -> Generator[Item]:
    """Take items from an iterator in a thread, a few before they are asked for.

    The iterator is used by that thread alone, from the first `next` on; when the generator is
    closed, so is the iterator, if it can be, and the thread has ended.

    Args:
        items: what is worked ahead of.
        most: items that may wait; 1 or more.

    Returns:
        The same items. What the iterator raises is raised where the item would have been.
    """
    waiting: Queue[tuple[str, Any]] = Queue(most)
    closed = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not closed.is_set():
            try:
                waiting.put((kind, value), timeout=WAIT)
            except Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put("item", item):
                    break
            else:
                put("end", None)
        except BaseException as error:  # whatever it is, it belongs to the reader
            put("error", error)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, name="avsr-ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = waiting.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        closed.set()
        try:  # a place in the queue, for a thread that waits for one
            waiting.get_nowait()
        except Empty:
            pass
        thread.join()
