"""What makes the first transcript come sooner."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Import or load without Python's cycle collector, if it was on.

    torch and transformers make a million objects that stay: walking them again and again while
    they are made takes a tenth of the time of loading.
    """
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()
