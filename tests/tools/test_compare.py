"""A comparison trains what is missing, once, in the time there is, and chooses by validation."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from avsr.cli import main as avsr_main
from avsr.config import AvsrConfig
from avsr.errors import AvsrError, ConfigError
from avsr.start import Start
from tests.tools.comparison import write_suite

GRID = Path(__file__).parents[2] / "recipes" / "results" / "suites" / "grid.yaml"
LINES = sorted(yaml.safe_load(GRID.read_text())["runs"])


def places(tool, suite, cache, only=()):
    return [tool("compare_train").Place(suite, run, cache) for run in suite.runs(only)]


class Fits:
    """Trains nothing, and leaves what a training leaves."""

    def __init__(self, clock=None, steps=2, status=0):
        self.calls, self.clock, self.steps, self.status = [], clock, steps, status

    def __call__(self, words, log):
        self.calls.append((Path(words[1]).parent.name, list(words[2:])))
        timer = {"Timer": {"time_elapsed": {"train": 6.0}}}
        state = {"global_step": self.steps, "callbacks": timer}
        torch.save(state, log.parent / "last.ckpt")
        if self.clock is not None:
            self.clock.now += 60.0
        return self.status


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def evaluated(tool):
    """Instead of an evaluation: a report without rows."""

    def make(place, *, memory, command, said):
        told = place.suite.data["evaluation"]
        facts = {**told, "clips": 3, "failed": 0, "seconds": 30.0}
        head = tool("compare_eval").head(place, command)
        sizes = {"active": 1, "stored": 2, "projectors": 3}
        return {
            **head,
            "training": place.facts,
            "parameters": sizes,
            "evaluation": facts,
            "ids": [],
            "rows": [],
        }

    return make


@pytest.mark.parametrize("name", LINES)
def test_every_run_of_the_grid_suite_is_a_recipe_that_the_command_takes(
    tool, tmp_path, capsys, name
):
    suite = tool("compare_suite").read_suite("grid")
    [line] = [line for line in suite.lines if line.name == name]
    if line.same_as is not None:
        assert not [run for run in suite.runs() if run.line is line]
        return
    run = suite.runs([name])[-1]
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(suite.recipe(run, tmp_path)))
    try:
        code = avsr_main(["train", "fit", "-c", str(path), "--print_config"])
    except SystemExit as end:
        code = end.code
    out, err = capsys.readouterr()
    assert code in (0, None), err
    told, given = yaml.safe_load(out), yaml.safe_load(path.read_text())
    steps = told["trainer"]["max_steps"]
    assert steps == told["model"]["schedule"]["steps"] == 150 * line.longer
    assert told["model"]["schedule"]["lr"] == suite.learning_rate(line)
    assert told["model"]["seed"] == told["seed_everything"] == run.seed
    for key, value in given["model"]["objective"].items():
        assert told["model"]["objective"][key] == value
    config = AvsrConfig.from_dict(told["model"]["model"])
    assert config == AvsrConfig.from_dict(given["model"]["model"])
    if line.fixed:
        assert config.audio_rates == (16,)
        assert config.video_rates == (5,)
        assert told["model"]["objective"]["ctc_rates"] == ["audio_16", "video_5"]
    else:
        assert len(config.scales) == 8


def _steps(recipes):
    for recipe in recipes:
        assert recipe["trainer"]["max_steps"] == recipe["model"]["schedule"]["steps"]
        yield recipe["trainer"]["max_steps"]


def test_all_runs_meet_the_same_clips_for_as_many_steps(tool):
    suite = tool("compare_suite").read_suite("grid")
    recipes = [suite.recipe(run, ".") for run in suite.runs()]
    assert len({json.dumps(r["data"]) for r in recipes}) == 1
    longer = {run.line.name: n for run, n in zip(suite.runs(), _steps(recipes), strict=True)}
    assert {name for name, steps in longer.items() if steps != 150} == {"mome-longer"}
    assert longer["mome-longer"] == 8 * 150  # the rates that mome-all reads in a step
    mixed = yaml.safe_load((GRID.parents[2] / "mixed" / "fit.yaml").read_text())["data"]
    data = recipes[0]["data"]
    assert [data[k] for k in ("noise", "babble", "cache")] == [
        mixed[k] for k in ("noise", "babble", "cache")
    ]
    assert data["train"][0]["variants"] == mixed["train"][1]["variants"]
    assert mixed.get("seed", 0) == data["seed"] == 0
    counts = {}
    for run in suite.runs():
        counts[run.line.name] = counts.get(run.line.name, 0) + 1
    assert {n for n, count in counts.items() if count == 3} == {"mome-layer", "dense", "mtsk-ss"}
    assert {n for n, count in counts.items() if count == 4} == {"lora", "mome-i"}
    longest = [run.line.name for run in suite.runs()[-3:]]
    assert longest == ["mome-all", "mome-longer", "mome-distil"]  # they do not keep others waiting


def test_nothing_is_trained_twice(tool, tiny, tmp_path):
    compare, fits = tool("compare").compare, Fits()
    runs = places(tool, tiny, tmp_path / "cache")
    words = {"run_fit": fits, "evaluated": evaluated(tool), "said": lambda line: None}
    assert compare(tiny, runs, tmp_path / "out", **words) == []
    assert [name for name, _ in fits.calls] == [run.name for run in tiny.runs()]
    assert all(words == [] for _, words in fits.calls)
    assert compare(tiny, runs, tmp_path / "out", **words) == []
    assert len(fits.calls) == 4
    (tmp_path / "out" / "slow-s0.json").unlink()  # evaluated again, not trained
    assert compare(tiny, runs, tmp_path / "out", **words) == []
    assert len(fits.calls) == 4
    assert (tmp_path / "out" / "slow-s0.json").exists()
    done = json.loads((tmp_path / "cache/tiny/slow-s0/done.json").read_text())
    assert done["seconds_per_step"] == 3.0
    assert "not run yet" in (tmp_path / "out" / "README.md").read_text()


def test_a_killed_run_goes_on_and_another_is_not_taken_for_it(tool, tiny, tmp_path):
    train = tool("compare_train")
    [place] = places(tool, tiny, tmp_path, ["mtsk-ss"])
    broken = Fits(steps=1, status=1)
    with pytest.raises(AvsrError, match="training failed"):
        train.train(place, clock=Clock(), run_fit=broken)
    assert (place.facts, place.steps_done) == (None, 1)
    whole = Fits()
    train.train(place, clock=Clock(), run_fit=whole)
    assert whole.calls == [("mtsk-ss-s0", ["--ckpt_path", "last"])]
    assert place.facts["resumed"]
    longer = tool("compare_suite").read_suite(tmp_path / "tiny.yaml", steps=4)
    [other] = places(tool, longer, tmp_path, ["mtsk-ss"])
    assert other.facts is None
    with pytest.raises(ConfigError, match="other settings"):
        train.train(other, clock=Clock(), run_fit=whole)


def test_a_failed_run_does_not_keep_the_others_from_theirs(tool, tiny, tmp_path):
    fits = Fits()

    def some(words, log):
        return fits(words, log) or int("mome-layer-s0" in words[1])

    said = []
    left = tool("compare").compare(
        tiny,
        places(tool, tiny, tmp_path / "cache"),
        tmp_path / "out",
        run_fit=some,
        evaluated=evaluated(tool),
        said=said.append,
    )
    assert left == ["mome-layer-s0"]
    assert len(fits.calls) == 4
    assert any("mome-layer-s0: error: " in line for line in said)


def test_a_report_of_other_clips_keeps_no_run_from_its_training(tool, tiny, tmp_path):
    """The page is refused, and what was trained and measured is kept."""
    fits, told, said = Fits(), evaluated(tool), []

    def moved(place, **words):
        return {**told(place, **words), "ids": [place.run.name[-1]]}

    left = tool("compare").compare(
        tiny,
        places(tool, tiny, tmp_path / "cache"),
        tmp_path / "out",
        run_fit=fits,
        evaluated=moved,
        said=said.append,
    )
    assert left == []
    assert len(fits.calls) == len(list((tmp_path / "out").glob("*.json"))) == 4
    assert any("no page: " in line and "different clips" in line for line in said)
    words = ["--suite", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "out"), "--page"]
    assert tool("compare").main(words) == 1


def test_a_run_that_would_not_end_in_time_is_not_begun(tool, tiny, tmp_path):
    # Guessed: 10 s + 2 steps of 5 s + 100 s to evaluate = 120 s; the slow one 190 s.
    def begun(hours, name):
        clock = Clock()
        fits, folder = Fits(clock), tmp_path / f"{hours}"
        left = tool("compare").compare(
            tiny,
            places(tool, tiny, folder, [name] if name else ()),
            folder / "out",
            hours=hours,
            clock=clock,
            run_fit=fits,
            evaluated=evaluated(tool),
            said=lambda line: None,
        )
        return [name for name, _ in fits.calls], left

    assert begun(119 / 3600, "mtsk-ss") == ([], ["mtsk-ss-s0"])
    assert begun(121 / 3600, "mtsk-ss") == (["mtsk-ss-s0"], [])
    assert begun(189 / 3600, "slow") == ([], ["slow-s0"])
    assert begun(191 / 3600, "slow") == (["slow-s0"], [])
    # Each takes 60 s, of which 54 to begin, 3 a step, and 30 to evaluate: at 120 s there is no time
    # for a third, which would take 90, in 205 s.
    calls, left = begun(205 / 3600, None)
    assert calls == ["mome-layer-s0", "mtsk-ss-s0"]
    assert left == ["mome-layer-s1", "slow-s0"]


def test_a_dry_run_touches_nothing(tool, tiny, tmp_path, capsys):
    words = ["--suite", str(tmp_path / "tiny.yaml"), "--cache", str(tmp_path / "none"), "--dry-run"]
    assert tool("compare").main([*words, "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "slow-s0: 0 of 2 steps done" in told
    assert "4 runs, 0.2 hours to go" in told
    assert not (tmp_path / "none").exists()
    assert not (tmp_path / "out").exists()


def test_two_comparisons_do_not_run_at_once(tool, tmp_path):
    alone = tool("compare").alone
    with alone(tmp_path), pytest.raises(AvsrError, match="at work"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass


def test_experts_of_a_projector_start_as_the_aligned_one(tool, tmp_path):
    from avsr.projector import ProjectorConfig
    from avsr.projector_mixture import build_projector

    one, many = (ProjectorConfig(8, experts=n, top_k=min(n, 2)) for n in (1, 3))
    aligned = build_projector(4, 6, one, gain=1.0).state_dict()
    state = {f"multi_modal_projector.audio_4.{k}": v for k, v in aligned.items()}
    (tmp_path / "a").mkdir()
    save_file({**state, "prompter.markers": torch.ones(2)}, tmp_path / "a" / "model.safetensors")
    (tmp_path / "a" / "alignment.safetensors").write_bytes(b"kept")
    (tmp_path / "a" / "config.json").write_text('{"avsr_format": 1, "model": {}}')
    tool("compare_train").copy_to_experts([tmp_path / "a"], tmp_path / "b", {"experts": 3})
    assert "prompter.markers" in Start.read(tmp_path / "b").state  # a training takes it
    found = load_file(tmp_path / "b" / "model.safetensors")
    prefix = "multi_modal_projector.audio_4."
    own = {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}
    mixture = build_projector(4, 6, many, gain=1.0)
    fresh = mixture.load_state_dict(own, strict=False)
    assert fresh.missing_keys == ["router.weight"]
    assert fresh.unexpected_keys == []
    assert (tmp_path / "b" / "alignment.safetensors").read_bytes() == b"kept"
    x, mask = torch.randn(1, 5, 4), torch.ones(1, 5, dtype=torch.bool)
    plain = build_projector(4, 6, one, gain=1.0)
    plain.load_state_dict(aligned)
    torch.testing.assert_close(mixture.eval()(x, mask), plain.eval()(x, mask))


def in_process(words, log):
    with torch.random.fork_rng(devices=[]):
        return avsr_main(["train", "fit", *words])


def test_a_run_is_trained_and_evaluated_as_by_hand(tool, home, tmp_path, monkeypatch):
    """Two steps for real; the report's figures are those of `avsr eval`."""
    monkeypatch.chdir(tmp_path)
    noise = home.manifest.parent / "train0.wav"
    recipe = yaml.safe_load(home.recipe("base").read_text())
    told = yaml.safe_load(write_suite(tmp_path / "tiny.yaml", recipe).read_text())
    told["evaluation"]["noise"] = str(noise)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(told))
    suite = tool("compare_suite").read_suite(tmp_path / "tiny.yaml")
    runs = places(tool, suite, tmp_path / "cache", ["mtsk-ss"])
    left = tool("compare").compare(
        suite, runs, tmp_path / "out", run_fit=in_process, said=lambda line: None
    )
    assert left == []
    found = json.loads((tmp_path / "out" / "mtsk-ss-s0.json").read_text())
    assert found["training"]["seconds_per_step"] > 0
    assert found["parameters"]["stored"] == 2 * found["parameters"]["active"] > 0
    assert found["command"][-2:] == ["--only", "mtsk-ss-s0"]
    assert found["ids"] == ["test0", "test1"]
    words = [str(home.manifest), "--model", str(runs[0].model), "--split", "test"]
    words += ["--tasks", "a", "--snr=clean,0", "--noise", str(noise), "--batch-size", "2"]
    assert avsr_main(["eval", *words, "--output-json", str(tmp_path / "eval.json"), "-q"]) == 0
    truth = json.loads((tmp_path / "eval.json").read_text())["rows"]
    assert len(found["rows"]) == len(truth) == 4
    for row, same in zip(found["rows"], truth, strict=True):
        for key in ("task", "rates", "snr_db", "wer", "tokens_per_second"):
            assert row[key] == same[key]
        errors = [sum(one) for one in zip(*(row["utterances"][k] for k in "SDI"), strict=True)]
        assert errors == [clip["word_errors"] for clip in same["hypotheses"]]
        assert row["decode_tokens_per_second"] > 0
    assert "0 of 2 steps" not in "".join(tool("compare").plan(runs, tmp_path / "out", suite))


