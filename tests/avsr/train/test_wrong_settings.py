"""Numbers and files that make no training are told in a line, before any weights are read."""

import pytest
import yaml

import avsr.checkpoint
from avsr.cli import main
from avsr.train.data import Corpus, Masks
from avsr.train.features import Variant

ODD = {
    "workers": ("--data.workers=-1", "workers=-1"),
    "max_clips": ("--data.max_clips=0", "max_clips=0"),
    "batch_seconds": ("--data.batch_seconds=0", "batch_seconds=0"),
    "seed": ("--model.seed=-1", "seed=-1"),
    "start": ("--model.start=[gone]", "no readable config.json"),
    "compressor": ("--model.model.compress={name: pole}", "no compressor is called 'pole'"),
    "parameter": ("--model.model.compress={name: pool, colour: 1}", "colour"),
    "guide": ("--model.model.compress={name: guided}", "and there is none"),
    "prompts": ("--model.model.prompts={a: '', v: x, av: x}", "prompts must be text"),
    "tower": ("--model.model.video_rates=[2]", "need a video_tower"),
    "vocabulary": ("--model.vocabulary=gone.jsonl", "cannot read the manifest"),
    "order": ("--model.model.audio_rates=[16, 4]", "from the finest to the coarsest"),
    "align": ("--model.align_only=yes", "name some"),
}


@pytest.mark.parametrize("name", ODD)
def test_it_is_told_before_the_weights(home, name, monkeypatch, capsys, tmp_path):
    def never(*_, **__):
        raise AssertionError("the language model was loaded")

    if not name.startswith(("workers", "max_clips", "batch")):  # the data come after the model
        monkeypatch.setattr(avsr.checkpoint, "load_llm", never)
    path = home.recipe(f"odd_{name}")
    told = yaml.safe_load(path.read_text())
    told["model"]["model"]["video_tower"], told["model"]["model"]["video_rates"] = None, []
    path.write_text(yaml.safe_dump(told))
    words, said = ODD[name]
    assert main(["train", "fit", "-c", str(path), words]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: Masks(per_second=-1.0), "hides less than nothing"),
        (lambda: Masks(channels=3.0), "more than all channels"),
        (lambda: Corpus("m", repeat=-1), "repeat=-1"),
        (lambda: Variant(snr_db=(5.0, -5.0)), "from low to high"),
        (lambda: Variant(tempo=0.0), "tempo=0.0"),
        (lambda: Variant(mirror="left"), "mirror='left'"),
    ],
)
def test_values_that_read_nothing_are_refused(made, told):
    with pytest.raises(ValueError, match=told):
        made()


def test_noise_and_babble_that_are_not_there(home, tmp_path, capsys):
    for words, said in (
        (["--data.noise", str(tmp_path / "gone.jsonl")], "cannot read the manifest of noise"),
        (["--data.babble", "2"], "and there are 0"),
    ):
        assert main(["train", "fit", "-c", str(home.recipe("noise")), *words]) == 1
        assert said in capsys.readouterr().err


def test_an_export_without_its_lip_encoder_ends_before_the_first_step(home, capsys, tmp_path):
    path = home.recipe("export", max_steps=1, limit_val_batches=0)
    told = yaml.safe_load(path.read_text())
    given = {"folder": str(tmp_path / "out"), "lip_encoder": "gone"}
    export = {"class_path": "avsr.train.app.Export", "init_args": given}
    told["trainer"]["callbacks"] = [export]
    path.write_text(yaml.safe_dump(told))
    assert main(["train", "fit", "-c", str(path)]) == 1
    assert "no such folder to store a lip encoder from" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
