"""D3: the validation list defaulted to the test list, so models were chosen by the test set.

Seen in auto_avsr, Llama-AVSR, Omni-AVSR and, as `valid_subset: test`, in MMS-LLaMA.
"""

import json
from pathlib import Path

import pytest
import yaml

from avsr.errors import ConfigError
from avsr.train.data import Corpus
from avsr.train.datamodule import SpeechData

ROOT = Path(__file__).parents[2]


def test_without_a_validation_split_nothing_takes_its_place(tmp_path):
    rows = [
        {"id": s, "audio_filepath": f"{s}.wav", "duration": 1, "text": "x", "split": s}
        for s in ("train", "test")
    ]
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = Corpus(str(manifest))
    with pytest.raises(ConfigError, match="no clips of split 'validation'"):
        SpeechData([corpus], [corpus]).val_dataloader()


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*/*.yaml")), ids=str)
def test_no_recipe_names_a_test_set(recipe):
    """Splits come from the manifest alone: there is no key that could name another."""
    told = yaml.safe_load(recipe.read_text())
    for corpus in (*told["data"]["train"], *told["data"]["held_out"]):
        assert "split" not in corpus
        assert "test" not in Path(corpus["manifest"]).stem
