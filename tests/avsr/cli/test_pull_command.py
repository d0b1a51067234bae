"""What `avsr pull` prints, and how it ends."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from avsr import weights
from avsr.cli import main
from avsr.cli.pull import DEFAULT
from avsr.errors import SetupError
from avsr.pins import PINS

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    monkeypatch.setenv("AVSR_HOME", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def pulls(monkeypatch):
    """Stand in for `avsr.weights.pull`; a name in `broken` fails."""
    calls, broken = [], set()

    def pull(name, **settings):
        calls.append((name, settings))
        if name in broken:
            raise SetupError("no\nnetwork", todo="Plug it in")
        return Path("/cache") / name

    monkeypatch.setattr(weights, "pull", pull)
    pull.calls, pull.broken = calls, broken
    return pull


def test_the_default_is_what_the_default_model_needs(pulls, capsys):
    assert main(["pull"]) == 0
    assert [name for name, _ in pulls.calls] == list(DEFAULT)
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"{name}: {Path('/cache') / name}" for name in DEFAULT]
    assert err == ""


def test_a_name_given_twice_is_pulled_once(pulls):
    assert main(["pull", "face-models", "face-models"]) == 0
    assert pulls.calls == [("face-models", {"verify": False, "local_files_only": False})]


def test_options_arrive(pulls):
    for words in (["--verify", "--local-files-only"], ["--verify", "--local_files_only"]):
        assert main(["pull", "face-models", *words]) == 0
        assert pulls.calls.pop() == ("face-models", {"verify": True, "local_files_only": True})


def test_the_environment_forbids_the_network(pulls, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["pull", "face-models"]) == 0
    assert pulls.calls == [("face-models", {"verify": False, "local_files_only": True})]


def test_quiet_leaves_the_folders_alone(pulls, monkeypatch, capsys):
    real = weights.pull

    def pull(name, **settings):
        logging.getLogger("avsr.weights").info("pulling %s", name)
        return real(name, **settings)

    monkeypatch.setattr(weights, "pull", pull)
    for words, told in (([], "avsr: pulling face-models\n"), (["--quiet"], "")):
        assert main(["pull", "face-models", *words]) == 0
        assert capsys.readouterr() == ("face-models: /cache/face-models\n", told)


def test_one_failure_is_one_line_and_harms_no_other(pulls, capsys):
    pulls.broken.add("whisper-tiny.en")
    assert main(["pull", "whisper-tiny.en", "face-models"]) == 3
    out, err = capsys.readouterr()
    assert out == "face-models: /cache/face-models\n"
    assert err == "whisper-tiny.en: error: no network. Plug it in\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nonsense", "Known names: whisper-tiny.en"),
        ("", "'': error: unknown model"),
        ("./nowhere", "no such model folder"),
        ("org/na--me", "not a hub id"),
        ("x\x1b[2Jy", "unknown model"),
    ],
)
def test_an_unknown_name_is_one_line_and_exit_code_3(capsys, home, name, message):
    assert main(["pull", name]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert message in err
    assert "\x1b" not in err
    assert not home.exists()


def test_a_folder_may_be_named(tmp_path, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    assert main(["pull", "./mine"]) == 0
    assert capsys.readouterr().out == "./mine: mine\n"


def test_list_pulls_nothing_and_makes_nothing(pulls, capsys, home):
    assert main(["pull", "--list"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == f"cache: {home}"
    for name, pinned in PINS.items():
        (line,) = [line for line in out.splitlines() if line.startswith(f"{name} ")]
        assert "[not there]" in line
        assert pinned.licence in line
    assert pulls.calls == []
    assert not home.exists()


def test_list_takes_names_too(capsys):
    assert main(["pull", "--list", "face-models"]) == 0
    assert "whisper" not in capsys.readouterr().out
    assert main(["pull", "--list", "nonsense"]) == 3
    assert "unknown weights" in capsys.readouterr().err


def test_no_network_is_one_line_each_and_no_traceback(home, tmp_path):
    # The real pip, asked for a port where nothing listens.
    code = "import sys; from avsr.cli import main; sys.exit(main(sys.argv[1:]))"
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "AVSR_HOME": str(home),
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_CONFIG_FILE": "/dev/null",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, "pull", "-q", "face-models"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "no connection to the package index" in done.stderr
    assert {path.name for path in home.iterdir()} == {".face-models.lock"}


def test_help_imports_no_torch_and_no_hub():
    code = (
        "import sys; from avsr.cli import main; code = main(['pull', '--help']); "
        "assert not {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for name in PINS:
        assert name in " ".join(done.stdout.split())
