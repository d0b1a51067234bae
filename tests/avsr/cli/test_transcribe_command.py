"""`avsr transcribe`: what is printed, what is written, and how it ends."""

import io
import json
import os
from pathlib import Path

import pytest

from avsr.errors import AvsrError, ModelError, SetupError
from avsr.transcript import Segment


def test_one_input_prints_its_text_alone(api, command, capsys, tmp_path):
    assert command("transcribe", "a.mp4") == 0
    assert capsys.readouterr() == ("bin blue\n", "")
    assert os.listdir(tmp_path) == []


def test_several_inputs_print_one_line_each_under_their_names(api, command, capsys):
    assert command("transcribe", "a.mp4", "b.wav") == 0
    assert capsys.readouterr().out == "a.mp4: bin blue\nb.wav: set white\n"


def test_a_format_alone_writes_here_and_prints_nothing(api, command, capsys, tmp_path):
    assert command("transcribe", "in/a.mp4", "-f", "srt,json") == 0
    assert sorted(os.listdir(tmp_path)) == ["a.json", "a.srt"]
    assert capsys.readouterr().out == ""


def test_a_folder_alone_is_made_and_gets_the_four_formats(api, command, tmp_path):
    assert command("transcribe", "a.mp4", "-o", "new/out") == 0
    files = sorted(os.listdir(tmp_path / "new/out"))
    assert files == ["a.json", "a.srt", "a.txt", "a.vtt"]
    made = json.loads((tmp_path / "new/out/a.json").read_text())
    promised = "text segments rates modality tokens timing warnings model input schema"
    assert set(promised.split()) <= set(made)


def test_whispers_spellings_are_understood_and_not_advertised(api, command, tmp_path, capsys):
    assert command("transcribe", "a.mp4", "--output_dir", "o", "--output_format", "txt") == 0
    assert os.listdir(tmp_path / "o") == ["a.txt"]
    assert command("transcribe", "--help") == 0
    assert "output_dir" not in capsys.readouterr().out


def test_stdout_prints_also_when_files_are_written(api, command, capsys, tmp_path):
    assert command("transcribe", "a.mp4", "-f", "all", "--stdout") == 0
    assert capsys.readouterr().out == "bin blue\n"
    assert len(os.listdir(tmp_path)) == 6


def test_a_failed_input_is_one_line_and_the_others_are_done(api, command, capsys, tmp_path):
    assert command("transcribe", "gone.mp4", "a.mp4", "-f", "txt", "--stdout") == 1
    out, err = capsys.readouterr()
    assert out == "a.mp4: bin blue\n"
    assert err == "gone.mp4: error: no such file. Check the path\n"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_as_input_says_what_to_do_and_harms_nobody(api, command, capsys, tmp_path):
    (tmp_path / "clips").mkdir()
    assert command("transcribe", "clips", "a.mp4", "--batch-size", 2) == 1
    out, err = capsys.readouterr()
    assert out == "a.mp4: bin blue\n"
    assert err == "clips: error: is a folder. Name its files: clips/*\n"
    assert api.recogniser.calls[0]["paths"] == ["a.mp4"]


def test_an_error_of_many_lines_stays_one_line(api, command, capsys):
    api.recogniser.says["c\n.mp4"] = AvsrError("broken\r\nin\x1b[2J two")
    assert command("transcribe", "c\n.mp4") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_warnings_go_to_stderr_unless_quiet(api, command, capsys, say):
    api.recogniser.says["a.mp4"] = say("bin", warnings=("no face after 2.0 s",))
    assert command("transcribe", "a.mp4") == 0
    assert capsys.readouterr() == ("bin\n", "a.mp4: warning: no face after 2.0 s\n")
    assert command("transcribe", "a.mp4", "--quiet") == 0
    assert capsys.readouterr() == ("bin\n", "")


def test_quiet_does_not_hide_errors(api, command, capsys):
    assert command("transcribe", "gone.mp4", "-q") == 1
    assert "gone.mp4: error" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["a.mp4", "x/a.wav", "-f", "txt"], "a.mp4 and x/a.wav would both be written to a.txt"),
        (["a.txt", "-f", "txt"], "the output would replace the input a.txt"),
        (["a.mp4", "--rate", "fine", "--audio-rate", "4"], "not both"),
        (["a.mp4", "--modality", "a", "--video-rate", "2"], "--video-rate has no meaning"),
        (["a.mp4", "--modality", "v", "--audio-rate", "4"], "--audio-rate has no meaning"),
        (["a.mp4", "-f", "doc"], "'doc' is not a comma list of txt, srt"),
        (["a.mp4", "--beam-size", "0"], "'0' is not at least 1"),
        (["a.mp4", "--batch-size", "two"], "'two' is not a whole number"),
        (["a.mp4", "--modality", "x"], "invalid choice"),
        ([], "INPUT"),
    ],
)
def test_wrong_usage_ends_with_2_before_any_work(api, command, capsys, args, told):
    assert command("transcribe", *args) == 2
    assert told in capsys.readouterr().err
    assert api.loaded == []


