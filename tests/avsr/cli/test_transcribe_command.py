"""`avsr transcribe`: what is printed, what is written, and how it ends."""

import json
import os
import sys

import pytest

from avsr.cli import main
from avsr.errors import AvsrError, ModelError, SetupError
from avsr.transcript import Segment, Word


def test_one_input_prints_its_text_alone(api, command, capsys, tmp_path):
    assert command("transcribe", "a.mp4") == 0
    assert capsys.readouterr() == ("bin blue\n", "")
    assert os.listdir(tmp_path) == []


def test_several_inputs_print_one_line_each_under_their_names(api, command, capsys):
    assert command("transcribe", "a.mp4", "b.wav") == 0
    assert capsys.readouterr().out == "a.mp4: bin blue\nb.wav: set white\n"


def test_a_format_alone_writes_beside_the_input_and_prints_nothing(api, command, capsys, tmp_path):
    assert command("transcribe", "in/a.mp4", "-f", "srt,json") == 0
    assert sorted(os.listdir(tmp_path / "in")) == ["a.json", "a.srt"]
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


def test_an_empty_folder_says_what_to_do_and_harms_nobody(api, command, capsys, tmp_path):
    (tmp_path / "clips").mkdir()
    assert command("transcribe", "clips", "a.mp4", "--batch-size", 2) == 1
    out, err = capsys.readouterr()
    assert out == "a.mp4: bin blue\n"
    told = "no media file in this folder. Name a folder with video or sound files."
    assert err == f"clips: error: {told}\n"
    assert api.recogniser.calls[0]["paths"] == ["a.mp4"]


def test_an_error_of_many_lines_stays_one_line(api, command, capsys):
    api.recogniser.says["c\n.mp4"] = AvsrError("broken\r\nin\x1b[2J two")
    assert command("transcribe", "c\n.mp4") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_another_compressor_is_handed_to_the_recogniser(api, command, monkeypatch):
    used = []
    monkeypatch.setattr(api.recogniser, "use_compressor", used.append, raising=False)
    assert command("transcribe", "a.mp4", "--compress", "keyframe,fine=1") == 0
    assert used == [{"name": "keyframe", "fine": 1}]


def test_expected_words_are_told_to_the_model_or_refused(api, command, monkeypatch, capsys):
    told = []
    monkeypatch.setattr("avsr.hotwords.expect", lambda model, words: told.append(words))
    api.recogniser.model = object()
    assert command("transcribe", "a.mp4", "--hotwords", "lay, green") == 0
    assert told == [("lay", "green")]

    def refused(model, words):
        raise ModelError("not trained to look for them")

    monkeypatch.setattr("avsr.hotwords.expect", refused)
    assert command("transcribe", "a.mp4", "--hotwords", "lay") == 2
    assert "not trained to look for them" in capsys.readouterr().err


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
        (
            ["a.mp4", "x/a.wav", "-f", "txt", "-o", "o"],
            "a.mp4 and x/a.wav would both be written to o/a.txt",
        ),
        (["a.mp4", "a.mp4", "-f", "txt"], "a.mp4 would be written twice to a.txt; name each input"),
        (["a.mp4", "--name-template", "{stem}"], "--name-template needs --output-format or"),
        (["a.mp4", "-f", "txt", "--print-colors"], "--print-colors needs --stdout"),
        (["a.mp4", "--modality", "a", "--face", "track:2"], "--face has no meaning with --modal"),
        (["a.mp4", "--modality", "a", "--roi", "given"], "--roi given has no meaning with --mod"),
        (["a.mp4", "--roi", "given", "--detector", "centre"], "--detector has no meaning with"),
        (["a.mp4", "--modality", "v", "--audio-track", "2"], "--audio-track has no meaning"),
        (["a.mp4", "--detector-weights", "x"], "--detector-weights has no meaning with --dete"),
        (["a.mp4", "--detector", "yunet"], "--detector yunet needs --detector-weights"),
        (["a.mp4", "-f", "txt,srt", "--name-template", "{stem}"], "a.mp4 would be written twice"),
        (["a.mp4", "-f", "txt", "--name-template", "x.{ext}"], "without {stem} all inputs"),
        (["a.mp4", "-f", "txt", "--name-template", "{stem.x}"], "{stem.x} is none of {stem}"),
        (["a.mp4", "-f", "txt", "--name-template", "../{stem}"], "folders are --output-dir's"),
        (["a.mp4", "-f", "txt", "--name-template", "{stem"], "is no template"),
        (["a.mp4", "--resume"], "--resume needs --output-format or --output-dir"),
        (["a.mp4", "--overwrite"], "--overwrite needs --output-format or --output-dir"),
        (["a.mp4", "-f", "txt", "--overwrite", "--resume"], "not allowed with"),
        (["a.mp4", "-q", "-v"], "not allowed with"),
        (["-", "-"], "standard input can be read once"),
        (["a.mp4", "--language", "de"], "invalid choice"),
        (["a.mp4", "--threads", "0"], "'0' is not at least 1"),
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
    assert command("transcribe", "a.mp4", "b.wav", "--audio-rate", 7) == 2
    err = capsys.readouterr().err
    trained = "Choose one of the trained audio rates: 4, 16."
    assert err == f"avsr: error: audio rate 7 was not trained. {trained}\n"
    assert api.loaded == []


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
    search = "--beam-size 3 --max-new-tokens 7 --ctc-weight 0.2 --roi given --batch-size 2"
    assert command("transcribe", "a.mp4", "b.wav", *chosen.split(), *search.split()) == 0
    settings = {"device": "cpu", "dtype": "float32", "local_files_only": True}
    assert api.loaded == [("m", settings)]
    (call,) = api.recogniser.calls
    assert call["paths"] == ["a.mp4", "b.wav"]
    assert (call["modality"], call["roi"]) == ("v", "given")
    assert (call["beam_size"], call["max_new_tokens"], call["ctc_weight"]) == (3, 7, 0.2)
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


