"""`avsr eval --damage FILE --noise FILE` loaded the model before it looked at either file.

A misspelt name cost the minute that loading takes, and only then was told.
"""

import pytest

from avsr import loading
from avsr.cli import main


@pytest.mark.parametrize("files", [["--damage", "gone.yaml"], ["--snr=0", "--noise", "gone.wav"]])
def test_the_files_are_read_first(files, tmp_path, monkeypatch, capsys):
    def never(*_, **__):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(loading, "load_model", never)
    monkeypatch.chdir(tmp_path)
    clip = '{"audio_filepath": "1.wav", "duration": 1, "text": "a"}\n'
    (tmp_path / "manifest.jsonl").write_text(clip)
    assert main(["eval", "manifest.jsonl", *files]) == 1
    assert files[-1] in capsys.readouterr().err
