"""The study of expert use: its measures against brute force, its positions, its controls."""

import itertools
import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avsr.rates import Rates
from experts import MomeConfig
from tests import tiny

ROUTED, TOP_K = 7, 3
TEXT = "ab c"


@pytest.fixture
def model():
    """A recogniser of two rates a modality whose experts and routers have been trained."""
    model = tiny.tiny_model(
        audio_rates=(4, 16),
        video_rates=(2, 5),
        mome=MomeConfig(routed=ROUTED, top_k=TOP_K, rank=2),
    )
    tiny.awaken(model.adapter)
    return model


PAIRS = [Rates(4, None), Rates(4, 2), Rates(4, 5), Rates(16, 2), Rates(None, 5)]


def one_clip(frames=50, seed=0):
    return tiny.tiny_features((frames,), seed)


def test_reading_is_the_same_alone_and_beside_longer_ones(tool, model):
    """So padding takes part in nothing."""
    choices = tool("expert_choices")
    routers = choices.random_routers(model.adapter, 0)
    together = choices.read(model, one_clip(), PAIRS, TEXT, routers)
    for rates, beside in zip(PAIRS, together, strict=True):
        (alone,) = choices.read(model, one_clip(), [rates], TEXT, routers)
        for router, kind in itertools.product(("trained", "random"), ("audio", "text", "prompt")):
            one, other = (reading.choices[router][kind] for reading in (alone, beside))
            assert torch.equal(one.index, other.index)
            torch.testing.assert_close(one.weight, other.weight)


def test_shadow_sees_what_the_router_sees_and_changes_nothing(tool, model):
    choices = tool("expert_choices")
    own = [layer.router.detach() for layer in model.adapter.layers]
    other = choices.random_routers(model.adapter, 0)
    (reading,) = choices.read(model, one_clip(), [Rates(4, 2)], TEXT, own)
    (with_random,) = choices.read(model, one_clip(), [Rates(4, 2)], TEXT, other)
    for kind, trained in reading.choices["trained"].items():
        assert torch.equal(trained.index, reading.choices["random"][kind].index)
        assert torch.equal(trained.index, with_random.choices["trained"][kind].index)
        torch.testing.assert_close(trained.weight, reading.choices["random"][kind].weight)
    assert not torch.equal(
        with_random.choices["random"]["audio"].index, reading.choices["trained"]["audio"].index
    )
    hooks = [h for m in model.llm.modules() for h in m._forward_hooks.values()]
    assert len(hooks) == 4  # the two of each layer's MoME


def test_shadow_reads_each_row_where_its_router_reads(tool):
    """Of placement "task" the routers of lips alone read before the FFN, the others' before all."""
    mome = MomeConfig(routed=ROUTED, top_k=TOP_K, rank=2, placement="task")
    model = tiny.tiny_model(mome=mome)
    tiny.awaken(model.adapter)
    own = [layer.router.detach() for layer in model.adapter.layers]
    pairs = [Rates(4, 2), Rates(None, 2), Rates(4, None)]
    for reading in tool("expert_choices").read(model, one_clip(), pairs, TEXT, own):
        for kind, trained in reading.choices["trained"].items():
            assert torch.equal(trained.index, reading.choices["random"][kind].index), reading.rates


@pytest.mark.parametrize("placement", ["ffn", "mhsa", "layer"])
def test_shadow_reads_at_every_placement(tool, placement):
    mome = MomeConfig(routed=ROUTED, top_k=TOP_K, rank=2, placement=placement)
    model = tiny.tiny_model(mome=mome)
    tiny.awaken(model.adapter)
    own = [layer.router.detach() for layer in model.adapter.layers]
    (reading,) = tool("expert_choices").read(model, one_clip(), [Rates(4, 2)], TEXT, own)
    for kind, trained in reading.choices["trained"].items():
        assert torch.equal(trained.index, reading.choices["random"][kind].index)


def test_random_router_is_repeatable_and_as_large_as_the_trained_one(tool, model):
    routers = tool("expert_choices").random_routers
    first, again, other = (routers(model.adapter, seed) for seed in (1, 1, 2))
    for number, layer in enumerate(model.adapter.layers):
        assert torch.equal(first[number], again[number])
        assert not torch.equal(first[number], other[number])
        assert first[number].std().item() == pytest.approx(layer.router.std().item(), rel=0.2)