def test_a_template_names_the_files_and_tells_twins_apart(api, command, tmp_path, say):
    api.recogniser.says["a.wav"] = say("x")
    name = "{stem}.{suffix}.{lang}.{ext}"
    assert command("transcribe", "a.mp4", "a.wav", "-f", "srt", "--name-template", name) == 0
    assert sorted(os.listdir(tmp_path)) == ["a.mp4.en.srt", "a.wav.en.srt"]


def test_nothing_is_replaced_unless_told(api, command, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("mine")
    assert command("transcribe", "a.mp4", "-f", "txt") == 2
    assert "a.txt is there already: --overwrite replaces" in capsys.readouterr().err
    assert (tmp_path / "a.txt").read_text() == "mine"
    assert api.loaded == []
    assert command("transcribe", "a.mp4", "-f", "txt", "--overwrite") == 0
    assert (tmp_path / "a.txt").read_text() == "bin blue\n"


def test_resume_does_what_is_left_and_what_is_out_of_date(api, command, tmp_path, capsys):
    for name in ("a.mp4", "b.wav"):
        (tmp_path / name).touch()
    assert command("transcribe", "a.mp4", "-f", "txt,srt") == 0
    assert command("transcribe", "a.mp4", "b.wav", "-f", "txt,srt", "--resume") == 0
    assert [call["paths"] for call in api.recogniser.calls] == [["a.mp4"], ["b.wav"]]
    assert "1 of 2 inputs are done already" in capsys.readouterr().err
    os.utime(tmp_path / "a.mp4", (2**31, 2**31))  # recorded anew
    (tmp_path / "b.srt").unlink()
    assert command("transcribe", "a.mp4", "b.wav", "-f", "txt,srt", "--resume", "-q") == 0
    assert [call["paths"] for call in api.recogniser.calls[2:]] == [["a.mp4"], ["b.wav"]]
    assert capsys.readouterr().err == ""


def test_resume_with_nothing_left_loads_no_model(api, command, tmp_path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a.txt").touch()
    assert command("transcribe", "a.mp4", "-f", "txt", "--resume") == 0
    assert api.loaded == []


def test_verbose_tells_where_the_time_went(api, command, capsys, say):
    timing = {"media": 0.25, "lips": 1.0, "total": 1.25, "rtf": 0.4}
    api.recogniser.says["a.mp4"] = say("bin", timing=timing)
    assert command("transcribe", "a.mp4", "--verbose") == 0
    assert capsys.readouterr().err == "a.mp4: info: 1.25 s (media 0.25, lips 1.00), RTF 0.40\n"


def test_errors_and_warnings_can_be_had_as_json(api, command, capsys, say):
    api.recogniser.says["a.mp4"] = say("bin", warnings=("no face",))
    assert command("transcribe", "gone.mp4", "a.mp4", "--json-errors") == 1
    error, warning = map(json.loads, capsys.readouterr().err.splitlines())
    assert error == {
        "schema": "avsr.message/1",
        "level": "error",
        "input": "gone.mp4",
        "kind": "MediaError",
        "what": "no such file",
        "where": "gone.mp4",
        "todo": "Check the path",
        "exit_status": 1,
    }
    assert (warning["level"], warning["input"], warning["what"]) == ("warning", "a.mp4", "no face")


@pytest.mark.parametrize(
    ("args", "code"),
    [(["a.mp4", "--rate", "x"], 2), (["a.mp4", "--resume"], 2), (["a.mp4", "-m", "none"], 3)],
)
def test_every_failure_of_the_whole_call_is_json_when_asked(api, capsys, args, code):
    api.refuses = ModelError("unknown model") if "-m" in args else None
    assert main(["transcribe", *args, "--json-errors"]) == code
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert (told["level"], told["exit_status"], told["input"]) == ("error", code, None)


def test_the_environment_names_model_device_and_silence_of_the_network(api, command, monkeypatch):
    monkeypatch.setenv("AVSR_MODEL", "theirs")
    monkeypatch.setenv("AVSR_DEVICE", "cuda:1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert command("transcribe", "a.mp4") == 0
    assert command("transcribe", "a.mp4", "-m", "mine", "--device", "cpu") == 0
    (first, how), (second, other) = api.loaded
    assert (first, how["device"], how["local_files_only"]) == ("theirs", "cuda:1", True)
    assert (second, other["device"]) == ("mine", "cpu")


def test_threads_and_the_number_format_reach_the_libraries(api, command, monkeypatch):
    import torch

    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    assert command("transcribe", "a.mp4", "--threads", 3, "--compute-type", "bfloat16") == 0
    assert asked == [3]
    assert api.loaded[0][1]["dtype"] == "bfloat16"


def test_no_progress_line_is_drawn_when_told(api, command, monkeypatch):
    shown = []
    module = sys.modules["avsr.cli.transcribe"]
    real = module.Progress

    def record(total, *, show):
        shown.append(show)
        return real(total, show="never")

    monkeypatch.setattr(module, "Progress", record)
    for args in ([], ["--no-progress"], ["-q"]):
        assert command("transcribe", "a.mp4", *args) == 0
    assert shown == ["auto", "never", "never"]


def test_leftovers_of_a_killed_run_are_swept_away(api, command, tmp_path):
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / ".avsr-0123456789ab.tmp").write_text("half")
    assert command("transcribe", "a.mp4", "-f", "txt", "-o", "o") == 0
    assert os.listdir(tmp_path / "o") == ["a.txt"]


def test_words_are_coloured_by_their_confidence(api, command, capsys, say, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    words = (Word("bin", confidence=0.95), Word("blue", confidence=0.7), Word("x", confidence=0.1))
    part = Segment(0.0, 1.0, "bin blue x", words=words)
    api.recogniser.says["a.mp4"] = say("bin blue x plain", segments=(part, Segment(1, 2, "plain")))
    assert command("transcribe", "a.mp4", "--print-colors") == 0
    told = "\x1b[32mbin\x1b[0m \x1b[33mblue\x1b[0m \x1b[31mx\x1b[0m plain\n"
    assert capsys.readouterr().out == told
    monkeypatch.setenv("NO_COLOR", "1")
    assert command("transcribe", "a.mp4", "--print-colors") == 0
    assert capsys.readouterr().out == "bin blue x plain\n"
