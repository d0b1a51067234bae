"""A recogniser made of a dictionary, and commands run in this process."""

import argparse
import importlib
import sys
import types
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

import avsr
from avsr.errors import AvsrError, MediaError
from avsr.transcript import Segment, Transcript


@dataclass
class FakeRecogniser:
    """Hears what `says` tells for a file's name; refuses the names it does not know."""

    says: dict[str, Transcript | AvsrError]
    calls: list[dict] = field(default_factory=list)
    raises: BaseException | None = None
    alignment: object | None = field(default_factory=object)
    trained_rates: dict[str, list[int]] = field(default_factory=lambda: {"a": [4, 16], "v": [2, 5]})

    def transcribe(self, paths, **settings):
        self.calls.append({"paths": list(paths), **settings})
        if self.raises is not None:
            raise self.raises
        return [self.says.get(Path(p).name) or _missing(p) for p in paths]


def _missing(path):
    return MediaError("no such file", where=str(path), todo="Check the path")


def _say(text, **changes):
    made = Transcript(text=text, segments=(Segment(0.0, 3.0, text, -0.1),))
    return replace(made, **changes)


@pytest.fixture
def say():
    """Make a transcript of three seconds with the given text."""
    return _say


@dataclass
class FakeApi:
    recogniser: FakeRecogniser
    loaded: list[tuple] = field(default_factory=list)
    refuses: AvsrError | None = None

    def load_model(self, model="default", **settings):
        self.loaded.append((model, settings))
        if self.refuses is not None:
            raise self.refuses
        return self.recogniser


@pytest.fixture
def api(monkeypatch):
    """Stand in for `avsr.loading`, so that no weights are read."""
    texts = {"a.mp4": _say("bin blue"), "b.wav": _say("set white")}
    fake = FakeApi(FakeRecogniser(texts))
    module = types.ModuleType("avsr.loading")
    module.load_model = fake.load_model
    module.model_folder = lambda *_: Path(avsr.__file__).parent / "models" / "default"
    monkeypatch.setitem(sys.modules, "avsr.loading", module)
    return fake


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Run `avsr NAME ARGS` in an empty folder and return its exit status."""
    monkeypatch.chdir(tmp_path)

    def call(name, *args):
        module = importlib.import_module(f"avsr.cli.{name}")
        parser = argparse.ArgumentParser(prog=f"avsr {name}")
        module.add_arguments(parser)
        try:
            return module.run(parser.parse_args([str(arg) for arg in args]))
        except SystemExit as end:
            return end.code

    return call
