"""The errors of word times are those of words heard right, in seconds of lateness."""

import json

import numpy as np
import pytest


def word(text, start=None, end=None):
    return {"text": text, "start": start, "end": end}


def test_errors_of_the_words_heard_right(tool):
    truth = [["bin", 0.5, 0.7], ["blue", 0.7, 1.0], ["at", 1.0, 1.1], ["now", 1.5, 2.0]]
    told = [word("bin", 0.6, 0.7), word("red", 0.7, 0.9), word("at"), word("now", 1.4, 2.2)]
    late = tool("word_times").errors(truth, told)
    assert late == pytest.approx(np.array([[0.1, 0.0], [-0.1, 0.2]]))
    assert tool("word_times").errors(truth, []).shape == (0, 2)


def test_the_table_and_the_lack_of_one(tool, tmp_path, capsys):
    item = {"video_filepath": "clips/a.mp4", "words": [["bin", 0.5, 0.7], ["now", 1.5, 2.0]]}
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(json.dumps(item) + "\n" + json.dumps({"audio_filepath": "b.wav"}) + "\n")
    main = tool("word_times").main
    assert main([str(manifest), str(tmp_path)]) == 1
    assert "no transcript" in capsys.readouterr().err
    words = [word("bin", 0.55, 0.7), word("now", 1.7, 2.0)]
    (tmp_path / "a.json").write_text(json.dumps({"segments": [{"words": words}]}))
    assert main([str(manifest), str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "| starts | 0.12 s | 0.12 s | 0.19 s | 50% (50% to 50%) |" in told
    assert "2 words of 1 clips, seed 0." in told