def test_random_router_on_unlike_tokens_is_near_chance(tool):
    from experts.kernel import Shape, choose

    agreement = tool("agreement")
    random = torch.Generator().manual_seed(0)
    shape = Shape(ROUTED, 1, TOP_K, 2, "none", 1.0, "gelu")
    found = []
    for _ in range(20):
        router = torch.randn(ROUTED, 64, generator=random)
        choice = choose(torch.randn(80, 64, generator=random), router, shape)
        one = agreement.Choices(choice.experts[None, :40], choice.weight[None, :40])
        other = agreement.Choices(choice.experts[None, 40:], choice.weight[None, 40:])
        found.append(agreement.compare(one, other, ROUTED, None).any_jaccard)
    expected = agreement.chance(ROUTED, TOP_K)
    assert torch.cat(found).mean().item() == pytest.approx(expected, rel=0.05)


def test_counts_sum_to_k_a_token_and_kinds_to_all(tool, model):
    book = tool("expert_study").Book(model, 0)
    for seed, frames in enumerate((50, 33)):
        book.add(one_clip(frames, seed), PAIRS, TEXT)
    found = book.to_dict()
    assert {row["kind"] for row in found["usage"]} == {"audio", "video", "text", "prompt", "all"}
    by_spot = {}
    for row in found["usage"]:
        count, mass = np.array(row["count"]), np.array(row["mass"])
        np.testing.assert_allclose(count.sum(1), TOP_K, atol=1e-3)
        assert (mass <= count + 1e-6).all()  # no gate is above 1
        assert all(TOP_K - 1e-3 <= e <= ROUTED for e in row["effective_count"])
        key = row["rates"], row["router"]
        by_spot.setdefault(key, {})[row["kind"]] = row["tokens"]
    for tokens in by_spot.values():
        assert tokens["all"] == sum(n for kind, n in tokens.items() if kind != "all")
    # frames -> tokens with the tail kept: 50 and 33 at rate 4, 25 and 16 at rate 2
    assert by_spot["4,2", "trained"]["audio"] == 13 + 9
    assert by_spot["4,2", "trained"]["video"] == 13 + 8
    assert by_spot["4,2", "trained"]["text"] == 2 * (len(TEXT) + 1)


def test_pairs_of_the_study_are_those_of_one_task(tool, model):
    book = tool("expert_study").Book(model, 0)
    book.add(one_clip(), PAIRS, TEXT)
    rows = [r for r in book.to_dict()["agreement"] if r["router"] == "trained"]
    between = [r for r in rows if r["between"] == "rates"]
    assert {(r["first"]["rates"], r["second"]["rates"]) for r in between} == {
        ("4,2", "4,5"),
        ("4,2", "16,2"),
        ("4,5", "16,2"),
    }
    assert {r["first"]["kind"] for r in between} == {"audio", "video", "text"}
    assert all(r["jaccard"] is not None for r in between)
    kinds = {(r["first"]["kind"], r["second"]["kind"]): r for r in rows if r["between"] == "kinds"}
    assert set(kinds) == {("audio", "video"), ("audio", "text"), ("video", "text")}
    assert kinds["audio", "video"]["jaccard"] is not None
    assert kinds["audio", "text"]["jaccard"] is None  # nothing says when a word was said
    assert all(0 <= x <= 1 for r in rows for x in r["any_jaccard"] + r["shannon_of_loads"])


def test_equal_rates_of_equal_tokens_agree_fully(tool, model):
    """Rate pairs whose sequences are equal: the clip is silent where the rates differ."""
    tally = tool("expert_tally")
    choices = tool("expert_choices")
    routers = choices.random_routers(model.adapter, 0)
    (reading,) = choices.read(model, one_clip(), [Rates(4, 2)], TEXT, routers)
    twin = choices.Reading(Rates(4, 5), reading.choices, reading.spans)
    book = tally.Tally(len(routers), ROUTED, TOP_K)
    book.add([reading, twin])
    rows = [r for r in book.agreement(0) if r["between"] == "rates"]
    assert len(rows) == 6
    for row in rows:
        assert row["jaccard"] == pytest.approx([1.0] * len(routers))
        assert row["shannon"] == pytest.approx([0.0] * len(routers), abs=1e-5)
        assert row["shannon_of_loads"] == pytest.approx([0.0] * len(routers), abs=1e-5)


