"""The arrows of the house, read from its imports: what each part may know, and what it must load.

frontends, experts <- avsr <- recipes, tools, tests; inside avsr, towards the CLI.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("avsr", "experts", "frontends")
PARTS = (*PACKAGES, "recipes", "tools", "tests")
TRAINING = ("avsr.train", "avsr.cli.train")  # the only places that know Lightning
HELP_SECONDS = 0.3


def modules() -> dict[str, Path]:
    """Every module of the three packages by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(source: str, module: str, *, is_package: bool = False) -> set[str]:
    """Dotted names that a source imports, wherever in it, relative ones made absolute."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                kept = len(parts) - node.level + (1 if is_package else 0)
                base = ".".join([*parts[:kept], *([base] if base else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant):
                names.add(str(first.value))
            elif isinstance(first, ast.JoinedStr) and isinstance(first.values[0], ast.Constant):
                names.add(str(first.values[0].value).rstrip("."))
    return names


def _called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def within(name: str, *homes: str) -> bool:
    """Whether a dotted name is one of `homes` or lies in one."""
    return any(name == home or name.startswith(f"{home}.") for home in homes)


def forbidden(module: str, name: str) -> bool:
    """Whether a module of ours may not import a name."""
    if within(module, "frontends", "experts"):
        own = module.split(".")[0]
        return within(name, *(part for part in PARTS if part != own), "lightning")
    if within(name, "recipes", "tools", "tests"):
        return True
    if not within(module, *TRAINING):
        if within(name, "lightning", "pytorch_lightning", "avsr.train"):
            return True
    if within(name, "avsr.cli"):
        return not within(module, "avsr.cli", "avsr.__main__")
    return False


MODULES = modules()


@pytest.mark.parametrize("module", MODULES)
def test_no_arrow_points_back(module: str) -> None:
    path = MODULES[module]
    source = path.read_text(encoding="utf-8")
    names = imported(source, module, is_package=path.name == "__init__.py")
    assert sorted(name for name in names if forbidden(module, name)) == []


@pytest.mark.parametrize("folder", ["recipes", "tools"])
def test_nothing_but_its_neighbours_imports_a_folder_of_scripts(folder: str) -> None:
    for path in [*ROOT.glob("recipes/**/*.py"), *ROOT.glob("tools/**/*.py")]:
        names = imported(path.read_text(encoding="utf-8"), path.stem)
        ours = {name for name in names if within(name, "recipes", "tools", "tests")}
        allowed = path.is_relative_to(ROOT / folder) and folder == "tools"
        assert not {name for name in ours if within(name, folder)} or allowed, path


@pytest.mark.parametrize(
    ("module", "source", "name"),
    [
        ("frontends.lips", "def f():\n    from avsr.weights import pull", "avsr.weights"),
        ("frontends.lips", "import experts", "experts"),
        ("experts.mome", "from ..avsr import model", "avsr.model"),
        ("experts.mome", "import lightning.pytorch as pl", "lightning.pytorch"),
        ("avsr.model", "import lightning", "lightning"),
        ("avsr.api", "from avsr import train", "avsr.train"),
        ("avsr.api", "import_module('avsr.cli.eval')", "avsr.cli.eval"),
        ("avsr.api", "from .cli import main", "avsr.cli"),
        ("avsr.cli.eval", "importlib.import_module(f'avsr.train.{x}')", "avsr.train"),
        ("avsr.train.data", "import tools.voice", "tools.voice"),
    ],
)
def test_an_arrow_back_would_be_found(module: str, source: str, name: str) -> None:
    names = imported(source, module)
    assert name in names
    assert forbidden(module, name)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("avsr.cli.train", "avsr.train.app"),
        ("avsr.train.module", "lightning"),
        ("avsr.__main__", "avsr.cli"),
        ("avsr.model", "experts"),
        ("frontends.lips", "frontends.faces"),
    ],
)
def test_an_arrow_forwards_is_free(module: str, name: str) -> None:
    assert not forbidden(module, name)


def python(code: str, **env: str) -> str:
    """Run code in a new interpreter and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        timeout=600,  # ends a hang; a crowded machine may take minutes
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


