"""Miniature trees of the corpora become manifests; what is missing is named and counted."""

import json
import os
import runpy
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsr.corpus import Entry, cut, hold_out, read_transcript
from avsr.corpus_build import build
from avsr.corpus_clip import Plan
from avsr.errors import AvsrError
from avsr.manifest import read_manifest
from frontends.lips import given as given_roi
from frontends.media import open_clip
from tests.frontends.clips import tone, write_clip
from tests.recipes.test_paper_settings import PAPER

ROOT = Path(__file__).parents[2]
TABLE = "\nWORD START END ASDSCORE\nIT'S 0.10 0.30 9.1\nA 0.40 0.50 7\nTEST 0.70 0.90 8\n"


def prepare(monkeypatch, name, *words):
    """Run a recipe's script and return its exit status."""
    monkeypatch.setattr(sys, "argv", ["prepare.py", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "recipes" / name / "prepare.py"), run_name="__main__")
    return end.value.code


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """One second of picture and sound, and a mouth crop without sound."""
    home = tmp_path_factory.mktemp("film")
    times = [k / 25 for k in range(25)]
    write_clip(home / "film.mp4", times=times, wave=tone(1.0, 16_000), wave_codec="aac")
    grey = lambda k: np.full((96, 96, 3), 5 * k, np.uint8)  # noqa: E731
    write_clip(home / "mouth.mp4", times=times, picture=grey)
    write_clip(home / "sound.wav", wave=tone(1.0, 16_000))
    return home


def put(source, *places):
    """The same file at several places of a tree."""
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, place)


def told(out):
    """Rows of a manifest by id, and its report."""
    rows = {row["id"]: row for row in map(json.loads, out.read_text().splitlines())}
    return rows, json.loads(out.with_name(f"{out.stem}.report.json").read_text())


@pytest.fixture
def lrs3(film, tmp_path):
    root = tmp_path / "lrs3"
    names = [("pretrain", "p0"), ("trainval", "s1"), ("trainval", "s2"), ("test", "t0")]
    for folder, speaker in names:
        put(film / "film.mp4", root / folder / speaker / "00001.mp4")
        table = TABLE if folder == "pretrain" else ""
        text = f"Text:  IT'S A TEST\nConf:  4\nRef:  abc\n{table}"
        (root / folder / speaker / "00001.txt").write_text(text)
    return root


