"""Losses on validation clips: measured once a run, paired by clip, and no test clip among them."""

import json

import numpy as np
import pytest

from tests.tools.comparison import report


def trained(tool, suite, cache):
    """Places whose trainings are said to have ended."""
    places = [tool("compare_train").Place(suite, run, cache) for run in suite.runs()]
    for place in places:
        place.folder.mkdir(parents=True)
        (place.folder / "done.json").write_text(json.dumps({"recipe": place.digest}))
    return places


def test_every_run_is_measured_once_and_told_on_the_page(tool, tiny, tmp_path):
    module = tool("compare_losses")
    places = trained(tool, tiny, tmp_path / "c")
    calls = []

    def measured(place):
        calls.append(place.run.name)
        shift = len(place.run.line.name) / 10 + place.run.seed
        return {clip: [shift + k, shift + k + 1] for k, clip in enumerate("abcd")}

    for _ in range(2):
        path = module.losses(tiny, places, tmp_path, measured=measured, said=lambda line: None)
    assert calls == [place.run.name for place in places]
    found = module.read_losses(path)
    assert found["slow-s0"]["losses"] == pytest.approx({"a": 0.9, "b": 1.9, "c": 2.9, "d": 3.9})
    rows = module.loss_rows(found, "mome-layer")
    assert rows["mome-layer"][1] is None
    own, apart = rows["mtsk-ss"]
    assert own.value == pytest.approx(0.7 + 0.5 + 1.5)
    assert (apart.value, apart.low, apart.high) == pytest.approx((-0.3, -0.3, -0.3))
    page = tool("compare_page").page(tiny, [report("mtsk-ss", [1, 1, 1])], losses=found)
    assert "| SS | 1 | 2.700 (" in page["README.md"]
    assert "| -0.300 (-0.300 to -0.300) |" in page["README.md"]


def test_another_recipe_is_measured_anew_and_what_is_not_trained_is_left(tool, tiny, tmp_path):
    module = tool("compare_losses")
    places = trained(tool, tiny, tmp_path / "c")
    (places[0].folder / "done.json").unlink()
    path = module.losses(
        tiny, places, tmp_path, measured=lambda place: {"a": [1.0]}, said=lambda line: None
    )
    found = module.read_losses(path)
    assert places[0].run.name not in found
    found[places[1].run.name]["recipe"] = "another"
    path.write_text(json.dumps({"runs": found}))
    calls = []
    module.losses(
        tiny,
        places,
        tmp_path,
        measured=lambda place: calls.append(place.run.name) or {"a": [2.0]},
        said=lambda line: None,
    )
    assert calls == [places[1].run.name]


def test_seeds_that_one_method_lacks_do_not_count_in_a_difference(tool):
    module = tool("compare_losses")
    rng = np.random.default_rng(0)
    base = [dict(zip("abc", rng.random(3).tolist(), strict=True)) for _ in range(2)]
    ours = {clip: value + 1 for clip, value in base[1].items()}
    found = {
        "m-s0": {"method": "m", "seed": 0, "losses": base[0]},
        "m-s1": {"method": "m", "seed": 1, "losses": base[1]},
        "n-s1": {"method": "n", "seed": 1, "losses": ours},
    }
    apart = module.loss_rows(found, "m")["n"][1]
    assert (apart.low, apart.value, apart.high) == pytest.approx((1.0, 1.0, 1.0))
