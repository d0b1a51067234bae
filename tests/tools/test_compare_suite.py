"""A suite that makes no runs, or cannot be evaluated, is refused before anything is trained."""

import json

import pytest
import yaml

from avsr.errors import ConfigError
from tests.tools.comparison import write_suite


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "moem"}, "learning_rates name"),
        ({"colour": 1}, "colour"),
        ({"seeds": 3}, "seeds of a run"),
        ({"longer": 0}, "longer.*0 does not conform"),
        ({"cost": -8}, "cost.*-8 does not conform"),
        ({"seeds": "many"}, "seeds.*many"),
        ({"title": None}, "title"),
        ({"set": ["mome"]}, "set.*mome"),
        ({"same_as": "nothing"}, "same_as name"),
        ({"same_as": "one"}, "same_as name"),
        ({"set": {"model": {"model": {"mome": {"top_k": 9}}}}}, "top_k=9"),
        ({"set": {"model": {"model": {"method": "moem"}}}}, "unknown method 'moem'"),
        ({"set": {"model": {"schedule": {"warmup": -1}}}}, "warmup"),
        ({"set": {"model": {"objective": {"ctc": 1, "ctc_rates": ["audio_8"]}}}}, "audio_8"),
        ({"set": {"model": {"model": {"audio_rates": 4}}}}, "audio_rates"),
    ],
    ids=str,
)
def test_suites_that_make_no_run_are_refused_at_once(tool, home, tmp_path, change, message):
    recipe = yaml.safe_load(home.recipe("base").read_text())
    runs = {"one": {"title": "One", "kind": "mome", **change}}
    path = write_suite(tmp_path / "wrong.yaml", recipe, runs=runs, baselines=["one"])
    with pytest.raises(ConfigError, match=message):
        tool("compare_suite").read_suite(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": None}, "steps"),
        ({"steps": 0}, "steps.*0 does not conform"),
        ({"seeds": []}, "its seeds and seeds of a run name"),
        ({"seeds": [0, 0]}, "its seeds name"),
        ({"seeds": [-1]}, "seeds.*-1"),
        ({"learning_rates": {"mome": {"lr": "fast", "how": "?"}}}, "lr.*fast"),
        ({"learning_rates": {"mome": {"lr": -1, "how": "?"}}}, "lr.*-1"),
        ({"learning_rates": {"mome": 0.01}}, "learning_rates.*0.01"),
        ({"runs": {"one": None}}, "runs"),
        ({"runs": []}, "runs"),
        ({"baselines": []}, "its baselines name"),
        ({"baselines": ["mtsk"]}, "its baselines name"),
        ({"notes": [3]}, "notes"),
        ({"guess": {}}, "guess"),
        ({"evaluation": {}}, "evaluation"),
        ({"recipe": {}}, "the recipe lacks a part"),
        ({"recipe": {"model": {"model": {}, "objective": {}}}}, "the recipe lacks a part"),
        ({"colour": 1}, "colour"),
    ],
    ids=str,
)
def test_files_that_are_no_suite_are_refused_at_once(tool, home, tmp_path, change, message):
    recipe = yaml.safe_load(home.recipe("base").read_text())
    path = write_suite(tmp_path / "wrong.yaml", recipe, **change)
    with pytest.raises(ConfigError, match=message):
        tool("compare_suite").read_suite(path)
    path.write_text("")
    assert tool("compare").main(["--suite", str(path), "--dry-run"]) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corpus": "none"}, "no clip to evaluate on"),
        ({"noise": "gone.wav"}, "no such noise"),
        ({"noise": None}, "does not go with"),
        ({"snrs": ["clean"]}, "does not go with"),
        ({"noise": "{train}"}, "every training hears this noise"),
    ],
    ids=str,
)
def test_an_evaluation_that_cannot_be_made_is_refused_before_the_training(
    tool, home, tmp_path, change, message
):
    (tmp_path / "noise").mkdir()
    listed = [{"id": s, "audio_filepath": f"noise/{s}.wav", "split": s} for s in ("train", "test")]
    for row in listed:
        (tmp_path / row["audio_filepath"]).write_bytes(b"")
    manifest = tmp_path / "noise" / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in listed))
    recipe = yaml.safe_load(home.recipe("base").read_text())
    recipe["data"]["noise"] = str(manifest)
    told = yaml.safe_load(write_suite(tmp_path / "s.yaml", recipe).read_text())["evaluation"]
    told["noise"] = str(tmp_path / "noise" / "test.wav")
    check, read = tool("compare_eval").check_evaluation, tool("compare_suite").read_suite
    check(read(write_suite(tmp_path / "s.yaml", recipe, evaluation=told)))
    if change.get("noise") == "{train}":
        change = {"noise": str(tmp_path / "noise" / "train.wav")}
    path = write_suite(tmp_path / "s.yaml", recipe, evaluation={**told, **change})
    with pytest.raises(ConfigError, match=message):
        check(read(path))
    words = ["--suite", str(path), "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "c")]
    assert tool("compare").main(words) == 1
    assert not (tmp_path / "c").exists()


def test_no_steps_are_refused(tool, tiny, tmp_path):
    with pytest.raises(ConfigError, match="0 steps"):
        tool("compare_suite").read_suite(tmp_path / "tiny.yaml", steps=0)
    with pytest.raises(SystemExit):
        tool("compare").main(["--steps", "0"])


def test_unknown_suites_and_runs_are_refused_by_name(tool, tiny):
    with pytest.raises(ConfigError, match=r"There are .*grid"):
        tool("compare_suite").read_suite("gird")
    with pytest.raises(ConfigError, match=r"mome-lyaer.*mome-layer-s1"):
        tiny.runs(["mome-lyaer"])
    assert [run.name for run in tiny.runs(["mome-layer"])] == ["mome-layer-s0", "mome-layer-s1"]
    assert [run.name for run in tiny.runs(["mome-layer-s1"])] == ["mome-layer-s1"]
