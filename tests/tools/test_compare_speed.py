"""Methods are timed turn about, on the same clips, tasks and rates; a page tells of it."""

import json

import pytest
import torch

from avsr.errors import ConfigError
from tests.tools.comparison import report


def test_methods_take_turns_and_the_page_tells_their_times(tool, tiny, tmp_path):
    speed = tool("compare_speed").speed
    path = speed(tiny, ["mome-layer"], tmp_path, repeats=2, clips=2, said=lambda line: None)
    told = json.loads(path.read_text())
    assert list(told["methods"]) == ["mome-layer", "mtsk-ss"]
    assert told["base"] == "mtsk-ss"
    for times in told["methods"].values():
        assert times["step"]["seconds"] > 0
        assert times["token"]["seconds"] > 0
        assert times["rounds"] == 2
        assert times["clips"] == 2
    for kind in ("step", "token"):
        assert told["methods"]["mtsk-ss"][kind]["ratio"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    pages, figures = tool("compare_page"), tool("compare_figures")
    speeds = figures.read_speeds(figures.speeds_path(tmp_path, "tiny"))
    text = pages.page(tiny, [report("mtsk-ss", [1, 1, 1])], speeds)["README.md"]
    assert "1.00 (1.00 to 1.00)" in text
    assert "2 rounds of 2 clips" in text


def test_what_is_not_named_keeps_its_times(tool, tiny, tmp_path):
    speed = tool("compare_speed").speed
    first = speed(tiny, ["mome-layer"], tmp_path, repeats=1, clips=2, said=lambda line: None)
    before = json.loads(first.read_text())["methods"]["mome-layer"]
    again = speed(tiny, ["slow"], tmp_path, repeats=1, clips=2, said=lambda line: None)
    after = json.loads(again.read_text())["methods"]
    assert after["mome-layer"] == before
    assert set(after) == {"mome-layer", "mtsk-ss", "slow"}


def test_every_method_meets_the_same_draws(tool, tiny):
    speed = tool("compare_speed")
    drawn = []
    for name in ("mome-layer", "mtsk-ss"):
        [line] = [line for line in tiny.lines if line.name == name]
        task = speed.made(tiny, line)
        batch = speed.made_up(task, 2)
        seen = []
        views = task.views
        task.views = lambda batch, views=views, seen=seen: seen.append(views(batch)) or seen[-1]
        step = speed.learner(task, batch, task.configure_optimizers()["optimizer"])
        before = [p.detach().clone() for p in task.parameters() if p.requires_grad]
        for _ in range(4):
            step()
        after = [p for p in task.parameters() if p.requires_grad]
        assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
        drawn.append(seen)
    assert drawn[0] == drawn[1]
    assert len({str(views) for views in drawn[0]}) > 1


def test_every_method_writes_as_many_tokens(tool, tiny):
    speed = tool("compare_speed")
    for line in tiny.lines:
        task = speed.made(tiny, line)
        head, eos = task.model.llm.get_output_embeddings(), task.model.tokenizer.eos_id
        head.register_forward_hook(  # a model that would end at once
            lambda head, given, logits, eos=eos: logits.index_fill(-1, torch.tensor([eos]), 1e9)
        )
        before = dict(head._forward_hooks)
        assert speed.writer(task, speed.made_up(task, 3))() == 3 * speed.WRITTEN
        assert dict(head._forward_hooks) == before


def test_no_round_is_refused(tool, tiny, tmp_path):
    with pytest.raises(ConfigError, match="at least one round, got 0"):
        tool("compare_speed").speed(tiny, [], tmp_path, repeats=0)
