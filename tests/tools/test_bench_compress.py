"""The bench of compressors: its arithmetic, that it goes on where it stopped, and the toy."""

import json
import math
import time

import pytest
import torch

from avsr.errors import ConfigError


def point(tokens, edits, words, *, step=0, task="av", condition="clean", seconds=60.0):
    return {
        "task": task,
        "condition": condition,
        "step": step,
        "tokens_per_second": tokens,
        "seconds": seconds,
        "words": words,
        "edits": edits,
    }


def run(name, *points):
    return {"name": name, "points": list(points), "command": ["bench"], "seed": 0}


@pytest.fixture
def figures(tool):
    return tool("compress_figures")


def test_other_budgets_are_not_compared(figures):
    one, near, far = (point(t, [1, 0], [4, 4]) for t in (10.0, 10.4, 11.0))
    assert figures.matched(one, near)
    assert figures.against(one, near) is not None
    assert figures.against(one, far) is None
    assert figures.verdict(None) == "other budget"


def test_nothing_is_ranked_inside_the_interval(figures):
    words = [5] * 60
    pool = point(10.0, [2] * 60, words)
    better = figures.against(point(10.0, [1] * 60, words), pool)
    assert figures.verdict(better).startswith("better, -20.0 (")
    worse = figures.against(point(10.0, [3] * 60, words), pool)
    assert figures.verdict(worse).startswith("worse, +20.0 (")
    even = figures.against(point(10.0, [1, 3] * 30, words), pool)
    assert figures.verdict(even).startswith("undecided")


def test_area_and_cheapest_equal(figures):
    assert figures.area([(1.0, 30.0), (10.0, 10.0), (100.0, 10.0)]) == pytest.approx(15.0)
    assert math.isnan(figures.area([(1.0, 30.0)]))
    points = [(3.0, 20.0), (6.0, 10.4), (12.0, 10.0)]
    assert figures.least_tokens(points, 10.0) == 6.0
    assert math.isnan(figures.least_tokens(points[:1], 10.0))


def test_the_page_has_every_run_and_says_what_is_missing(figures):
    runs = [
        run("none", point(50.0, [0], [9])),
        run("pool", point(12.5, [1], [9]), point(6.0, [3], [9], step=1)),
        run("cluster", point(12.5, [1], [9]), point(6.0, [2], [9], step=1)),
        run("k<means", point(9.0, [1], [9])),
        {**run("hier"), "refused": "it was not trained"},
    ]
    runs[2]["points"].append(point(5.0, [2, 0], [0, 0], condition="silence"))
    text = figures.page(runs, "Title")
    assert "| cluster | 11.1: undecided" in text
    assert "other budget" in text
    assert "Floors that are missing: random, stride" in text
    assert "- not measured: it was not trained" in text
    assert "| words a minute | silence, av, step 0 |" in text
    assert "| cluster | 2.00 |" in text
    assert list(figures.figures(runs)) == ["av_clean.svg"]


def test_what_is_written_down_is_not_measured_again(tool, tmp_path):
    bench, calls = tool("bench_compress"), []
    jobs = {name: lambda name=name: calls.append(name) or {"points": []} for name in ("a", "b,c=1")}
    facts = {"schema": bench.SCHEMA, "seed": 0}
    first = bench.resumed(tmp_path, dict(list(jobs.items())[:1]), facts)
    again = bench.resumed(tmp_path, jobs, facts)
    assert calls == ["a", "b,c=1"]
    assert again[0] == first[0]
    with pytest.raises(ConfigError, match="another seed: measure in a new folder"):
        bench.resumed(tmp_path, jobs, facts | {"seed": 1})


def test_unknown_methods_are_refused(tool, tmp_path, capsys):
    with pytest.raises(SystemExit):
        tool("bench_compress").main(["--toy", "--out", str(tmp_path), "--methods", "clutser"])
    assert "no compressor is called 'clutser'" in capsys.readouterr().err


def test_utterances_depend_on_their_seed_alone(tool):
    toy = tool("toy_speech")
    one, other = (toy.Speaker(1).say(3, toy.Setting(babble=0.5), 5) for _ in range(2))
    assert torch.equal(one.sound.x, other.sound.x)
    assert one.texts == other.texts
    assert (one.sound.lengths == 2 * one.lips.lengths).all()
    fast, slow = (toy.Speaker(1).say(3, toy.Setting(speed=v), 5).seconds for v in (1.4, 0.7))
    assert fast < slow
    assert toy.Speaker(1).say(2, toy.Setting(digits=(0, 0)), 5).texts == ((), ())


def test_the_toy_bench_runs_from_end_to_end(tool, tmp_path):
    args = ["--toy", "--out", str(tmp_path), "--steps", "4", "--rows", "4"]
    args += ["--methods", "cluster", "guided", "--conditions", "clean", "silence"]
    assert tool("bench_compress").main(args) == 0
    names = {path.stem for path in tmp_path.glob("*.json")}
    assert {"none", "random", "stride", "pool", "cluster", "cluster (tuned)"} <= names
    assert "guided" not in names  # it has weights that pooling did not train
    assert "guided (tuned)" in names
    found = json.loads((tmp_path / "cluster.json").read_text())
    pool = json.loads((tmp_path / "pool.json").read_text())
    pairs = zip(found["points"], pool["points"], strict=True)
    assert all(a["tokens_per_second"] == b["tokens_per_second"] for a, b in pairs)
    assert (tmp_path / "av_clean.svg").read_text().startswith("<svg")
    assert "| cluster |" in (tmp_path / "README.md").read_text()


@pytest.mark.slow
def test_the_toy_makes_its_curves_within_a_minute(tool, tmp_path):
    """And they are curves: more tokens read better, and chance reads worst."""
    args = ["--toy", "--out", str(tmp_path), "--rows", "60", "--conditions", "clean"]
    began = time.process_time()
    assert tool("bench_compress").main([*args, "--methods", "cluster"]) == 0
    assert time.process_time() - began < 60
    figures = tool("compress_figures")
    runs = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    curve = [error for _, error in figures.curve(runs["pool"], "av", "clean").xy]
    assert curve[-1] < 30
    assert curve[-1] < curve[0]
    areas = {n: figures.area(figures.curve(run, "av", "clean").xy) for n, run in runs.items()}
    assert areas["pool"] < areas["random"]
    assert areas["cluster"] < areas["random"]
