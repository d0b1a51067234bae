"""`avsr transcribe`: what an input may be."""

import io
import json
import os
import sys
import types


def test_a_folder_is_searched_and_keeps_its_tree(api, command, tmp_path, say):
    for name in ("in/b.wav", "in/deep/a.mp4", "in/notes.txt", "in/.hidden.mp4", "in/.git/x.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert command("transcribe", "in", "-f", "txt", "-o", "out") == 0
    assert [call["paths"] for call in api.recogniser.calls] == [["in/b.wav"], ["in/deep/a.mp4"]]
    assert (tmp_path / "out/b.txt").read_text() == "set white\n"
    assert (tmp_path / "out/deep/a.txt").read_text() == "bin blue\n"


def test_a_pattern_and_a_list_name_files(api, command, tmp_path, capsys):
    (tmp_path / "x").mkdir()
    for name in ("x/a.mp4", "x/b.wav"):
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_text("\ufeffx/b.wav\r\n\nx/a.mp4\r\n", encoding="utf-8")
    assert command("transcribe", "x/*.mp4", "@list.txt") == 0
    assert capsys.readouterr().out.splitlines() == [
        "x/a.mp4: bin blue",
        "x/b.wav: set white",
        "x/a.mp4: bin blue",
    ]
    assert command("transcribe", "y/*.mp4", "@gone.txt") == 1
    err = capsys.readouterr().err
    assert "y/*.mp4: error: no file matches this pattern" in err
    assert "@gone.txt: error: the list cannot be read: No such file" in err


def test_media_on_standard_input_are_kept_for_the_call_only(
    api, command, monkeypatch, say, capsys, tmp_path
):
    read = []

    def transcribe(paths, **settings):
        (path,) = paths
        read.append(path)
        with open(path, "rb") as file:
            text = file.read().decode()
        return [say(text, input={"path": path, "duration": 1.0})]

    api.recogniser.transcribe = transcribe
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a film")))
    assert command("transcribe", "-", "-f", "json,txt", "--stdout") == 0
    assert capsys.readouterr().out == "a film\n"
    assert json.loads((tmp_path / "stdin.json").read_text())["input"]["path"] == "-"
    assert (tmp_path / "stdin.txt").read_text() == "a film\n"
    assert not os.path.exists(read[0])


def test_empty_standard_input_is_an_error_under_its_name(api, command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert command("transcribe", "-") == 1
    assert capsys.readouterr().err.startswith("-: error: standard input is empty")
    assert api.loaded == []


def test_a_terminal_as_standard_input_is_wrong_usage(api, command, monkeypatch, capsys):
    terminal = types.SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    assert command("transcribe", "-") == 2
    assert "standard input is a terminal" in capsys.readouterr().err
