"""What makes the first transcript come sooner."""

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


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


@contextmanager
def scipy_deferred() -> Iterator[None]:
    """Import transformers without scipy.optimize, half a second of which no speech needs.

    Its losses for object detection import it with every model. They get functions that import
    scipy when they are called; nobody else sees the stand-in, which is taken away afterwards.
    """
    name = "scipy.optimize"
    if name in sys.modules:
        yield
        return
    stand_in = ModuleType(name)
    stand_in.__getattr__ = _called_later  # type: ignore[method-assign]
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]


def _called_later(name: str) -> Callable[..., Any]:
    """A function of scipy.optimize that is not imported yet."""
    if name.startswith("__"):
        raise AttributeError(name)

    def later(*args: Any, **options: Any) -> Any:
        return getattr(import_module("scipy.optimize"), name)(*args, **options)

    return later
