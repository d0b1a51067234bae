"""The command line understands every recipe; every prepare.py writes a manifest that is read."""

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
    monkeypatch.setattr(sys, "argv", ["prepare.py", *map(str, words)])
    runpy.run_path(str(ROOT / "recipes" / name / "prepare.py"), run_name="__main__")


@pytest.fixture
def grid(tmp_path):
    """Three speakers of four clips; one has its alignments in a folder beside, as on the site."""
    for speaker in ("s1", "s2", "s31"):
        for k in range(4):
            folder = tmp_path / "grid" / "video" / speaker
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{speaker}clip{k}.mpg").touch()
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
    prepare(monkeypatch, "grid", *words)
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
    prepare(monkeypatch, "grid", *words)
    assert out.read_text() == first
    assert '["bin", 0.95, 1.18]' in first


def test_grid_without_a_speaker_an_alignment_or_clips_says_so(grid, tmp_path, monkeypatch):
    out = tmp_path / "manifest.jsonl"
    with pytest.raises(SystemExit, match="no speaker 's9'; there are s1, s2, s31"):
        prepare(monkeypatch, "grid", grid, "--out", out, "--test", "s9")
    (grid / "align" / "s2" / "s2clip0.align").unlink()
    with pytest.raises(SystemExit, match="no alignment for"):
        prepare(monkeypatch, "grid", grid, "--out", out, "--test", "s31", "--validation", "s1:1")
    with pytest.raises(SystemExit, match=r"no \.mpg or \.mp4"):
        prepare(monkeypatch, "grid", tmp_path / "grid" / "align", "--out", out)


def test_librispeech_is_prepared(tmp_path, monkeypatch):
    root, out = tmp_path / "LibriSpeech", tmp_path / "manifest.jsonl"
    for k, subset in enumerate(("train-clean-5", "dev-clean", "test-other")):
        folder = root / subset / f"{10 + k}" / "7"
        folder.mkdir(parents=True)
        name = f"{10 + k}-7-0000"
        write_clip(folder / f"{name}.flac", wave=tone(0.5 + k, 16_000), wave_codec="flac")
        (folder / f"{10 + k}-7.trans.txt").write_text(f"{name} IT'S A TEST\n")
    prepare(monkeypatch, "librispeech", root, "--out", out)
    items = {item.split: item for item in read_manifest(out)}
    assert sorted(items) == ["test", "train", "validation"]
    assert [items[s].speaker for s in ("train", "validation", "test")] == ["10", "11", "12"]
    assert items["validation"].duration == pytest.approx(1.5, abs=0.01)
    assert all(i.text == "it's a test" and i.path.is_file() for i in items.values())
    with pytest.raises(SystemExit, match=r"no \*\.trans\.txt"):
        prepare(monkeypatch, "librispeech", tmp_path / "nothing", "--out", out)
