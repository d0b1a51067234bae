"""A kind of tower is one entry: its folders are found, the others are read as before."""

import pytest

from frontends.errors import AvsrError
from frontends.towers import (
    AUDIO_KINDS,
    VIDEO_KINDS,
    Features,
    Kind,
    audio_features,
    open_audio_tower,
    open_video_tower,
    video_features,
)

DOORS = [
    (AUDIO_KINDS, open_audio_tower, audio_features, "config.json|Whisper"),
    (VIDEO_KINDS, open_video_tower, video_features, "lip encoder"),
]


@pytest.mark.parametrize(("kinds", "door", "facts", "fault"), DOORS, ids=["sound", "lips"])
def test_a_new_kind_is_one_entry(kinds, door, facts, fault, tmp_path, monkeypatch):
    mine, other = tmp_path / "mine", tmp_path / "other"
    for folder in (mine, other):
        folder.mkdir()
    (mine / "mine.txt").touch()
    kind = Kind(
        lambda folder: (folder / "mine.txt").is_file(),
        lambda folder: Features(10.0, 3),
        lambda folder: f"the tower of {folder.name}",
    )
    monkeypatch.setitem(kinds, "mine", kind)
    assert door(mine) == "the tower of mine"
    assert facts(mine) == Features(10.0, 3)
    for refused in (door, facts):
        with pytest.raises(AvsrError, match=fault):
            refused(other)