def test_the_same_stem_is_fine_where_nothing_is_written(api, command, say):
    api.recogniser.says["a.wav"] = say("x")
    assert command("transcribe", "a.mp4", "a.wav") == 0


@pytest.mark.parametrize("refusal", [SetupError("no cache"), ModelError("unknown model 'x'")])
def test_a_model_that_cannot_be_had_ends_with_3(api, command, capsys, refusal):
    api.refuses = refusal
    assert command("transcribe", "a.mp4", "-m", "x") == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("avsr: error: ")
    assert err.count("\n") == 1


def test_a_part_missing_at_the_first_clip_ends_with_3(api, command, capsys):
    api.recogniser.says["a.mp4"] = SetupError("face models are not in the cache")
    assert command("transcribe", "a.mp4", "gone.mp4", "b.wav") == 3
    assert capsys.readouterr().out == "b.wav: set white\n"


def test_an_untrained_rate_is_wrong_usage_and_told_once(api, command, capsys):
    api.recogniser.raises = ModelError("audio rate 7 was not trained", todo="Choose 4 or 16.")
    assert command("transcribe", "a.mp4", "b.wav", "--audio-rate", 7) == 2
    err = capsys.readouterr().err
    assert err == "avsr: error: audio rate 7 was not trained. Choose 4 or 16.\n"


def test_ctrl_c_ends_with_130_and_keeps_what_is_done(api, command, capsys, tmp_path):
    done = api.recogniser.transcribe

    def second_time(paths, **settings):
        if api.recogniser.calls:
            raise KeyboardInterrupt
        return done(paths, **settings)

    api.recogniser.transcribe = second_time
    assert command("transcribe", "a.mp4", "b.wav", "-f", "txt") == 130
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_file_that_cannot_be_written_fails_its_input_only(api, command, capsys, tmp_path):
    (tmp_path / "a.txt").mkdir()
    assert command("transcribe", "a.mp4", "b.wav", "-f", "txt") == 1
    assert "a.mp4: error: cannot write a.txt" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.txt"]


def test_an_output_folder_that_is_a_file_is_an_error_before_loading(api, command, tmp_path):
    (tmp_path / "o").write_text("")
    assert command("transcribe", "a.mp4", "-o", "o") == 1
    assert api.loaded == []


def test_options_reach_the_model(api, command):
    chosen = "-m m --device cpu --dtype float32 --local-files-only --modality v --video-rate 5"
    search = "--beam-size 3 --max-new-tokens 7 --roi given --batch-size 2"
    assert command("transcribe", "a.mp4", "b.wav", *chosen.split(), *search.split()) == 0
    settings = {"device": "cpu", "dtype": "float32", "local_files_only": True}
    assert api.loaded == [("m", settings)]
    (call,) = api.recogniser.calls
    assert call["paths"] == ["a.mp4", "b.wav"]
    assert (call["modality"], call["roi"]) == ("v", "given")
    assert (call["beam_size"], call["max_new_tokens"]) == (3, 7)
    assert call["rates"].video == 5


def test_inputs_go_in_batches(api, command, say):
    api.recogniser.says["c.mp4"] = say("x")
    assert command("transcribe", "a.mp4", "b.wav", "c.mp4", "--batch-size", 2) == 0
    assert [call["paths"] for call in api.recogniser.calls] == [["a.mp4", "b.wav"], ["c.mp4"]]


def test_a_cut_text_is_told_in_the_file(api, command, tmp_path, say):
    cut = (Segment(0.0, 1.0, "bin", -0.1, truncated=True),)
    api.recogniser.says["a.mp4"] = say("bin", segments=cut)
    assert command("transcribe", "a.mp4", "-f", "json") == 0
    assert json.loads((tmp_path / "a.json").read_text())["segments"][0]["truncated"] is True


def test_a_clip_through_standard_input(api, command, say, monkeypatch, tmp_path, capsys):
    api.recogniser.says["stdin"] = say("piped")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a clip")))
    assert command("transcribe", "-", "-o", tmp_path, "-f", "txt", "--audio-track", 2) == 0
    assert (tmp_path / "stdin.txt").read_text() == "piped\n"
    (call,) = api.recogniser.calls
    assert call["clip"].audio_track == 2
    assert not Path(call["paths"][0]).exists()


def test_which_face_is_told_before_the_model_is_loaded(api, command, capsys):
    assert command("transcribe", "a.mp4", "--face", "track:x") == 2
    assert api.loaded == []
    assert "no face 'track:x'" in capsys.readouterr().err
