"""`avsr completion`: a script that the shell takes, with every command and no hidden spelling."""

import shutil
import subprocess

import pytest

from avsr.cli import COMMANDS
from avsr.cli.completion import SHELLS


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_and_option_is_completed(command, capsys, shell):
    assert command("completion", shell) == 0
    script = capsys.readouterr().out
    assert [name for name in COMMANDS if name not in script] == []
    assert "output-format" in script
    assert "output_format" not in script.replace("avsr_transcribe", "")
    if shutil.which(shell):
        done = subprocess.run([shell, "-n"], input=script, text=True, capture_output=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_bash_completes_a_command_and_an_option(command, capsys, tmp_path):
    bash = shutil.which("bash") or pytest.skip("no bash")
    assert command("completion", "bash") == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    ask = """
    source ./script
    complete -p avsr >/dev/null || exit 1
    COMP_WORDS=(avsr trans); COMP_CWORD=1; _shtab_avsr 2>/dev/null; echo "${COMPREPLY[@]}"
    COMP_WORDS=(avsr transcribe --name-t); COMP_CWORD=2; _shtab_avsr 2>/dev/null
    echo "${COMPREPLY[@]}"
    """
    done = subprocess.run([bash, "-c", ask], cwd=tmp_path, text=True, capture_output=True)
    assert done.stdout.split() == ["transcribe", "--name-template"], done.stderr


def test_an_unknown_shell_is_wrong_usage(command):
    assert command("completion", "command.com") == 2
