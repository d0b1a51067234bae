"""How long recordings are cut, as told on the command line."""

import pytest


def test_cutting_reaches_the_model(api, command):
    words = "--start 1.5 --end 9 --chunk-seconds 12 --no-vad".split()
    assert command("transcribe", "a.mp4", *words) == 0
    cutting = api.recogniser.calls[0]["cutting"]
    assert (cutting.start, cutting.end, cutting.limit, cutting.find) == (1.5, 9.0, 12.0, "energy")
    assert command("transcribe", "a.mp4", "--vad") == 0
    assert api.recogniser.calls[1]["cutting"].find == "voice"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--chunk-seconds", "40"], "chunks of 40 s. Choose from 4 to 30"),
        (["--chunk-seconds", "nan"], "chunks of nan s"),
        (["--start", "5", "--end", "4"], "from 5 to 4.0 s is no part"),
        (["--start=-1"], "from -1 to None s is no part"),
    ],
)
def test_a_cut_that_makes_no_sense_is_wrong_usage(api, command, capsys, args, told):
    assert command("transcribe", "a.mp4", *args) == 2
    assert told in capsys.readouterr().err
    assert api.loaded == []


def test_word_times_reach_the_model_and_need_a_file_that_holds_them(api, command, capsys, tmp_path):
    wanted = ("--word-timestamps", "align")
    assert command("transcribe", "a.mp4", *wanted, "-f", "json", "-o", str(tmp_path / "out")) == 0
    assert api.recogniser.calls[0]["word_times"] == "align"
    assert command("transcribe", "a.mp4") == 0
    assert api.recogniser.calls[1]["word_times"] == "none"
    assert command("transcribe", "a.mp4", *wanted) == 2
    assert command("transcribe", "a.mp4", *wanted, "-f", "txt,srt") == 2
    assert "needs --output-format json" in capsys.readouterr().err
