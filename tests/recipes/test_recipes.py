"""The command line understands every recipe; every prepare.py writes a manifest that is read."""

import os
import runpy
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from avsr.cli import main
from avsr.manifest import read_manifest
from tests.frontends.clips import tone, write_clip

ROOT = Path(__file__).parents[2]
TWINS = ("mhsa", "ffn")  # of layer.yaml but for the placement: tests/recipes/test_corpora.py
RECIPES = [p for p in sorted((ROOT / "recipes").glob("*/*.yaml")) if p.stem not in TWINS]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_recipe_is_understood(recipe, capsys):
    try:
        code = main(["train", "fit", "-c", str(recipe), "--print_config"])
    except SystemExit as end:
        code = end.code
    out, err = capsys.readouterr()
    assert code in (0, None), err
    told, given = yaml.safe_load(out), yaml.safe_load(recipe.read_text())
    for part in ("schedule", "objective"):
        for key, value in given["model"][part].items():
            assert told["model"][part][key] == value
    assert told["data"]["batch_seconds"] == given["data"]["batch_seconds"]
    for callback in given["trainer"]["callbacks"]:  # a resumed run needs its last state
        if callback["class_path"].endswith("ModelCheckpoint"):
            assert callback["init_args"]["save_last"] is True


def test_there_are_recipes():
    names = {path.parent.name for path in RECIPES}
    assert names >= {"grid", "librispeech", "mixed", "lrs2", "lrs3"}


def prepare(monkeypatch, name, *words):
    """Run a recipe's script and return its exit status."""
    monkeypatch.setattr(sys, "argv", ["prepare.py", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "recipes" / name / "prepare.py"), run_name="__main__")
    return end.value.code


@pytest.fixture
def grid(tmp_path):
    """Three speakers of four clips; one has its alignments in a folder beside, as on the site."""
    film = write_clip(tmp_path / "film.mpg", times=[k / 25 for k in range(30)], codec="mpeg1video",
                      wave=tone(1.2, 48_000), wave_rate=48_000, wave_codec="mp2")  # fmt: skip
    for speaker in ("s1", "s2", "s31"):
        for k in range(4):
            folder = tmp_path / "grid" / "video" / speaker
            folder.mkdir(parents=True, exist_ok=True)
            os.link(film, folder / f"{speaker}clip{k}.mpg")
            beside = tmp_path / "grid" / "align" / speaker if speaker == "s2" else folder
            beside.mkdir(parents=True, exist_ok=True)
            lines = (
                "0 23750 sil\n23750 29500 bin\n29500 34000 blue\n34000 35000 sp\n35000 74500 sil\n"
            )
            (beside / f"{speaker}clip{k}.align").write_text(lines)
    return tmp_path / "grid"


def test_grid_is_prepared(grid, tmp_path, monkeypatch):
    out = tmp_path / "manifest.jsonl"
    words = [grid, "--out", out, "--test", "s1:1", "s31", "--validation", "s1:2"]
    assert prepare(monkeypatch, "grid", *words) == 0
    items = read_manifest(out)
    assert Counter((i.speaker, i.split) for i in items) == {
        ("grid-s1", "test"): 1,
        ("grid-s1", "validation"): 2,
        ("grid-s1", "train"): 1,
        ("grid-s2", "train"): 4,
        ("grid-s31", "test"): 4,
    }
    assert len({i.id for i in items}) == 12
    assert all(i.text == "bin blue" and i.has_video and i.path.is_file() for i in items)
    first = out.read_text()
    assert all(i.duration == pytest.approx(1.2, abs=0.06) for i in items)
    assert prepare(monkeypatch, "grid", *words) == 0
    assert out.read_text() == first
    assert '["bin", 0.95, 1.18]' in first


def test_grid_lists_what_is_missing_or_broken_and_goes_on(grid, tmp_path, monkeypatch, capsys):
    out = tmp_path / "manifest.jsonl"
    (grid / "align" / "s2" / "s2clip0.align").unlink()
    (grid / "align" / "s2" / "s2clip1.align").write_text("0 x bin")
    (grid / "video" / "s2" / "s2clip2.mpg").unlink()
    (grid / "video" / "s2" / "s2clip2.mpg").write_bytes(b"")
    assert prepare(monkeypatch, "grid", grid, "--out", out, "--test", "s31", "--validation") == 1
    said = capsys.readouterr().err
    assert "3 of 12 entries failed" in said
    assert "s2/s2clip0: no alignment" in said
    assert "s2/s2clip1: not an alignment" in said
    assert "s2/s2clip2: the file is empty" in said
    assert len(read_manifest(out)) == 9


def test_grid_without_a_speaker_or_clips_says_so(grid, tmp_path, monkeypatch, capsys):
    out = tmp_path / "manifest.jsonl"
    assert prepare(monkeypatch, "grid", grid, "--out", out, "--test", "s9") == 1
    assert "no speaker 's9'; there are s1, s2, s31" in capsys.readouterr().err
    assert prepare(monkeypatch, "grid", tmp_path / "grid" / "align", "--out", out) == 1
    assert "no .mpg or .mp4" in capsys.readouterr().err


def test_librispeech_is_prepared(tmp_path, monkeypatch, capsys):
    root, out = tmp_path / "LibriSpeech", tmp_path / "manifest.jsonl"
    for k, subset in enumerate(("train-clean-5", "dev-clean", "test-other")):
        folder = root / subset / f"{10 + k}" / "7"
        folder.mkdir(parents=True)
        name = f"{10 + k}-7-0000"
        write_clip(folder / f"{name}.flac", wave=tone(0.5 + k, 16_000), wave_codec="flac")
        (folder / f"{10 + k}-7.trans.txt").write_text(f"{name} IT'S A TEST\n")
    assert prepare(monkeypatch, "librispeech", root, "--out", out) == 0
    items = {item.split: item for item in read_manifest(out)}
    assert sorted(items) == ["test", "train", "validation"]
    assert [items[s].speaker for s in ("train", "validation", "test")] == ["10", "11", "12"]
    assert items["validation"].duration == pytest.approx(1.5, abs=0.01)
    assert all(i.text == "it's a test" and i.path.is_file() for i in items.values())
    (root / "test-other" / "12" / "7" / "12-7-0000.flac").unlink()
    assert prepare(monkeypatch, "librispeech", root, "--out", out) == 1
    assert "12-7-0000: the sound is missing" in capsys.readouterr().err
    assert len(read_manifest(out)) == 2
    assert prepare(monkeypatch, "librispeech", tmp_path / "nothing", "--out", out) == 1
    assert "no *.trans.txt" in capsys.readouterr().err
