"""Files hold what the transcript says, in the formats' own grammar, whole or not at all."""

import html
import io
import json
import os
import re
import subprocess
import sys

import pytest
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st

from avsr import writers
from avsr.transcript import Segment, Transcript
from avsr.writers import FORMATS, cues, render, sweep, write, write_atomic

seconds = st.floats(0, 4 * 3600, allow_nan=False)
segments = st.lists(
    st.builds(Segment, start=seconds, end=seconds, text=st.text(max_size=30)), max_size=8
)


calm = settings(max_examples=50, deadline=None)  # a busy machine is no fault


def transcript(*parts: Segment) -> Transcript:
    return Transcript(text=" ".join(part.text for part in parts), segments=tuple(parts))


def parse_time(text: str, point: str) -> int:
    found = re.fullmatch(rf"(\d\d+):([0-5]\d):([0-5]\d){re.escape(point)}(\d\d\d)", text)
    assert found is not None, text
    hours, minutes, whole, rest = map(int, found.groups())
    return ((hours * 60 + minutes) * 60 + whole) * 1000 + rest


def parse_cues(text: str, point: str, head: int) -> list[tuple[int, int, str]]:
    """Read blocks parted by one blank line: `head` lines, a time line, one line of text."""
    found = []
    for block in text.split("\n\n") if text else []:
        lines = block.rstrip("\n").split("\n")
        assert len(lines) == head + 2, lines
        if head == 1:
            assert lines[0] == str(len(found) + 1)
        start, end = lines[head].split(" --> ")
        found.append((parse_time(start, point), parse_time(end, point), lines[head + 1]))
    return found


@calm
@given(segments)
def test_cues_follow_each_other_whatever_the_segments(parts):
    made = cues(transcript(*parts))
    clock = 0
    for cue in made:
        assert clock <= cue.start < cue.end
        clock = cue.end
    assert len(made) == sum(bool(part.text.split()) for part in parts)


@calm
@given(segments)
def test_srt_parses_back(parts):
    whole = transcript(*parts)
    assert parse_cues(render(whole, "srt"), ",", head=1) == [
        (cue.start, cue.end, cue.text.replace("-->", "->")) for cue in cues(whole)
    ]


@calm
@given(segments)
def test_vtt_parses_back(parts):
    whole = transcript(*parts)
    head, _, body = render(whole, "vtt").partition("\n\n" if cues(whole) else "\n")
    assert head == "WEBVTT"
    found = parse_cues(body, ".", head=0)
    unescaped = [
        (start, end, text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
        for start, end, text in found
    ]
    assert unescaped == [(cue.start, cue.end, cue.text) for cue in cues(whole)]
    assert all("-->" not in text for _, _, text in found)


def test_golden_files():
    whole = transcript(
        Segment(0.0, 1.234, "a --> b & <c>"), Segment(3661.5, 3662, "später\n\nnoch")
    )
    assert render(whole, "txt") == "a --> b & <c>\nspäter noch\n"
    assert render(whole, "srt") == (
        "1\n00:00:00,000 --> 00:00:01,234\na -> b & <c>\n\n"
        "2\n01:01:01,500 --> 01:01:02,000\nspäter noch\n"
    )
    assert render(whole, "vtt") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.234\na --&gt; b &amp; &lt;c&gt;\n\n"
        "01:01:01.500 --> 01:01:02.000\nspäter noch\n"
    )
    assert render(whole, "tsv") == (
        "start\tend\ttext\n0\t1234\ta --> b & <c>\n3661500\t3662000\tspäter noch\n"
    )


@calm
@given(segments)
def test_json_holds_the_transcript_and_jsonl_is_one_line(parts):
    whole = transcript(*parts)
    assert json.loads(render(whole, "json")) == whole.to_dict()
    line = render(whole, "jsonl")
    assert line.count("\n") == 1
    assert json.loads(line) == whole.to_dict()


def test_nothing_said_is_an_empty_but_valid_file():
    silent = transcript(Segment(0, 1, " "))
    assert {form: render(silent, form) for form in ("txt", "srt", "vtt", "tsv")} == {
        "txt": "",
        "srt": "",
        "vtt": "WEBVTT\n",
        "tsv": "start\tend\ttext\n",
    }


@pytest.mark.parametrize("form", FORMATS)
def test_files_are_utf8_without_bom_and_with_lf(tmp_path, form):
    path = write(transcript(Segment(0, 1, "ünï\r\ncode 日本")), tmp_path / f"clip.{form}")
    data = path.read_bytes()
    assert not data.startswith(b"\xef\xbb\xbf")
    assert b"\r" not in data.replace(b"\\r", b"")
    assert "日本" in data.decode("utf-8")