def test_interval_holds_the_mean_and_one_clip_has_none(tool):
    interval = tool("expert_tally").mean_interval
    found = interval([0.1, 0.2, 0.9, 0.4], 3)
    assert found["mean"] == pytest.approx(0.4)
    assert 0.1 <= found["low"] < 0.4 < found["high"] <= 0.9
    assert found == interval([0.1, 0.2, 0.9, 0.4], 3)
    assert interval([0.5], 0) == {"mean": 0.5, "low": None, "high": None}
    assert interval([], 0) is None


def test_cosines_are_those_of_the_projected_and_the_pooled_tokens(tool, model):
    features = one_clip()
    book = tool("token_cosines").Cosines()
    book.add(model, features)
    rows = {(r["stage"], r["first"], r["second"]): r for r in book.to_list(0)}
    projected = [key[1:] for key in rows if key[0] == "projected"]
    assert projected == [
        ("audio_4", "audio_16"),
        ("audio_4", "video_2"),
        ("audio_4", "video_5"),
        ("audio_16", "video_2"),
        ("audio_16", "video_5"),
        ("video_2", "video_5"),
    ]
    pooled = [key[1:] for key in rows if key[0] == "pooled"]
    assert pooled == [("audio_4", "audio_16"), ("video_2", "video_5")]
    x = features.audio.x[0]
    fine = torch.stack([part.mean(0) for part in x.split(4)])
    coarse = torch.stack([part.mean(0) for part in x.split(16)])
    expected = torch.cosine_similarity(fine[:, None], coarse[None], dim=-1)
    found = rows["pooled", "audio_4", "audio_16"]
    np.testing.assert_allclose(found["matrix"], expected.numpy(), atol=1e-4)
    assert found["any"]["mean"] == pytest.approx(expected.mean().item(), abs=1e-5)
    frames = [expected[t // 4, t // 16].item() for t in range(50)]  # each frame counts once
    assert found["aligned"]["mean"] == pytest.approx(np.mean(frames), abs=1e-4)


def test_routers_of_their_own_choose_for_their_rate_alone(tool):
    config = MomeConfig(routed=ROUTED, top_k=TOP_K, rank=2, routers="scale")
    model = tiny.tiny_model(audio_rates=(4, 16), video_rates=(2, 5), mome=config)
    tiny.awaken(model.adapter)
    choices, clip = tool("expert_choices"), one_clip()
    control = choices.random_routers(model.adapter, 0)
    assert {router.shape[0] for router in control} == {ROUTED}
    together = choices.read(model, clip, PAIRS, TEXT, control)
    for pair, reading in zip(PAIRS, together, strict=True):
        (alone,) = choices.read(model, clip, [pair], TEXT, control)
        for router in ("trained", "random"):
            for kind, one in alone.choices[router].items():
                assert torch.equal(one.index, reading.choices[router][kind].index), (pair, kind)
    book = tool("expert_study").Book(model, 0)
    book.add(clip, PAIRS, TEXT)
    assert "disjoint routers" not in book.to_dict()["controls"]


def test_model_without_mome_has_cosines_alone_and_says_so(tool):
    model = tiny.tiny_model(method="lora", audio_rates=(4, 16))
    book = tool("expert_study").Book(model, 0)
    book.add(one_clip(), [Rates(4, None), Rates(16, None)], TEXT)
    found = book.to_dict()
    assert "usage" not in found
    assert "routes nothing" in found["controls"]["routers"]
    assert found["cosines"]
    drawn = tool("expert_figures").figures({**found, "clips": ["x"]})
    assert drawn
    assert all(name.startswith("cosine_") for name in drawn)


class Stub:
    """A recogniser that reads tiny features instead of media."""

    def __init__(self, model):
        self.model, self.facts = model, {}
        self.audio_tower, self.video_tower = SimpleNamespace(hz=50), object()

    def pairs(self, task):
        alone = {"a": [Rates(4, None), Rates(16, None)], "v": [Rates(None, 2)]}
        return alone.get(task, PAIRS[1:3])

    def prepare(self, path, *, modality):
        from avsr.errors import MediaError

        if path.name == "broken.mp4":
            raise MediaError("no such clip")
        clip = one_clip(40)
        video = None if modality == "a" else clip.video.x[0]
        return SimpleNamespace(audio=clip.audio.x[0], video=video)

    def encode(self, clips):
        pass


@pytest.fixture
def manifest(tmp_path):
    rows = [
        {"id": f"{split}{n}", "split": split, "audio_filepath": f"{n}.wav", "text": TEXT}
        | ({"video_filepath": f"{n}.mp4"} if n < 2 else {})
        for split in ("train", "validation")
        for n in range(3)
    ]
    rows.append({**rows[3], "id": "broken", "video_filepath": "broken.mp4"})
    path = tmp_path / "manifest.jsonl"
    path.write_text("\n".join(json.dumps({"duration": 1.0, **row}) for row in rows))
    return path


def test_command_writes_json_figures_and_summary(
    tool, model, manifest, tmp_path, monkeypatch, capsys
):
    import avsr.loading

    monkeypatch.setattr(avsr.loading, "load_model", lambda name, dtype: Stub(model))
    out = tmp_path / "out"
    argv = ["tiny", str(manifest), "--out", str(out), "--control", "twin=tiny"]
    assert tool("experts").main(argv) == 0
    report = json.loads((out / "experts.json").read_text())
    assert report["split"] == "validation"
    assert report["model"]["clips"] == ["validation0", "validation1", "validation2"]
    assert [f["id"] for f in report["model"]["failed"]] == ["broken"]
    assert report["twin"]["usage"] == report["model"]["usage"]
    assert "one router serves every rate" in report["model"]["controls"]["disjoint routers"]
    sound = [r for r in report["model"]["usage"] if r["rates"] == "4,none" and r["kind"] == "audio"]
    assert sound[0]["tokens"] == 3 * 10
    lips = [r for r in report["model"]["usage"] if r["rates"] == "none,2" and r["kind"] == "video"]
    assert lips[0]["tokens"] == 2 * 10
    drawn = list(out.glob("*.svg"))
    for path in drawn:
        ElementTree.parse(path)
    names = {path.name for path in drawn}
    assert {"use_av_4-2_trained.svg", "effective_a.svg", "effective_a_mean.svg"} <= names
    assert {"jaccard_av_4-2-audio_4-5-audio.svg", "cosine_projected_audio_4_video_2.svg"} <= names
    assert names == {path.name for path in (out / "twin").glob("*.svg")}
    said = capsys.readouterr()
    assert "split 'validation'" in said.err
    assert (out / "summary.md").read_text().strip() in said.out


@pytest.mark.parametrize(
    "words",
    [
        ["--control", "model=x"],
        ["--control", "seed=x"],
        ["--control", "a/b=x"],
        ["--control", "../out=x"],
        ["--tasks", "a,vv"],
        ["--tasks", ""],
        ["--seed", "-1"],
        ["--limit", "0"],
    ],
    ids=str,
)
def test_words_that_make_no_study_are_wrong_usage(tool, tmp_path, words, capsys):
    with pytest.raises(SystemExit) as end:
        tool("experts").main(["tiny", "manifest.jsonl", "--out", str(tmp_path / "o"), *words])
    assert end.value.code == 2
    assert words[0] in capsys.readouterr().err
    assert tool("experts").options().parse_args(["m", "n", "--tasks", "av, a"]).tasks == ("av", "a")


def test_two_controls_of_one_name_are_refused(tool, manifest, tmp_path, capsys):
    words = ["--control", "twin=x", "--control", "twin=y", "--out", str(tmp_path / "o")]
    assert tool("experts").main(["tiny", str(manifest), *words]) == 1
    assert "two controls are called 'twin'" in capsys.readouterr().err


def test_a_file_where_the_folder_should_be_is_told(tool, model, manifest, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert tool("experts").main(["tiny", str(manifest), "--out", str(tmp_path / "file")]) == 1
    assert "file" in capsys.readouterr().err


def test_limit_draws_clips_by_the_seed(tool):
    chosen = tool("experts").chosen
    items = list(range(20))
    assert chosen(items, None, 0) == items
    drawn = chosen(items, 5, 0)
    assert drawn == sorted(set(drawn)) == chosen(items, 5, 0) != chosen(items, 5, 1)
    assert len(drawn) == 5


def test_tool_and_package_of_one_name_live_side_by_side(script, tmp_path):
    """Both as a script and as what another tool's `import experts` meets first."""
    shown = subprocess.run([*script("experts"), "--help"], capture_output=True, check=True)
    assert b"manifest" in shown.stdout
    tools, package = tmp_path / "tools", tmp_path / "experts"
    tools.mkdir()
    package.mkdir()
    shutil.copy(script("experts")[1], tools)
    (package / "__init__.py").write_text("REAL = True")
    (package / "inner.py").write_text("REAL = True")
    (tools / "neighbour.py").write_text("")
    other = tools / "other.py"
    other.write_text("import experts, experts.inner, neighbour; assert experts.inner.REAL")
    subprocess.run([sys.executable, str(other)], check=True)
