"""The drawn head and its mouth; the voice itself is not needed here."""
# The phonetic alphabet is meant as it stands.
# ruff: noqa: RUF001

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
DEMO = TOOLS.parent / "avsr" / "models" / "demo.mp4"


@dataclass(frozen=True)
class Phone:
    """As tools/voice.py gives it."""

    symbol: str
    start: float
    end: float


def test_bilabial_shuts_the_mouth_and_open_vowel_opens_it(tool: Any) -> None:
    phones = [Phone(s, 0.1 * i, 0.1 * (i + 1)) for i, s in enumerate(" bˈɑːb ")]
    track = tool("visemes").MouthTrack(phones, lead=0.0)
    assert track.at(0.15).open < 0.1
    assert track.at(0.35).open > 0.7
    assert track.at(0.55).open < 0.1


def test_marks_lend_their_time(tool: Any) -> None:
    phones = [Phone("ˈ", 0.0, 0.1), Phone("i", 0.1, 0.2), Phone("ː", 0.2, 0.3)]
    assert tool("visemes").joined(phones) == [("i", 0.0, 0.3)]


def test_mouth_stays_within_what_a_mouth_can_do(tool: Any) -> None:
    visemes = tool("visemes")
    phones = [Phone(s, 0.06 * i, 0.06 * (i + 1)) for i, s in enumerate(visemes.SHAPES)]
    track = visemes.MouthTrack(phones)
    shapes = np.array([astuple(track.at(t)) for t in np.arange(-0.5, track.end, 0.01)])
    assert shapes.min() >= 0
    assert shapes.max() <= 1


def test_pictures_are_as_declared_repeatable_and_follow_the_mouth(
    tool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    visemes, drawing = tool("visemes"), tool("talking_head")
    monkeypatch.setattr(drawing, "FINE", 1)  # coarse and four times as fast
    head = drawing.Head(seed=3)
    shut = head.draw(visemes.REST)
    assert shut.shape == (288, 360, 3)
    assert shut.dtype == np.uint8
    assert np.array_equal(shut, head.draw(visemes.REST))
    wide = head.draw(visemes.SHAPES["ɑ"][0])
    changed = np.abs(wide.astype(int) - shut).sum(axis=2) > 60
    rows, columns = np.nonzero(changed)
    assert len(rows) > 200
    assert rows.min() > 160  # below the nose
    assert 110 < columns.min() < columns.max() < 250


@pytest.mark.parametrize(
    "sentence",
    ["place green by k seven", "seven green by k place again", "place green by k nine ok"],
)
def test_sentence_outside_the_grammar_is_refused(tool: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match="command, colour"):
        tool("make_demo_clip").spoken(sentence)


def test_letter_is_given_to_the_voice_as_a_letter(tool: Any) -> None:
    spoken = tool("make_demo_clip").spoken
    assert spoken("place green by k seven again") == "Place green by K seven again."
    assert spoken("bin red in i six soon") == "Bin red in I six soon."


def test_file_holds_both_tracks_from_zero(tool: Any, tmp_path: Path) -> None:
    made = tool("make_demo_clip")
    grey = np.full((288, 360, 3), 128, np.uint8)
    made.write_mp4(tmp_path / "x.mp4", [grey] * 5, np.zeros(3200, np.float32))
    with av.open(str(tmp_path / "x.mp4")) as clip:
        assert clip.streams.video[0].codec_context.name == "h264"
        assert clip.streams.audio[0].rate == 16_000
        frames = list(clip.decode(video=0))
    assert [round(f.time * 25) for f in frames] == [0, 1, 2, 3, 4]


def test_shipped_clip_is_small_and_follows_the_grammar(tool: Any) -> None:
    assert DEMO.stat().st_size <= 400_000
    assert tool("make_demo_clip").spoken(DEMO.with_suffix(".txt").read_text().strip())
    with av.open(str(DEMO)) as clip:
        assert sum(1 for _ in clip.decode(video=0)) == 75
