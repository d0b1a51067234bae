"""A transcript becomes plain, finite, JSON-ready data and loses nothing on the way."""

import json
import math
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import avsr
from avsr.transcript import SCHEMA, Segment, Transcript, Word


def transcript(**changes):
    settings = {
        "text": "bin blue",
        "segments": (Segment(0.0, 1.5, "bin blue", -0.25, False, (Word("bin", 0.1, 0.4, 0.9),)),),
        "rates": {"audio": 4, "video": None},
        "modality": "a",
        "tokens": {"audio": 19, "video": 0, "prompt": 8, "text": 3},
        "timing": {"total": 0.5, "rtf": 0.33},
        "warnings": ("no video track",),
        "model": {"name": "default"},
        "input": {"path": Path("clip.mp4"), "duration": 1.5},
    }
    return Transcript(**settings | changes)


def test_to_dict_has_every_promised_key_and_survives_json():
    made = transcript().to_dict()
    assert made["schema"] == SCHEMA
    promised = {"text", "segments", "rates", "modality", "tokens", "timing", "warnings", "model"}
    assert promised | {"schema", "input"} == set(made)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert made["segments"][0]["words"] == [
        {"text": "bin", "start": 0.1, "end": 0.4, "confidence": 0.9}
    ]
    assert made["rates"] == {"audio": 4, "video": None}
    assert made["input"]["path"] == "clip.mp4"


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_a_number_json_cannot_hold_becomes_null(number):
    made = transcript(segments=(Segment(0, 1, "a", number),), timing={"rtf": number}).to_dict()
    assert made["segments"][0]["avg_logprob"] is None
    assert made["timing"]["rtf"] is None


def test_a_cut_segment_makes_a_cut_transcript():
    assert not transcript().truncated
    assert transcript(segments=(Segment(0, 1, "a"), Segment(1, 2, "b", truncated=True))).truncated


NUMBER, NAME = SCHEMA.split("/")[1], SCHEMA.split(".")[1].split("/")[0]
PATH = Path(avsr.__file__).parent / "schemas" / f"{NAME}-{NUMBER}.json"
TOLD = json.loads(PATH.read_text(encoding="utf-8"))
CHECK = jsonschema.Draft202012Validator(TOLD)

seconds = st.floats(0, 1e5)
shares = st.none() | st.floats(0, 1)
words = st.builds(Word, st.text(max_size=4), st.none() | seconds, st.none() | seconds, shares)
logs = st.none() | st.floats(max_value=0)
segments = st.builds(
    Segment, seconds, seconds, st.text(max_size=9), logs, st.booleans(), st.tuples(words), shares
)


@given(st.lists(segments, max_size=3))
def test_what_is_written_keeps_to_the_schema(parts):
    CHECK.validate(json.loads(json.dumps(transcript(segments=tuple(parts)).to_dict())))


def test_the_schema_is_one_and_refuses_what_it_does_not_tell():
    CHECK.check_schema(TOLD)
    made = transcript().to_dict()
    CHECK.validate(made)
    for wrong in (
        {**made, "schema": "avsr.transcript/2"},
        {**made, "more": 1},
        {**made, "segments": [{**made["segments"][0], "confidence": 1.5}]},
        {**made, "input": {"sha256": "abc"}},
        {key: value for key, value in made.items() if key != "warnings"},
    ):
        assert not CHECK.is_valid(wrong)


def test_it_prints_as_its_text():
    assert str(transcript()) == "bin blue"
