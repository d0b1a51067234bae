"""`avsr roi`: a report and films of the crop; clips through standard input."""

import io
import json
import sys

import numpy as np
import pytest

from avsr.cli import main
from frontends.lips import given
from frontends.media import open_clip
from tests.frontends.clips import tone, write_clip


@pytest.fixture
def mouth(tmp_path):
    path = tmp_path / "mouth.mkv"
    picture = lambda k: np.full((96, 96, 3), 9 * k, np.uint8)  # noqa: E731
    write_clip(path, times=[k / 25 for k in range(20)], picture=picture, codec="ffv1",
               pix_fmt="gray", wave=tone(0.8, 16_000))  # fmt: skip
    return path


def test_the_report_and_the_films(mouth, tmp_path, capsys):
    film, crops = tmp_path / "out" / "film.mp4", tmp_path / "crops.mkv"
    words = ["--save-roi", str(film), "--save-crops", str(crops), "--json", "--roi", "given"]
    assert main(["roi", str(mouth), *words]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["pictures"], report["coverage"], report["faces"]) == (20, 1.0, 1)
    shown = open_clip(film)
    assert (shown.video.width, shown.video.height) == (288 + 288, 288)
    assert shown.video.fps == pytest.approx(25)
    assert shown.duration == pytest.approx(0.8, abs=0.1)
    assert shown.audio is not None
    kept, whole = given(open_clip(crops)).crops, given(open_clip(mouth)).crops
    assert np.array_equal(kept, whole)
    assert np.array_equal(open_clip(crops).audio, open_clip(mouth).audio)
    assert not list(tmp_path.rglob(".*mkv"))


def test_a_clip_through_standard_input(mouth, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(mouth.read_bytes())))
    assert main(["roi", "-", "--roi", "given"]) == 0
    assert "20 at 25 a second" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert main(["roi", "-", "--roi", "given"]) == 1
    assert "standard input is empty" in capsys.readouterr().err


def test_standard_input_is_not_read_without_end(mouth, monkeypatch, capsys):
    import avsr.cli.inputs

    monkeypatch.setattr(avsr.cli.inputs, "LARGEST", 100)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(mouth.read_bytes())))
    assert main(["roi", "-", "--roi", "given"]) == 1
    assert "longer than 100 bytes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--save-roi", "film.avi"], 2, "ends in .mp4 or .mkv"),
        (["--save-crops", "film.mp4"], 2, "ends in .mkv"),
        (["--audio-track", "2", "--roi", "given"], 1, "has 1 sound tracks"),
        (["--max-pixels", "9215", "--roi", "given"], 1, "or raise --max-pixels"),
        (["--roi", "given", "--face", "track:2"], 2, "--face has no meaning with --roi given"),
        (["--detector", "yunet"], 2, "--detector yunet needs --detector-weights"),
    ],
)
def test_what_cannot_be_is_one_line(mouth, words, code, said, capsys, monkeypatch):
    monkeypatch.setattr("avsr.prepare.resolve", lambda *_, **__: "models")
    assert main(["roi", str(mouth), *words]) == code
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("face", ["track:0", "track:x", "first", "track:"])
def test_a_face_that_is_none_is_wrong_usage(mouth, face, capsys):
    assert main(["roi", str(mouth), "--face", face]) == 2
    assert f"no face {face!r}" in capsys.readouterr().err


def test_the_clip_is_not_overwritten(mouth, capsys):
    before = mouth.read_bytes()
    assert main(["roi", str(mouth), "--roi", "given", "--save-crops", str(mouth)]) == 2
    assert mouth.read_bytes() == before
    assert "replace the clip" in capsys.readouterr().err


def test_detectors_of_the_command_are_those_there_are():
    from avsr.cli.clip import DETECTORS as named
    from frontends.face_detectors import DETECTORS

    assert named == DETECTORS
