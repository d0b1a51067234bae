"""A rate that was not trained was refused only after weights and towers had been loaded.

The model's configuration, a small file, says it.
"""

import pytest

from avsr import loading
from avsr.cli import main


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["transcribe", "clip.wav", "--audio-rate", "3"], "audio rate 3 was not trained"),
        (["transcribe", "clip.wav", "--video-rate", "7"], "video rate 7 was not trained"),
        (["eval", "manifest.jsonl", "--rates", "4,2/4,3"], "video rate 3 was not trained"),
    ],
)
def test_the_configuration_is_asked_first(words, told, tmp_path, monkeypatch, capsys):
    def never(*_, **__):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(loading, "load_model", never)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.wav").write_bytes(b"")
    clip = '{"audio_filepath": "clip.wav", "duration": 1, "text": "a"}\n'
    (tmp_path / "manifest.jsonl").write_text(clip)
    assert main(words) == 2
    assert told in capsys.readouterr().err
