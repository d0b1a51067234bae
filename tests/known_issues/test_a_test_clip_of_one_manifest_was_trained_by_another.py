"""Splits were taken as each manifest says them: one could fit a clip that another tested.

The same file under two splits is refused before anything is read.
"""

import json

import pytest

from avsr.errors import ConfigError
from avsr.train.data import Corpus
from avsr.train.datamodule import SpeechData


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_clip_under_two_splits_is_refused(split, tmp_path):
    (tmp_path / "clips").mkdir()
    paths = {"one": "../clips/c.wav", "other": str(tmp_path / "clips" / "c.wav")}
    for name, part in (("one", "train"), ("other", split)):
        folder = tmp_path / name
        folder.mkdir()
        row = {"id": f"{name}-c", "audio_filepath": paths[name], "duration": 1, "text": "a"}
        (folder / "m.jsonl").write_text(json.dumps({**row, "split": part}) + "\n")
    one, other = (Corpus(str(tmp_path / name / "m.jsonl")) for name in paths)
    with pytest.raises(ConfigError, match=rf"'other-c' is in the split '{split}'.*other/m.jsonl"):
        SpeechData(train=[one], held_out=[other], language_model="none").setup("fit")
