"""What is read of a clip, how much it may cost, and the film of what was read."""

from pathlib import Path

from avsr.cli.demo import CLIP as DEMO
from avsr.errors import AvsrError
from tests.frontends.clips import tone, write_clip


def test_face_and_sound_track_reach_the_recogniser(api, command):
    assert command("transcribe", "a.mp4", "--face", "track:2", "--audio-track", 3) == 0
    assert command("transcribe", "a.mp4", "--detector", "yunet", "--detector-weights", "y") == 0
    first, second = (call["clip"] for call in api.recogniser.calls)
    assert (first.face, first.audio_track, first.detector) == ("track:2", 3, "blazeface")
    assert (second.detector, second.detector_weights) == ("yunet", Path("y"))


def test_the_number_of_pictures_is_limited(api, command, capsys):
    assert command("transcribe", "a.mp4", "--max-frames", 74) == 0
    assert api.recogniser.calls[0]["clip"].limits.max_frames == 74
    assert command("roi", DEMO, "--max-frames", 74) == 1
    assert "more than 74 pictures" in capsys.readouterr().err


def test_the_mouth_of_one_input_is_filmed(api, command, capsys, tmp_path, say):
    film = tmp_path / "film.mp4"
    api.recogniser.says |= {DEMO.name: say("place green"), "sound.wav": say("bin blue")}
    assert command("transcribe", DEMO, "--roi", "given", "--save-roi", film) == 0
    assert len(api.recogniser.calls) == 1
    assert film.stat().st_size > 1000
    for wrong in (["b.mp4"], ["--modality", "a"]):
        assert command("transcribe", DEMO, *wrong, "--save-roi", film) == 2
    assert command("transcribe", DEMO, "--save-roi", tmp_path / "film.txt") == 2
    told = capsys.readouterr().err
    assert "films the mouth of one input" in told
    assert "ends in .mp4 or .mkv" in told
    sound = write_clip(tmp_path / "sound.wav", wave=tone(1.0, 16_000))
    assert command("transcribe", sound, "--save-roi", film) == 1  # its text is printed all the same
    assert "no picture track" in capsys.readouterr().err


def test_limits_reach_the_recogniser_and_are_told_as_options(api, command, capsys):
    assert command("transcribe", "a.mp4") == 0
    assert command("transcribe", "a.mp4", "--max-seconds", 36000, "--max-pixels", 99) == 0
    usual, asked = (call["clip"].limits for call in api.recogniser.calls)
    assert (usual.max_seconds, usual.max_pixels) == (14_400, 4096**2)
    assert (asked.max_seconds, asked.max_pixels) == (36_000, 99)
    assert asked.max_frames == 36_000 * usual.max_fps  # or the longer film would not fit
    assert asked.max_decoded_bytes > 36_000 * 64_000  # or the longer sound would not fit
    assert asked.max_streams == usual.max_streams
    todo = "Cut it into parts, or raise Limits.max_seconds"
    api.recogniser.says["a.mp4"] = AvsrError("the media lasts 9 s", todo=todo)
    assert command("transcribe", "a.mp4") == 1
    assert capsys.readouterr().err.endswith("or raise --max-seconds\n")
    assert command("transcribe", "--help") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert str(int(usual.max_seconds)) in told
    assert str(usual.max_pixels) in told


def test_which_face_is_told_before_the_model_is_loaded(api, command, capsys):
    assert command("transcribe", "a.mp4", "--face", "track:x") == 2
    assert api.loaded == []
    assert "no face 'track:x'" in capsys.readouterr().err
