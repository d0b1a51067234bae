"""Tools as modules."""

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest
import yaml

from tests.tools.comparison import write_suite

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def tool(monkeypatch):
    """tool(name): import a tool as a script would, with its folder on the path."""
    import experts  # noqa: F401  # the package, before the tool of that name is on the path

    monkeypatch.syspath_prepend(str(TOOLS))

    def load(name):
        if name != "experts":
            return importlib.import_module(name)
        spec = importlib.util.spec_from_file_location("experts_tool", TOOLS / "experts.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def script():
    """The folder of the tools and the interpreter, to run one as a user does."""
    return lambda name: [sys.executable, str(TOOLS / f"{name}.py")]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    from tests.avsr.train.folders import write_home

    return write_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def tiny(tool, home, tmp_path):
    """A suite over the tiny folders."""
    recipe = yaml.safe_load(home.recipe("base").read_text())
    return tool("compare_suite").read_suite(write_suite(tmp_path / "tiny.yaml", recipe))