def test_a_sweep_chooses_by_validation_and_opens_no_other_held_out_clip(
    tool, home, tiny, tmp_path, monkeypatch
):
    import avsr.train.data as data

    read, get = set(), data.ClipDataset.__getitem__

    def spied(self, key):
        read.add(self.entries[key[0]][0].split)
        return get(self, key)

    opened = set()
    open_clip = data.FeatureStore.get

    def spied_store(self, item, variant):
        opened.add(item.split)
        return open_clip(self, item, variant)

    monkeypatch.setattr(data.ClipDataset, "__getitem__", spied)
    monkeypatch.setattr(data.FeatureStore, "get", spied_store)
    monkeypatch.chdir(tmp_path)
    said = []
    found = tool("compare_sweep").sweep(
        tiny,
        "mtsk-ss",
        clock=Clock(),
        out=tmp_path / "out",
        cache=tmp_path / "c",
        run_fit=in_process,
        said=said.append,
    )
    told = json.loads((tmp_path / "out" / "sweeps" / "mtsk-ss.json").read_text())
    assert told["found"] == found
    assert told["command"] == "python tools/compare.py --suite tiny --sweep mtsk-ss"
    assert [row["lr"] for row in found] == [0.01, 0.02, 0.04]
    assert len({row["loss"] for row in found}) == 3
    assert all(0 < row["loss"] < 20 for row in found)
    assert len(said) == 3
    assert read == opened == {"train", "validation"}
    assert not list((tmp_path / "c").glob("tiny/*"))  # nothing that a comparison takes for its own


def test_a_sweep_has_no_way_to_test_clips(tool, home):
    sweep = tool("compare_sweep")
    from avsr.train.data import Corpus

    data = sweep.ValidationData(train=[], held_out=[Corpus(str(home.manifest), ("tones",))])
    for split in ("test", "train"):
        with pytest.raises(ConfigError, match=f"may not open the split '{split}'"):
            data.dataset(data.held_out, split)
    with pytest.raises(ConfigError, match="'test'"):
        data.test_dataloader()
    with pytest.raises(ConfigError, match="'test'"):
        data.predict_dataloader()
    with pytest.raises(ConfigError):
        data.train_dataloader()


def test_methods_without_runs_are_not_swept(tool, tiny):
    for name in ("twin", "nothing"):
        with pytest.raises(ConfigError, match="There are mome-layer, mtsk-ss, slow"):
            tool("compare_sweep").swept(tiny, name)
