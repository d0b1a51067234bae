"""The recipes of LRS2 and LRS3 say what the paper says."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
PAPER = sorted(p for name in ("lrs2", "lrs3") for p in (ROOT / "recipes" / name).glob("*.yaml"))


def test_the_papers_settings_are_in_the_recipes():
    import yaml

    assert [f"{p.parent.name}/{p.stem}" for p in PAPER] == [
        f"{name}/{place}" for name in ("lrs2", "lrs3") for place in ("ffn", "layer", "mhsa")
    ]
    for path in PAPER:
        told = yaml.safe_load(path.read_text())
        model, lrs2 = told["model"]["model"], path.parent.name == "lrs2"
        assert model["mome"] == {"routed": 23, "shared": 1, "top_k": 4, "rank": 12 if lrs2 else 8,
                                 "placement": path.stem}  # fmt: skip
        assert model["language_model"] == f"meta-llama/Llama-3.2-{3 if lrs2 else 1}B"
        assert (model["audio_rates"], model["video_rates"]) == ([4, 16], [2, 5])
        assert told["model"]["objective"] == {
            "matryoshka": "all", "tasks": {"av": 1.0}, "balance": 0.01}  # fmt: skip
        levels = told["data"]["train"][0]["variants"][1]["damage"][0]["levels"]
        assert levels == [-5, 0, 5, 10, 15, 20, None]


def test_placements_differ_in_the_placement_alone():
    for name in ("lrs2", "lrs3"):
        folder = ROOT / "recipes" / name
        layer = (folder / "layer.yaml").read_text()
        for place in ("mhsa", "ffn"):
            told = (folder / f"{place}.yaml").read_text()
            assert told.replace(place, "layer").replace(place.upper(), "LAYER") == layer