def test_an_unknown_format_is_named():
    with pytest.raises(ValueError, match="no format 'doc'; there are txt"):
        render(transcript(), "doc")


def test_a_lone_surrogate_does_not_stop_the_file(tmp_path):
    write_atomic(tmp_path / "x.json", json.dumps("caf\udce9", ensure_ascii=False))
    assert json.loads((tmp_path / "x.json").read_text()) == "caf\udce9"


@pytest.mark.parametrize("nameless", ["nameless", "none"])
@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, at, nameless):
    if nameless == "none":
        monkeypatch.delattr(writers.os, "O_TMPFILE", raising=False)
    path = tmp_path / "clip.txt"
    path.write_text("old")

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(writers.os, at, fail)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["clip.txt"]


@pytest.mark.parametrize("lacks", ["nothing", "nameless files", "links to them", "locks"])
def test_whatever_the_file_system_lacks_the_file_is_written(tmp_path, monkeypatch, lacks):
    def refuse(*_, **__):
        raise OSError(95, "not supported")

    if lacks == "nameless files":
        monkeypatch.delattr(writers.os, "O_TMPFILE", raising=False)
    elif lacks == "links to them":
        monkeypatch.setattr(writers.os, "link", refuse)
    elif lacks == "locks":
        monkeypatch.setattr(writers.fcntl, "flock", refuse)
    path = tmp_path / "clip.txt"
    for text in ("old", "new\n"):
        write_atomic(path, text)
        assert path.read_bytes() == text.encode()
    assert os.listdir(tmp_path) == ["clip.txt"]


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="files without a name are Linux's")
def test_before_a_file_is_whole_there_is_none(tmp_path, monkeypatch):
    seen = []
    real = os.fsync
    monkeypatch.setattr(writers.os, "fsync", lambda n: (seen.append(os.listdir(tmp_path)), real(n)))
    write_atomic(tmp_path / "clip.txt", "whole")
    assert seen == [[]]


def test_a_written_file_has_the_ordinary_permissions(tmp_path):
    write_atomic(tmp_path / "new", "x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode


def _ms(clock: str) -> int:
    return parse_time(clock.replace(",", "."), ".")


@calm
@given(segments)
def test_another_parser_reads_the_same_subtitles(parts):
    whole = transcript(*parts)
    wanted = [(cue.start, cue.end, cue.text) for cue in cues(whole)]

    def read(form):
        found = webvtt.from_buffer(io.StringIO(render(whole, form)), format=form)
        return [(_ms(cue.start), _ms(cue.end), cue.raw_text) for cue in found]

    if wanted:  # the parser refuses a SubRip file without a subtitle
        assert read("srt") == [(a, b, text.replace("-->", "->")) for a, b, text in wanted]
    assert [(a, b, html.unescape(text)) for a, b, text in read("vtt")] == wanted


LIVING = """
import sys, time
from pathlib import Path
from avsr.writers import _part
part, file = _part(Path(sys.argv[1]))
print(part.name, flush=True)
sys.stdin.read()
"""


def test_parts_of_the_dead_are_swept_and_those_of_the_living_stay(tmp_path):
    (tmp_path / ".avsr-0123456789ab.tmp").write_text("half")
    (tmp_path / "mine.tmp").write_text("not ours")
    living = subprocess.Popen(
        [sys.executable, "-c", LIVING, str(tmp_path / "clip.txt")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
    )
    name = living.stdout.readline().strip()
    sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([name, "mine.tmp"])
    living.kill()
    living.wait()
    sweep(tmp_path)
    assert os.listdir(tmp_path) == ["mine.tmp"]


def test_a_part_swept_before_its_lock_is_made_again(tmp_path, monkeypatch):
    monkeypatch.delattr(writers.os, "O_TMPFILE", raising=False)
    real, calls = writers.fcntl.flock, []

    def swept_first(file, how):
        calls.append(how)
        if len(calls) == 1:
            (part,) = tmp_path.glob(".avsr-*.tmp")
            part.unlink()
        return real(file, how)

    monkeypatch.setattr(writers.fcntl, "flock", swept_first)
    write_atomic(tmp_path / "clip.txt", "whole")
    assert os.listdir(tmp_path) == ["clip.txt"]
    assert len(calls) == 2
