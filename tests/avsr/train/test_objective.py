"""What an objective refuses before anything loads, and what weights of rate pairs do."""

import re

import pytest
import torch

from avsr.cli import main
from avsr.rates import Rates
from avsr.train.module import AvsrTask
from avsr.train.objective import Objective, Schedule
from avsr.views import View
from tests.avsr.train.test_ddp import part

NAN = float("nan")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"matryoshka": "some"}, "matryoshka='some'"),
        ({"tasks": {}}, "tasks must be of"),
        ({"tasks": {"x": 1.0}}, "tasks must be of"),
        ({"tasks": {"a": 0.0}}, "tasks are all 0"),
        ({"tasks": {"a": -1.0}}, "tasks must be 0 or more, got -1"),
        ({"rate_weights": (0.0, 0.0)}, "rate_weights are all 0"),
        ({"rate_weights": (1.0, NAN)}, "got nan"),
        ({"pair_weights": {"4,2": -2.0}}, "pair_weights must be 0 or more"),
        ({"balance": -0.01}, "got -0.01"),
        ({"balance": NAN}, "got nan"),
        ({"ctc": float("inf")}, "got inf"),
        ({"distil": 1.0}, 'mode "all"'),
        ({"ctc": 0.5}, "ctc=0.5 aligns no projector"),
        ({"distil": -1.0, "matryoshka": "all"}, "got -1.0"),
        ({"slips": 2.0}, "slips=2.0 is a chance"),
        ({"misled": -0.1}, "misled=-0.1 is a chance"),
        ({"misled": 0.1, "matryoshka": "all"}, "misled: nothing is drawn"),
        ({"rate_weights": (1.0, 2.0), "matryoshka": "all"}, "rate_weights: nothing is drawn"),
    ],
)
def test_what_cannot_be_minimised_is_refused(given, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        Objective(**given)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"rate_weights": (1.0,)}, "rate_weights are 1, the audio rates 2"),
        ({"sound_rate_weights": (1.0, 1.0, 1.0)}, "sound_rate_weights are 3, the audio rates 2"),
        ({"pair_weights": {"4,3": 1.0}}, "the model has no ['4,3'], but 4,none, 16,none"),
        ({"ctc_rates": ("audio_7",)}, "the model has no ['audio_7'], but audio_4"),
        ({"pair_weights": dict.fromkeys(["4,none", "16,none"], 0)}, "task a has a chance"),
        ({"pair_weights": {"4,2": 0, "4,5": 0}, "rate_weights": (1.0, 0.0)}, "task av has"),
        ({"pair_weights": {"4,none": 0}, "sound_rate_weights": (1.0, 0.0)}, "sound_rate_weights"),
    ],
)
def test_what_the_model_has_not_is_refused(home, given, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        Objective(**given).check(home.config())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--model.model.mome.top_k", "99"], "top_k=99 must lie between 1 and routed="),
        (["--model.model.mome.rank", "0"], "rank=0"),
        (["--model.objective.balance", "-0.01"], "got -0.01"),
        (["--model.objective.distil", "1"], 'mode "all"'),
        (["--model.objective.rate_weights", "[1.0]"], "the audio rates 2"),
    ],
)
def test_a_wrong_recipe_is_an_error_of_a_line(home, capsys, words, told):
    code = main(["train", "fit", "-c", str(home.recipe("wrong")), *words])
    said = capsys.readouterr().err
    assert code == 1
    assert told in said
    assert "Traceback" not in said


def test_pair_weights_weigh_the_loss_where_all_is_read_and_the_chance_where_one_is(home):
    weights = {"4,2": 3.0, "4,5": 0.0, "16,2": 0.0, "16,5": 0.0}
    whole = {pair: int(weight) for pair, weight in weights.items()}  # as YAML may have it
    sampled = Objective(tasks={"av": 1.0}, pair_weights=whole, rate_weights=(0.7, 1.3))
    drawn = AvsrTask(home.config(), sampled, dtype="float32")
    batch = part([0, 1], lips=2)
    views = {v.rates for d in range(20) for v in drawn.views(part([0, 1], lips=2, draw=d))}
    assert views == {Rates(4, 2)}
    every = Objective("all", tasks={"av": 1.0}, pair_weights=weights, balance=0.0)
    task = AvsrTask(home.config(), every, dtype="float32").eval()
    task.log = lambda *_, **__: None
    total = task.training_step(batch, 0)
    finest = [View(row, Rates(4, 2)) for row in range(2)]
    with torch.no_grad():
        alone = task.model(batch.features, finest, batch.texts, balance=0.0).text
    torch.testing.assert_close(total.detach(), alone * 3 / 4, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "given",
    [
        {"lr": NAN},
        {"lr": 0.0},
        {"projector_lr": -1e-3},
        {"weight_decay": -0.1},
        {"warmup": -5},
        {"steps": 0},
        {"floor": 2.0},
    ],
    ids=str,
)
def test_numbers_that_make_no_schedule_are_refused(given):
    with pytest.raises(ValueError, match=next(iter(given))):
        Schedule(**given)


def test_a_task_that_is_not_wanted_may_have_no_weight(home):
    weights = dict.fromkeys(["4,none", "16,none"], 0)
    Objective(tasks={"a": 0.0, "av": 1.0}, pair_weights=weights).check(home.config())
    Objective(pair_weights={"16,5": 0}).check(home.config())


def test_what_a_model_cannot_do_is_not_asked_of_it(home):
    deaf = home.config(audio_rates=())
    with pytest.raises(ValueError, match=r"tasks a, av are wanted of a model of audio_rates=\(\)"):
        Objective(tasks={"a": 1.0, "av": 1.0}).check(deaf)
    Objective().check(deaf)  # reads lips
    one = home.config(audio_rates=(4,), video_rates=(2,))
    with pytest.raises(ValueError, match="distil needs a finer view"):
        Objective("all", distil=1.0).check(one)
    views = AvsrTask(deaf, Objective(), dtype="float32").views(part([0, 1], lips=1))
    assert [view.row for view in views] == [0]


def test_an_alignment_of_nothing_is_refused(home):
    for given, told in (({}, "align_only trains the projectors"), ({"ctc": 0.1}, "aligns no")):
        with pytest.raises(ValueError, match=told):
            AvsrTask(home.config(), Objective(**given), align_only="yes", dtype="float32")
