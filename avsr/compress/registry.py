"""Classes by name, built from plain data.

Data: {"name": ..., **parameters} -> object.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from avsr.compress.values import check_values
from avsr.errors import ConfigError

T = TypeVar("T")
C = TypeVar("C", bound=type)


class Registry(Generic[T]):
    """Classes of one kind, each under a name.

    Args:
        noun: what they are, for messages.
        needs: class attributes each must have.
    """

    def __init__(self, noun: str, *, needs: tuple[str, ...] = ()) -> None:
        self.noun = noun
        self._needs = needs
        self._classes: dict[str, type[T]] = {}

    def __iter__(self) -> Iterator[str]:
        """Names in order of registration."""
        return iter(self._classes)

    def __getitem__(self, name: str) -> type[T]:
        """The class of a name.

        Raises:
            ConfigError: lists the nearest names.
        """
        if name not in self._classes:
            raise self._unknown(f"no {self.noun} is called {name!r}", name, self._classes)
        return self._classes[name]

    def register(self, name: str) -> Callable[[C], C]:
        """Class decorator that gives a class its name.

        Raises:
            ValueError: the name is taken, or the class lacks what its kind must have.
        """

        def add(cls: C) -> C:
            if name in self._classes:
                raise ValueError(f"{self.noun} {name!r} is registered twice")
            missing = [attribute for attribute in self._needs if not hasattr(cls, attribute)]
            if missing:
                raise ValueError(f"{self.noun} {name!r} lacks {', '.join(missing)}")
            told = getattr(getattr(cls, "card", None), "name", name)
            if told != name:
                raise ValueError(f"{self.noun} {name!r} has a card that says {told!r}")
            self._classes[name] = cls
            return cls

        return add

    def build(self, config: Mapping[str, Any]) -> T:
        """An object from its name and parameters.

        Raises:
            ConfigError: no name, an unknown name or parameter (the nearest are listed), or a value
                that the class refuses.
        """
        given = dict(config)
        if not isinstance(given.get("name"), str):
            raise ConfigError(
                f"a {self.noun} needs a name", todo=f"One of {', '.join(self._classes)}"
            )
        name = given.pop("name")
        kind = self[name]
        known = list(inspect.signature(kind).parameters)
        for key in given:
            if key not in known:
                raise self._unknown(f"{self.noun} {name!r} has no parameter {key!r}", key, known)
        try:
            check_values(kind, given)
            return kind(**given)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self.noun} {name!r}: {error}") from error

    @staticmethod
    def _unknown(what: str, asked: str, known: Iterator[str] | Any) -> ConfigError:
        names = list(known)
        near = difflib.get_close_matches(asked, names, n=3, cutoff=0.5)
        advice = f"Did you mean {' or '.join(near)}?" if near else ""
        listed = f"Known: {', '.join(names) or 'none'}"
        return ConfigError(what, todo=f"{advice} {listed}".strip())
