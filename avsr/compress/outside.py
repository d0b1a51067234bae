"""Methods that live in a file outside the package, for command lines.

Data: "my_method.py:name,key=value" -> the file is run once, so that it registers itself
-> "name,key=value".

A file is code. It is run where a user names it on a command line, and nowhere else: no checkpoint,
recipe or request can.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avsr.compress.pair import parse
from avsr.errors import ConfigError

__all__ = ["named", "registered"]


def named(texts: Sequence[str]) -> dict[str, Any]:
    """What several words of a command line ask for together.

    Args:
        texts: one for both modalities, or "audio=..." and "video=..." once each.

    Raises:
        ConfigError: words that do not go together, or as for `registered`.
    """
    out: dict[str, Any] = {}
    for text in texts:
        found = parse(registered(text))
        if out and ("name" in out or "name" in found or set(out) & set(found)):
            raise ConfigError(
                f"compressors {', '.join(texts)} do not go together",
                todo='Give one for both streams, or one "audio=..." and one "video=..."',
            )
        out |= found
    return out


def registered(text: str) -> str:
    """What `parse` reads, once the file that it may name has been run.

    Args:
        text: "name,key=value", perhaps behind a Python file and a colon.

    Raises:
        ConfigError: no such file, or one that cannot be run.
    """
    head, *rest = text.split(",")
    before, given, spelt = head.rpartition("=")
    path, colon, name = spelt.rpartition(":")
    if not colon or not path.endswith(".py"):
        return text
    _run(Path(path))
    return ",".join([f"{before}{given}{name}", *rest])


def _run(path: Path) -> None:
    """Run a file as a module of its own, once a process."""
    whole = path.expanduser().resolve()
    module_name = f"avsr_method_{hashlib.sha256(str(whole).encode()).hexdigest()[:12]}"
    if module_name in sys.modules:
        return
    if not whole.is_file():
        raise ConfigError("no such file of a method", where=str(path), todo="Check the path.")
    spec = importlib.util.spec_from_file_location(module_name, whole)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a stranger's file raises
        del sys.modules[module_name]
        raise ConfigError(
            f"the file of a method failed: {type(error).__name__}: {error}", where=str(path)
        ) from error
