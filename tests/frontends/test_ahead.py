"""Laws of working ahead: the same items in the same order, faults in place, no thread left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from frontends.ahead import ahead


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "avsr-ahead"}


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    before = threads()
    yield
    assert threads() <= before


@pytest.mark.parametrize("most", [1, 3, 100])
def test_the_same_items_in_order(most: int) -> None:
    assert list(ahead(iter(range(50)), most)) == list(range(50))
    assert list(ahead(iter(()), most)) == []


def test_a_fault_comes_after_what_came_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("the third")

    items = ahead(broken(), 8)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match="the third"):
        next(items)


def test_no_more_wait_than_asked() -> None:
    taken = []

    def counting() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    items = ahead(counting(), 2)
    next(items)
    time.sleep(0.05)
    assert len(taken) <= 1 + 2 + 1  # given, waiting, and the one in hand
    items.close()


def test_who_stops_early_closes_the_source() -> None:
    ended = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            ended.set()

    items = ahead(endless(), 1)
    next(items)
    items.close()
    assert ended.is_set()


def test_nothing_is_taken_before_the_first_item_is_asked_for() -> None:
    taken: list[int] = []
    items = ahead((taken.append(k) or k for k in range(3)), 2)
    time.sleep(0.02)
    assert taken == []
    items.close()
