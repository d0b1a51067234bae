"""Read the tensors of a foreign PyTorch checkpoint without running anything that it names.

    state = tame_pickle.load("large_vox_iter5.pt")["model"]

A pickle may name any function and call it. Here a name gives one of three things: the few builders
of tensors and containers that every checkpoint needs; for classes of known training frameworks an
inert stand-in, which keeps what is put into it and does nothing; for everything else a refusal.
No framework needs to be installed.
"""

from __future__ import annotations

import collections
import pickle
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

# What is rebuilt as it was. None of these runs a name or a string that it is given.
REAL = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    **{("torch", name): getattr(torch, name) for name in ("float16", "float32", "bfloat16")},
    **{
        (home, kind.__name__): kind
        for home in ("builtins", "__builtin__")
        for kind in (bool, bytearray, complex, dict, float, int, list, set, str, tuple)
    },
}
# Whose classes are replaced by stand-ins.
INERT = (
    *("argparse", "fairseq", "omegaconf", "hydra", "enum", "typing", "numpy", "pathlib"),
    *("collections", "_codecs"),
    *("avhubert", "av_hubert", "hubert", "hubert_asr", "hubert_pretraining"),
    *("lightning", "pytorch_lightning", "lightning_fabric"),
)


class Refused(Exception):
    """The checkpoint is not what it says it is."""


class Inert:
    """Stands for an object of a class that is not here: it takes anything and does nothing."""

    _args: tuple[Any, ...]
    _items: list[Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        """Keep the arguments; pickles skip `__init__`."""
        made = super().__new__(cls)
        made._args, made._items = args, []
        return made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self._state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self._items.append((key, value))

    def append(self, value: Any) -> None:
        """Take an item, as a list does."""
        self._items.append(value)

    def extend(self, values: Any) -> None:
        """Take several."""
        self._items += values

    def __hash__(self) -> int:
        return id(self)


class Unpickler(pickle.Unpickler):
    """An unpickler that calls nothing by name but what `REAL` holds."""

    def find_class(self, module: str, name: str) -> Any:
        """Give what a name of the pickle stands for."""
        found = REAL.get((module, name))
        if found is not None:
            return found
        if module.split(".")[0] in INERT and "." not in name:
            return type(name, (Inert,), {"__module__": module})
        raise Refused(f"the pickle asks for {module}.{name}, which no checkpoint of speech needs")


def _tame() -> ModuleType:
    """The module `pickle` as torch.load wants it, with the tame unpickler in it."""
    module = ModuleType("tame_pickle_module")
    module.Unpickler = Unpickler  # type: ignore[attr-defined]
    module.load = lambda file, **options: Unpickler(file, **options).load()  # type: ignore[attr-defined]
    return module


def load(path: Path | str) -> Any:
    """Read a checkpoint.

    Args:
        path: written by `torch.save`, in its zip form or the one before.

    Returns:
        What was saved: containers, numbers, strings, tensors on the CPU, and `Inert` stand-ins.

    Raises:
        Refused: it names what it should not, is a TorchScript program, or cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise Refused("no such file")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [Path(name).name for name in archive.namelist()]
        if "constants.pkl" in names or any(name.endswith(".py") for name in names):
            raise Refused("this is a TorchScript program, not a checkpoint")
    try:
        return torch.load(path, map_location="cpu", pickle_module=_tame(), weights_only=False)
    except Refused:
        raise
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, *_FAULTS) as error:
        raise Refused(f"not a checkpoint that can be read: {error}") from error


_FAULTS = (
    *(AttributeError, ImportError, IndexError, KeyError, OverflowError),
    *(TypeError, UnicodeError, ValueError, AssertionError),
)


def plain(thing: Any) -> Any:
    """Look into a stand-in: the values of a Namespace, a DictConfig or a node of one.

    Args:
        thing: anything out of `load`.

    Returns:
        Dictionaries, lists and scalars as far as they can be seen; other stand-ins as they are.
    """
    if isinstance(thing, dict):
        return {key: plain(value) for key, value in thing.items()}
    if not isinstance(thing, Inert):
        return thing
    state = getattr(thing, "_state", None)
    if not isinstance(state, dict):
        return thing
    for key in ("_content", "_val"):  # of omegaconf's containers and of its nodes
        if key in state:
            return plain(state[key])
    return plain(state)
