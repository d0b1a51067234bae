"""`bench_compress.py --toy` without `--out` wrote into the repository's results and died of them.

It took the committed runs of the default model for its own, and found no command in them. In a
folder of its own it went on with a toy of other steps, rows or conditions without a word.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from avsr.errors import ConfigError

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    import bench_compress

    return bench_compress


@pytest.fixture
def toy(bench, monkeypatch, tmp_path):
    """Folders of the toys so far; nothing is said and nothing trained."""
    import bench_toy

    made = []

    def jobs(self, names, trained):
        made.append(self.folder)
        return {"pool": lambda: {"points": [], "timing": {"compressor": 0.1, "model": 0.1}}}

    monkeypatch.setattr(bench_toy, "Speaker", lambda seed: SimpleNamespace(say=lambda *how: None))
    monkeypatch.setattr(bench_toy.Bench, "jobs", jobs)
    monkeypatch.chdir(tmp_path)
    return made


def test_a_toy_has_a_folder_of_its_own(bench, toy, tmp_path):
    assert bench.main(["--toy"]) == 0
    assert [folder.resolve() for folder in toy] == [tmp_path / ".cache" / "toy"]
    assert (tmp_path / ".cache" / "toy" / "pool.json").is_file()
    assert bench._parsed(["--model", "default"]).out == bench.RESULTS


def test_the_results_are_no_place_for_it(bench, toy, capsys):
    with pytest.raises(SystemExit):
        bench.main(["--toy", "--out", str(bench.RESULTS)])
    assert "no place for a toy" in capsys.readouterr().err
    assert toy == []


@pytest.mark.parametrize("other", [["--steps", "9"], ["--rows", "7"], ["--conditions", "clean"]])
def test_another_toy_does_not_go_on_there(bench, toy, other):
    assert bench.main(["--toy"]) == 0
    assert bench.main(["--toy"]) == 0  # the same one does
    with pytest.raises(ConfigError, match="another toy: measure in a new folder"):
        bench.main(["--toy", *other])


def test_figures_of_a_trained_model_are_not_its_own(bench, toy, tmp_path):
    folder = tmp_path / "real"
    folder.mkdir()
    run = json.loads((bench.RESULTS / "pool.json").read_text(encoding="utf-8"))
    (folder / "pool.json").write_text(json.dumps(run), encoding="utf-8")
    with pytest.raises(ConfigError, match="another toy"):
        bench.main(["--toy", "--out", str(folder)])


def test_a_model_trained_for_fewer_steps_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    import bench_toy

    trained = []
    monkeypatch.setattr(bench_toy, "train", lambda *args, steps, **more: trained.append(steps))
    for steps in (2, 2, 3):
        bench_toy.Bench(tmp_path, steps=steps, rows=1, seed=0, conditions=["clean"])._reader()
    assert trained == [2, 3]