def test_lrs3(lrs3, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out" / "manifest.jsonl"
    assert prepare(monkeypatch, "lrs3", lrs3, "--out", out, "--validation", 1) == 0
    rows, report = told(out)
    assert len(rows) == 4
    held = next(iter(hold_out({"s1": 1, "s2": 1}, 1)))
    assert rows[f"lrs3/trainval/{held}/00001"]["split"] == "validation"
    assert {name: one["clips"] for name, one in report["splits"].items()} == {
        "train": 2,
        "validation": 1,
        "test": 1,
    }
    pretrain = rows["lrs3/pretrain/p0/00001"]
    assert pretrain["words"] == [["it's", 0.1, 0.3], ["a", 0.4, 0.5], ["test", 0.7, 0.9]]
    assert pretrain["speaker"] == "lrs3-p0"
    assert all(len(row["sha256"]) == 64 and row["fps"] == 25 for row in rows.values())
    items = read_manifest(out)
    assert all(i.text == "it's a test" and i.has_video and i.path.is_file() for i in items)
    assert (out.parent / "manifest-test.txt").read_text() == "lrs3/test/t0/00001\n"
    assert "0 of 4 entries failed" in capsys.readouterr().out


def test_speakers_of_the_validation_set_are_not_trained_on(lrs3, film, tmp_path, monkeypatch):
    held = next(iter(hold_out({"s1": 1, "s2": 1}, 1)))
    put(film / "film.mp4", lrs3 / "pretrain" / held / "00009.mp4")
    (lrs3 / "pretrain" / held / "00009.txt").write_text(f"Text: X\n{TABLE}")
    out = tmp_path / "m.jsonl"
    prepare(monkeypatch, "lrs3", lrs3, "--out", out, "--validation", 1)
    rows, _ = told(out)
    assert rows[f"lrs3/pretrain/{held}/00009"]["split"] == "unused"


def test_what_is_missing_or_broken_is_listed_and_the_rest_goes_on(
    lrs3, tmp_path, monkeypatch, capsys
):
    (lrs3 / "trainval" / "s1" / "00001.txt").unlink()
    (lrs3 / "test" / "t0" / "00001.mp4").unlink()
    (lrs3 / "pretrain" / "p0" / "00002.mp4").write_bytes(b"\0" * 500)
    (lrs3 / "pretrain" / "p0" / "00002.txt").write_text("Text: X\n")
    (lrs3 / "pretrain" / "p0" / "00003.txt").write_text("Conf: 1\n")
    out = tmp_path / "manifest.jsonl"
    assert prepare(monkeypatch, "lrs3", lrs3, "--out", out) == 1
    rows, report = told(out)
    assert sorted(rows) == ["lrs3/pretrain/p0/00001", "lrs3/trainval/s2/00001"]
    assert report["entries"] == 6
    assert sorted(report["failed"]) == [
        "pretrain/p0/00002",
        "pretrain/p0/00003",
        "test/t0/00001",
        "trainval/s1/00001",
    ]
    assert "not a transcript" in report["failed"]["trainval/s1/00001"]
    assert "missing" in report["failed"]["test/t0/00001"]
    assert "4 of 6 entries failed" in capsys.readouterr().err


def test_lrs2(film, tmp_path, monkeypatch):
    root = tmp_path / "mvlrs_v1"
    for place in ("main/p1/00001", "main/p1/00002", "main/p2/00001", "pretrain/p3/00007"):
        put(film / "film.mp4", root / f"{place}.mp4")
        (root / f"{place}.txt").write_text("Text:  IT'S A TEST\nConf:  4\n")
    (root / "train.txt").write_text("p1/00001\np1/00002\n")
    (root / "pretrain.txt").write_text("p3/00007\n")
    (root / "val.txt").write_text("p1/00099\n")
    (root / "test.txt").write_text("p2/00001 NF\n\n")
    out = tmp_path / "manifest.jsonl"
    assert prepare(monkeypatch, "lrs2", root, "--out", out) == 1
    rows, report = told(out)
    assert {name: row["split"] for name, row in rows.items()} == {
        "lrs2/pretrain/p3/00007": "train",
        "lrs2/main/p1/00001": "train",
        "lrs2/main/p1/00002": "train",
        "lrs2/main/p2/00001": "test",
    }
    assert list(report["failed"]) == ["main/p1/00099"]
    assert prepare(monkeypatch, "lrs2", tmp_path / "none", "--out", out) == 1


def test_muavic_joins_a_crop_and_its_sound(film, tmp_path, monkeypatch):
    root = tmp_path / "en"
    for split in ("train", "test"):
        put(film / "mouth.mp4", root / "video" / split / "abc" / "00001.mp4")
        put(film / "sound.wav", root / "audio" / split / "abc" / "00001.wav")
        row = [f"{split}-0", f"/gone/en/video/{split}/abc/00001.mp4",
               f"/gone/en/audio/{split}/abc/00001.wav", "25", "16000"]  # fmt: skip
        (root / f"{split}_avsr.tsv").write_text("/\n" + "\t".join(row) + "\n")
        (root / f"{split}_avsr.en").write_text("it's a test\n")
    out = tmp_path / "manifest.jsonl"
    assert prepare(monkeypatch, "muavic", root, "--out", out) == 1  # it cannot without --clips
    assert prepare(monkeypatch, "muavic", root, "--out", out, "--clips", tmp_path / "made") == 0
    (item, _) = read_manifest(out)
    assert item.roi == "given"
    clip = open_clip(item.path)
    crops = given_roi(clip).crops
    assert crops.shape == (25, 96, 96)
    assert np.array_equal(crops, given_roi(open_clip(film / "mouth.mp4")).crops)
    np.testing.assert_allclose(clip.audio, tone(1.0, 16_000)[0], atol=1e-4)


def test_a_folder_with_and_without_transcripts(film, tmp_path, monkeypatch):
    root = tmp_path / "clips"
    put(film / "film.mp4", root / "a.mp4", root / "train" / "tom" / "b.mp4")
    put(film / "sound.wav", root / "a.wav", root / "dev" / "c.wav")
    for name in ("a", "train/tom/b"):
        (root / f"{name}.txt").write_text("It's a\n test\n")
    out = tmp_path / "manifest.jsonl"
    assert prepare(monkeypatch, "folder", root, "--out", out, "--name", "own") == 1
    rows, report = told(out)
    assert {k: (row["split"], row["speaker"]) for k, row in rows.items()} == {
        "own/a.mp4": ("test", "clips"),
        "own/a.wav": ("test", "clips"),
        "own/train/tom/b": ("train", "tom"),
    }
    assert "video_filepath" not in rows["own/a.wav"]
    assert rows["own/a.mp4"]["text"] == "It's a test"
    assert list(report["failed"]) == ["dev/c"]
    assert prepare(monkeypatch, "folder", root, "--out", out, "--no-text", "yes") == 0
    assert told(out)[0]["folder/dev/c"]["text"] == "?"


def entry(film, name="x", words=()):
    return Entry(name, film / "mouth.mp4", "it's a test", "train", words=words,
                 sound=film / "sound.wav")  # fmt: skip


def test_long_clips_are_cut_between_words(film, tmp_path):
    _, words = read_transcript(_transcript(tmp_path))
    plan = Plan("c", tmp_path / "clips", "given", max_seconds=0.62)
    report = build([entry(film, words=words)], plan, tmp_path / "m.jsonl")
    assert report.failed == {}
    rows, _ = told(tmp_path / "m.jsonl")
    assert {k: (row["text"], row["duration"]) for k, row in rows.items()} == {
        "c/x-0": ("it's a", 0.6),
        "c/x-1": ("test", 0.4),
    }
    assert rows["c/x-1"]["words"] == [["test", 0.1, 0.3]]
    whole = given_roi(open_clip(film / "mouth.mp4")).crops
    parts = [open_clip(row["video_filepath"]) for row in rows.values()]
    assert np.array_equal(np.concatenate([given_roi(p).crops for p in parts]), whole)
    assert sum(len(part.audio) for part in parts) == 16_000
    short = build([entry(film)], plan, tmp_path / "n.jsonl")
    assert "without word times" in short.failed["x"]


def _transcript(folder):
    path = folder / "t.txt"
    path.write_text(f"Text: IT'S A TEST\n{TABLE}")
    return path


def test_a_killed_run_goes_on_where_it_was(film, tmp_path, monkeypatch):
    import avsr.corpus_build

    done = []
    real = avsr.corpus_build.prepare_clip

    def counted(one, plan):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(one.id)
        return real(one, plan)

    entries = [entry(film, f"x{k}") for k in range(4)]
    plan, out = Plan("c", tmp_path / "clips", "given"), tmp_path / "m.jsonl"
    monkeypatch.setattr(avsr.corpus_build, "prepare_clip", counted)
    with pytest.raises(KeyboardInterrupt):
        build(entries, plan, out)
    assert not out.exists()
    with out.with_name("m.jsonl.journal").open("a") as journal:
        journal.write('{"key": "ha')  # cut off while it was written
    monkeypatch.setattr(avsr.corpus_build, "prepare_clip", real)
    (tmp_path / "clips" / "x1.mkv").unlink()  # and lost since
    steps = []
    assert build(entries, plan, out, progress=steps.append).clips == 4
    assert steps == [1, 1, 1, 1]
    again = []
    build(entries, plan, out, progress=again.append)
    assert again == [4]
    assert [row["id"] for row in map(json.loads, out.read_text().splitlines())] == [
        f"c/x{k}" for k in range(4)
    ]


def killed(one, plan):
    os.kill(os.getpid(), 9)


def test_a_killed_process_is_told_in_a_line(film, tmp_path, monkeypatch):
    monkeypatch.setattr("avsr.corpus_build.prepare_clip", killed)
    plan = Plan("c", tmp_path / "clips", "given")
    with pytest.raises(AvsrError, match="one of 2 processes that prepare clips was killed"):
        build([entry(film)], plan, tmp_path / "m.jsonl", workers=2)


@pytest.mark.slow
def test_several_processes_make_the_same_manifest(film, tmp_path):
    entries = [entry(film, f"x{k}") for k in range(3)]
    for workers in (1, 2):
        plan = Plan("c", tmp_path / "clips", "given")
        build(entries, plan, tmp_path / f"m{workers}.jsonl", workers=workers)
        (tmp_path / "clips").rename(tmp_path / f"clips{workers}")
    one, two = (tmp_path / f"m{k}.jsonl" for k in (1, 2))
    assert one.read_text() == two.read_text()


def test_ids_are_unique(film, tmp_path):
    with pytest.raises(AvsrError, match="two clips"):
        build([entry(film), entry(film)], Plan("c"), tmp_path / "m.jsonl")
    with pytest.raises(AvsrError, match="no clips"):
        build([], Plan("c"), tmp_path / "m.jsonl")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 2)), min_size=1, max_size=12),
    st.floats(1.0, 8.0),
)
def test_a_cut_loses_no_time_and_no_word(pauses, longest):
    words, now = [], 0.0
    for number, (pause, length) in enumerate(pauses):
        words.append((f"w{number}", now + pause, now + pause + length))
        now += pause + length
    one = Entry("x", Path("x"), " ".join(w for w, _, _ in words), "train", words=tuple(words))
    parts = cut(one, now, longest)
    assert parts[0].start == 0.0
    assert parts[-1].end == now
    assert all(a.end == b.start for a, b in pairwise(parts))
    assert " ".join(part.text for part in parts) == one.text
    for part in parts:
        assert part.end - part.start <= longest or len(part.words) == 1
        assert all(-1e-9 <= a <= b <= part.end - part.start + 1e-9 for _, a, b in part.words)