LIGHT = {
    "import avsr": "import avsr",
    "avsr --help": "from avsr.cli import main; main(['--help'])",
    "avsr --version": "from avsr.cli import main; main(['--version'])",
    "avsr transcribe --help": "from avsr.cli import main; main(['transcribe', '--help'])",
    "avsr serve --help": "from avsr.cli import main; main(['serve', '--help'])",
    "avsr train --help": "from avsr.cli import main; main(['train', '--help'])",
}
HEAVY = ("torch", "torchaudio", "transformers", "lightning", "peft", "librosa", "cv2", "av")
HEAVY += ("starlette", "uvicorn")


@pytest.mark.parametrize("what", LIGHT)
def test_what_needs_no_model_loads_no_heavy_package(what: str) -> None:
    told = python(f"{LIGHT[what]}\nimport sys\nprint('LOADED', *sys.modules)")
    loaded = set(told.split("LOADED ")[1].split())
    assert "avsr" in loaded
    assert sorted(loaded & set(HEAVY)) == []


@pytest.mark.parametrize("what", ["import avsr", "avsr --help"])
def test_it_is_there_at_once(what: str) -> None:
    """Time on the clock on an idle machine; where others compute, the processor's own time."""
    best = min(_spent(LIGHT[what]) for _ in range(3))
    assert best < HELP_SECONDS


def _spent(code: str) -> float:
    began, before = time.perf_counter(), os.times()
    python(code)
    wall, after = time.perf_counter() - began, os.times()
    worked = after.children_user + after.children_system
    worked -= before.children_user + before.children_system
    busy = os.getloadavg()[0] > (os.cpu_count() or 1) / 2
    return worked if busy else wall


INFERENCE = [name for name in MODULES if not within(name, *TRAINING, "avsr.__main__")]
LOAD_ALL = f"""
import importlib, sys
for name in {INFERENCE!r}:
    importlib.import_module(name)
from transformers.models.llama.modeling_llama import LlamaForCausalLM
from transformers.models.whisper.modeling_whisper import WhisperForConditionalGeneration
print("lightning" in sys.modules, sys.modules.get("torchaudio"))
"""


def test_all_but_training_works_without_torchaudio() -> None:
    """And with it what `load_model` needs of transformers, which takes torchaudio where it is."""
    told = python(f"import sys; sys.modules['torchaudio'] = None{LOAD_ALL}")
    assert told.split() == ["False", "None"]


@pytest.mark.slow
def test_all_but_training_works_with_a_torchaudio_that_cannot_load(tmp_path: Path) -> None:
    """Built for another torch, it raises OSError, and any part of transformers with it."""
    (tmp_path / "torchaudio").mkdir()
    fault = "raise OSError('libtorchaudio.so: undefined symbol')"
    (tmp_path / "torchaudio" / "__init__.py").write_text(fault)
    told = python(LOAD_ALL, PYTHONPATH=str(tmp_path))
    assert told.split() == ["False", "None"]


GUARDED = {  # what is imported alone, and what of transformers its users then run
    "load_llm": "from avsr.language_model import load_llm",
    "convert": "from avsr.gguf import convert",
    "WhisperBaseline": "from avsr.baseline import WhisperBaseline",
    "load_model": "from avsr.loading import load_model",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GUARDED)
def test_each_user_of_transformers_works_alone_with_a_torchaudio_that_cannot_load(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio" / "__init__.py").write_text("raise OSError('no')")
    code = f"""
{GUARDED[name]}
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationMixin
from transformers.models.llama.modeling_llama import LlamaForCausalLM
from transformers.models.whisper.modeling_whisper import WhisperForConditionalGeneration
import sys
print({name}.__name__, sys.modules["torchaudio"])
"""
    assert python(code, PYTHONPATH=str(tmp_path)).split() == [name, "None"]


def test_the_command_hides_a_broken_torchaudio_before_transformers_asks(tmp_path: Path) -> None:
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio" / "__init__.py").write_text("raise OSError('no')")
    code = (
        "from avsr.cli import main\n"
        "print(main(['transcribe', 'x.wav', '-m', './nonesuch']))\n"
        "from transformers.models.llama.modeling_llama import LlamaForCausalLM\n"
    )
    assert python(code, PYTHONPATH=str(tmp_path)) == "3\n"
