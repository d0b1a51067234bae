"""Runs of other clips were compared pair by pair, as if their utterances were the same.

`--limit` and the manifest are no facts of a file: one measured with other clips went on as it was,
and its errors were held against those of pooling by their place alone. A model tuned on fewer clips
was taken from the cache for one that was tuned on all.
"""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from avsr.errors import ConfigError

TOOLS = Path(__file__).resolve().parents[2] / "tools"
CLIPS = ["a", "b", "c"]


@pytest.fixture
def load(monkeypatch):
    import importlib

    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module


def run(name, clips, edits=3):
    point = {"task": "a", "condition": "clean", "step": 0, "tokens_per_second": 9.0}
    point |= {"edits": [1] * edits, "words": [6] * edits}
    done = {"clean": {"clips": clips}, "speed": {"clips": []}}
    return {"name": name, "points": [point], "done": done, "seed": 0}


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (run("cluster", ["a", "b"], 2), "pool and cluster have read other clips under 'clean'"),
        (run("cluster", ["a", "c", "b"]), "pool and cluster have read other clips"),
        (run("cluster", ["a", "b", "x"]), "pool and cluster have read other clips"),
        (run("cluster", CLIPS, 2), "cluster has errors of 2 utterances under 'clean', and 3 clips"),
    ],
)
def test_they_are_refused(load, tmp_path, other, told):
    (tmp_path / "page.md").write_text("<!-- empty -->", encoding="utf-8")
    with pytest.raises(ConfigError, match=told):
        load("compress_page").whole_page([run("pool", CLIPS), other], tmp_path)


def test_the_same_clips_and_none_are_taken(load):
    refused = {"name": "hier", "points": [], "done": {"clean": {"clips": []}}}
    load("compress_figures").check_pairs([run("pool", CLIPS), run("cluster", CLIPS), refused])


def test_a_folder_of_other_clips_does_not_go_on(load):
    check = load("bench_compress").check_clips
    refused = {"name": "hier", "points": [], "done": {"clean": {"clips": []}}}
    check([run("pool", CLIPS), refused], {"clean": CLIPS, "slow": ["x"]})
    for other in (CLIPS[:2], ["a", "c", "b"]):
        with pytest.raises(ConfigError, match=r"pool, clean, is of 3 clips.*new folder"):
            check([run("pool", CLIPS)], {"clean": other})


def test_the_bench_looks_before_it_reads(load, tmp_path, monkeypatch):
    bench, clips = load("bench_compress"), load("bench_clips")
    item = SimpleNamespace(id="b", split="test")
    monkeypatch.setattr(clips.Bench, "items", lambda self, block: [item])
    monkeypatch.setattr(clips.Bench, "facts", lambda self, recogniser: {})
    fake = SimpleNamespace(recogniser=lambda: None)
    monkeypatch.setattr(clips, "Reader", lambda made: fake)
    monkeypatch.setattr(bench, "read_runs", lambda folder: [run("pool", CLIPS)])
    with pytest.raises(ConfigError, match="pool, clean, is of 3 clips"):
        bench.main(["--model", "default", "--out", str(tmp_path), "--limit", "1"])
    assert not (tmp_path / "clips.json").exists()


def test_fewer_clips_make_another_tuned_model(load, tmp_path, monkeypatch):
    clips, tuned = load("bench_clips"), []
    monkeypatch.setattr(clips, "chosen", lambda *more: [])
    monkeypatch.setattr(clips, "tune", lambda *args, **more: tuned.append(args))
    recogniser = SimpleNamespace(model=torch.nn.Linear(1, 1))
    for limit, known in ((None, 1), (None, 1), (4, 2), (4, 2), (400, 2)):
        reader = object.__new__(clips.Reader)
        paths = {"model": "x", "manifest": tmp_path, "noise": tmp_path, "cache": tmp_path}
        reader.bench = clips.Bench(**paths, limit=limit)
        reader._tuned(recogniser, "cluster (tuned)")
        assert len(tuned) == known
