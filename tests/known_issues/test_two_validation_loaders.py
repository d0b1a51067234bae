"""Two held-out corpora are two loaders, whose number Lightning passes to each step that takes it.

`validation_step` took none, so Lightning refused to validate more than one corpus.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

CORPORA = ("tones", "hums")
RATES = ("a4v0", "a16v0")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Tiny LLM, towers and the manifest of the first corpus."""
    from tests.avsr.train.folders import write_home

    return write_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def manifests(home: Any) -> dict[str, Path]:
    """A manifest for each corpus; the second has other clips, of which there are more."""
    from tests.avsr.train.folders import write_manifest

    counts = {"train": 1, "validation": 5, "test": 4}
    return {"tones": home.manifest, "hums": write_manifest(home.folder / "hums", counts, "hums")}


@pytest.fixture
def run(home: Any, manifests: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run one subcommand of `avsr train` with both corpora held out; return its folder."""
    from avsr.cli import main

    def command(name: str) -> Path:
        recipe: Path = home.recipe(f"two_{name}")
        text = yaml.safe_load(recipe.read_text())
        text["data"]["held_out"] = [{"manifest": str(m)} for m in manifests.values()]
        recipe.write_text(yaml.safe_dump(text))
        monkeypatch.chdir(recipe.parent)
        assert main(["train", name, "-c", str(recipe)]) == 0
        return recipe.parent

    return command


def logged(folder: Path) -> dict[str, float]:
    """The last figure of each name in a run's log."""
    (path,) = folder.rglob("metrics.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {k: float(v) for row in rows for k, v in row.items() if v and "/" in k}


def clips(manifest: Path, split: str) -> dict[str, str]:
    rows = map(json.loads, manifest.read_text().splitlines())
    return {row["id"]: row["text"] for row in rows if row["split"] == split}


def test_each_corpus_is_validated_under_its_own_name(
    run: Any, manifests: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from avsr.train.module import AvsrTask

    seen: list[tuple[int, str]] = []
    step = AvsrTask.validation_step

    def noted(self: Any, batch: Any, index: int, dataloader_idx: int = 0) -> None:
        seen.extend((dataloader_idx, item.corpus) for item in batch.items)
        step(self, batch, index, dataloader_idx)

    monkeypatch.setattr(AvsrTask, "validation_step", noted)
    found = logged(run("validate"))
    by_corpus = [f"val/{corpus}/{rates}" for corpus in CORPORA for rates in RATES]
    assert sorted(found) == sorted(["val/wer", *by_corpus])
    assert found["val/wer"] == pytest.approx(sum(found[name] for name in by_corpus) / 4)
    assert sorted(seen) == [(0, "tones")] * 3 + [(1, "hums")] * 5


def test_a_test_scores_what_a_prediction_writes(run: Any, manifests: dict[str, Path]) -> None:
    from avsr.score import score

    lines = (run("predict") / "predictions.jsonl").read_text().splitlines()
    said = [json.loads(line) for line in lines]
    found = logged(run("test"))
    for corpus, manifest in manifests.items():
        truth = clips(manifest, "test")
        for rates in RATES:
            own = [line for line in said if line["view"] == f"{corpus}/{rates}"]
            assert {line["clip"]: line["reference"] for line in own} == truth
            assert len(own) == len(truth)
            wer = score(
                [line["reference"] for line in own], [line["text"] for line in own], samples=0
            ).wer
            assert found[f"test/{corpus}/{rates}"] == pytest.approx(wer)
    assert len(said) == len(RATES) * (2 + 4)
    assert any(line["text"] for line in said)  # an empty hypothesis each would prove little