@pytest.mark.parametrize(
    "text",
    ["", "Conf: 1\n", "Text:\n", "Text: A\nWORD START END\nA x 1 2\n", "Text: A\nWORD S\nA\n"],
)
def test_what_is_no_transcript(tmp_path, text):
    path = tmp_path / "t.txt"
    path.write_text(text)
    with pytest.raises(AvsrError, match="not a transcript"):
        read_transcript(path)


def test_held_out_speakers_are_the_same_everywhere():
    speakers = {f"s{k}": 2 for k in range(50)}
    chosen = hold_out(speakers, 7)
    assert len(chosen) == 4
    code = (
        "from avsr.corpus import hold_out\n"
        "print(sorted(hold_out({f's{k}': 2 for k in reversed(range(50))}, 7)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "5"},
        check=True,
    )
    assert told.stdout.strip() == str(sorted(chosen))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", PAPER, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_recipe_of_the_paper_takes_two_steps_on_tiny_towers(recipe, film, tmp_path, monkeypatch):
    import yaml

    from avsr.cli import main
    from frontends.avhubert_tower import AvHubertTower
    from tests.avsr.train.folders import write_llm, write_whisper
    from tests.frontends.avhuberts import tiny

    root = tmp_path / "speech"
    for split, names in {"train": "abcde", "validation": "f", "test": "g"}.items():
        for name in names:
            wave = tone(1.0, 16_000, hz=200.0 + 50 * ord(name) % 400)
            path = root / split / f"{name}.mkv"
            path.parent.mkdir(parents=True, exist_ok=True)
            times = [k / 25 for k in range(25)]
            write_clip(path, times=times, picture=lambda k: np.full((96, 96, 3), 9 * k, np.uint8),
                       wave=wave, codec="ffv1", pix_fmt="gray")  # fmt: skip
            path.with_suffix(".txt").write_text("word1 word2")
    manifest = tmp_path / "manifest.jsonl"
    assert prepare(monkeypatch, "folder", root, "--out", manifest) == 0
    rows = [{**json.loads(line), "roi": "given"} for line in manifest.read_text().splitlines()]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    AvHubertTower(tiny()).save(tmp_path / "avhubert")
    told = yaml.safe_load(recipe.read_text())
    told["model"]["model"] |= {
        "language_model": str(write_llm(tmp_path / "llm")),
        "audio_tower": str(write_whisper(tmp_path / "whisper")),
        "video_tower": str(tmp_path / "avhubert"),
    }
    told["model"]["dtype"] = "float32"
    for corpus in (*told["data"]["train"], *told["data"]["held_out"]):
        corpus["manifest"] = str(manifest)
        for variant in corpus.get("variants", ()):
            variant["damage"][0] |= {"source": str(manifest), "talkers": 2}
    told["data"] |= {"cache": str(tmp_path / "cache"), "batch_seconds": 2.0}
    told["trainer"] |= {"max_steps": 2, "accelerator": "cpu", "enable_progress_bar": False,
                        "val_check_interval": 2}  # fmt: skip
    for callback in told["trainer"]["callbacks"]:
        key = "folder" if "folder" in callback["init_args"] else "dirpath"
        callback["init_args"][key] = str(tmp_path / "out")
    told["trainer"]["logger"]["init_args"]["save_dir"] = str(tmp_path / "logs")
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(told))
    monkeypatch.chdir(tmp_path)
    assert main(["train", "fit", "-c", str(path)]) == 0
    facts = json.loads((tmp_path / "out" / "config.json").read_text())
    assert sorted(facts["frozen"]) == ["audio_tower", "language_model", "video_tower"]
    assert facts["training"]["steps"] == 2
    assert facts["model"]["mome"]["placement"] == recipe.stem
