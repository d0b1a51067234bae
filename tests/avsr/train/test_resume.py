"""A run killed with SIGKILL and resumed ends as one that was never stopped, to the last bit."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

ROOT = Path(__file__).parents[3]
FIT = [sys.executable, "-m", "avsr", "train", "fit", "-c"]


def fit(recipe, *words, **settings):
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(
        [*FIT, str(recipe), *words],
        env={**env, "OMP_NUM_THREADS": "1"},
        cwd=recipe.parent,
        capture_output=True,
        text=True,
        timeout=300,
        **settings,
    )
    return done


def diary(recipe):
    lines = (recipe.parent / "diary.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def steps(recipe):
    return [line for line in diary(recipe) if "step" in line]


class Stop(Exception):
    """What ends a run in this process, as SIGKILL does in another."""


def test_a_stopped_run_goes_on_in_this_process(home, monkeypatch):
    from avsr.cli import main
    from tests.avsr.train.diary import Diary

    die_at = 5

    def run(name, *words):
        recipe = home.recipe(f"{name}{die_at}", limit_val_batches=0)
        monkeypatch.chdir(recipe.parent)
        main(["train", "fit", "-c", str(recipe), *words])
        return recipe

    def stop(self, trainer, *_):
        if trainer.global_step == die_at:
            raise Stop

    with torch.random.fork_rng(devices=[]):
        whole = run("here_whole")
        with monkeypatch.context() as patch:
            patch.setattr(Diary, "on_train_batch_end", stop)
            with pytest.raises(Stop):
                run("here_broken")
        broken = run("here_broken", "--ckpt_path", "last")
    told, before = steps(broken), die_at
    assert told[before]["step"] == die_at - die_at % 2
    assert told[: told[before]["step"]] + told[before:] == steps(whole)
    same_weights(broken, whole)


def same_weights(one, other):
    state, truth = (load_file(r.parent / "end.safetensors") for r in (one, other))
    assert state.keys() == truth.keys()
    assert all(torch.equal(state[key], truth[key]) for key in truth)


@pytest.mark.slow
@pytest.mark.parametrize("die_at", [5, 11])  # in the first epoch, and in a later one
def test_a_killed_run_goes_on_as_if_nothing_had_happened(home, die_at):
    whole, broken = home.recipe(f"whole{die_at}"), home.recipe(f"broken{die_at}")
    done = fit(whole)
    assert done.returncode == 0, done.stderr
    recipe = yaml.safe_load(broken.read_text())
    recipe["trainer"]["callbacks"][1]["init_args"]["die_at"] = die_at
    broken.with_name("dies.yaml").write_text(yaml.safe_dump(recipe))
    done = fit(broken.with_name("dies.yaml"))
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (broken.parent / "last.ckpt").exists()
    before = len(steps(broken))
    done = fit(broken, "--ckpt_path", "last")
    assert done.returncode == 0, done.stderr
    told = steps(broken)
    resumed = told[before]["step"]
    assert resumed == die_at - die_at % 2  # the last checkpoint
    assert told[:resumed] + told[before:] == steps(whole)
    same_weights(broken, whole)
