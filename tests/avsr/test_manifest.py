"""Manifests: what a line means, and that an error names the file and the line."""

import json

import pytest

from avsr.errors import ConfigError
from avsr.manifest import read_manifest, seconds

GOOD = {"audio_filepath": "a.opus", "duration": 1.5, "text": "lay green"}


@pytest.fixture
def write(tmp_path):
    """write(line, ...) -> a manifest of these objects or raw lines."""

    def make(*lines):
        path = tmp_path / "manifest.jsonl"
        rows = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return path

    return make


def test_a_line_is_a_clip(write, tmp_path):
    full = {
        **GOOD,
        "video_filepath": "grid/s1/b.mp4",
        "id": 7,
        "corpus": "grid",
        "split": "test",
        "speaker": "s1",
    }
    sound, sight = read_manifest(write(GOOD, full))
    assert (sound.path, sound.has_video, sound.id) == (tmp_path / "a.opus", False, "a.opus")
    assert (sound.corpus, sound.split, sound.speaker) == ("", "", "")
    assert (sight.path, sight.has_video, sight.id) == (tmp_path / "grid/s1/b.mp4", True, "7")
    assert (sight.corpus, sight.split, sight.speaker) == ("grid", "test", "s1")
    assert (sight.duration, sight.text) == (1.5, "lay green")
    assert seconds([sound, sight]) == 3.0


def test_no_video_is_no_video_however_it_is_written(write):
    for nothing in (None, ""):
        [item] = read_manifest(write({**GOOD, "video_filepath": nothing}))
        assert not item.has_video
        assert item.path.name == "a.opus"


def test_keep_chooses(write):
    rows = [{**GOOD, "split": split} for split in ("train", "test", "train")]
    assert len(read_manifest(write(*rows), keep=lambda item: item.split == "train")) == 2


def test_empty_lines_are_no_clips_but_are_counted(write):
    assert len(read_manifest(write(GOOD, "", "  ", GOOD))) == 2
    with pytest.raises(ConfigError, match="line 4 "):
        read_manifest(write(GOOD, "", "  ", "{}"))


def test_other_line_ends_in_a_text_are_part_of_it(write):
    text = "one\u2028two\x85three\u2029four"
    raw = json.dumps({**GOOD, "text": text}, ensure_ascii=False)
    assert read_manifest(write(raw, GOOD))[0].text == text
    with pytest.raises(ConfigError, match="line 2 "):
        read_manifest(write(raw, "no"))


def test_windows_files_are_read(tmp_path):
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n")
    [item] = read_manifest(path)
    assert item.text == "lay green"


@pytest.mark.parametrize(
    "bad",
    [
        "{not json",
        "[]",
        '"text"',
        "12",
        "null",
        {},
        {"audio_filepath": "a.opus", "text": "no duration"},
        {"audio_filepath": "a.opus", "duration": 1.0},
        {"duration": 1.0, "text": "no file"},
        {**GOOD, "audio_filepath": None},
        {**GOOD, "audio_filepath": ""},
        {**GOOD, "audio_filepath": 5},
        {**GOOD, "duration": "long"},
        {**GOOD, "duration": None},
        {**GOOD, "duration": float("nan")},
        {**GOOD, "duration": float("inf")},
        {**GOOD, "duration": 0},
        {**GOOD, "duration": -1},
        {**GOOD, "text": None},
        {**GOOD, "text": 3},
    ],
    ids=str,
)
def test_an_error_names_file_and_line(write, bad):
    path = write(GOOD, GOOD, bad, GOOD)
    with pytest.raises(ConfigError, match="line 3 ") as caught:
        read_manifest(path)
    assert caught.value.where == str(path)
    assert caught.value.todo
    assert "\n" not in str(caught.value)


def test_no_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(ConfigError, match="cannot read the manifest") as caught:
            read_manifest(path)
        assert caught.value.where == str(path)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"\x00\x01\xff\xfe\x80")
    with pytest.raises(ConfigError, match="not text") as caught:
        read_manifest(path)
    assert caught.value.where == str(path)
