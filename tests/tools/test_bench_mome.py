"""The bench of the MoME layer: pairing with a clock of our own, and refusal of a wrong kernel."""

import json

import pytest
import torch

from experts import MomeConfig, MomeLayer
from tests.tiny import tiny_llm

CONFIGS = [
    MomeConfig(routed=5, shared=1, top_k=2, rank=3),
    MomeConfig(routed=4, shared=2, top_k=4, rank=2, renorm="topk", activation="silu", alpha=0.5),
    MomeConfig(routed=6, shared=0, top_k=3, rank=1, activation="relu"),
]


class FakeTime:
    """A clock that only work moves, faster or slower by round."""

    def __init__(self, speeds=(1.0,)):
        self.now, self.speeds, self.done, self.order = 0.0, list(speeds), 0, []

    def __call__(self):
        return self.now

    def work(self, name, cost, works):
        def run():
            self.now += cost * self.speeds[self.done // works % len(self.speeds)]
            self.done += 1
            self.order.append(name)

        return run


def states(width, tokens, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(1, tokens, width, generator=random), torch.randn(
        1, tokens, width, generator=random
    )


def test_rounds_take_turns_and_pair_what_a_slow_moment_shares(tool):
    paired = tool("paired")
    clock = FakeTime(speeds=(1.0, 50.0, 3.0, 0.5))
    works = {"ours": clock.work("ours", 0.01, 2), "theirs": clock.work("theirs", 0.04, 2)}
    spent = paired.rounds(works, repeats=4, clock=clock)
    assert clock.order == ["ours", "theirs", "theirs", "ours"] * 2
    assert spent["ours"] == pytest.approx([0.01, 0.5, 0.03, 0.005])
    assert spent["theirs"] == pytest.approx([0.04, 2.0, 0.12, 0.02])
    found = paired.ratio(spent["ours"], spent["theirs"], seed=0)
    assert (found.low, found.median, found.high) == pytest.approx((0.25, 0.25, 0.25))


def test_seconds_are_those_of_one_call(tool):
    clock = FakeTime()
    spent = tool("paired").rounds({"x": clock.work("x", 0.5, 1)}, repeats=2, calls=8, clock=clock)
    assert spent["x"] == pytest.approx([0.5, 0.5])
    assert clock.done == 16


def test_ratio_is_the_median_of_ratios_and_no_ratio_of_medians(tool):
    ratio = tool("paired").ratio
    found = ratio([1.0, 1.0, 10.0], [10.0, 2.0, 20.0], seed=1)
    assert found.median == 0.5  # the medians' own ratio is 0.1
    assert found.low == pytest.approx(0.1)
    assert found == ratio([1.0, 1.0, 10.0], [10.0, 2.0, 20.0], seed=1)
    for wrong in ([1.0], []):
        with pytest.raises(ValueError, match="do not pair"):
            ratio(wrong, [], seed=0)


def test_short_work_is_repeated_until_it_can_be_timed(tool):
    clock = FakeTime()
    works = {"quick": clock.work("quick", 1e-4, 2), "slow": clock.work("slow", 1.0, 2)}
    assert tool("paired").calls_for(0.005, works, clock) == 50
    assert tool("paired").calls_for(0.005, {"slow": works["slow"]}, clock) == 1


@pytest.mark.parametrize("tokens", [1, 9])
@pytest.mark.parametrize("config", CONFIGS)
def test_loop_equals_the_layer(tool, config, tokens):
    rivals = tool("rivals")
    layer = rivals.awaken(MomeLayer(16, config), 0)
    x, base = states(16, tokens)
    loop = rivals.Loop(layer, torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(loop(x, base), layer(x, base), rtol=1e-5, atol=1e-5)
    assert rivals.check_equal(layer, loop, x, base) < 1e-5


@pytest.mark.parametrize("tokens", [1, 9])
@pytest.mark.parametrize("part", ["down", "down_bias", "up", "up_bias"])
def test_wrong_kernel_is_refused(tool, part, tokens):
    rivals = tool("rivals")
    config = MomeConfig(routed=5, shared=1, top_k=2, rank=3)
    layer, wrong = (rivals.awaken(MomeLayer(16, config), 0) for _ in range(2))
    wrong.load_state_dict(layer.state_dict())
    with torch.no_grad():
        getattr(wrong, part)[-1].mul_(1.3).add_(0.003)  # the shared expert, which all tokens pass
    loop = rivals.Loop(layer, torch.float32)
    x, base = states(16, tokens)
    with pytest.raises(ValueError, match="differs from the loop"):
        rivals.check_equal(wrong, loop, x, 100 * base)
    with pytest.raises(ValueError, match="differs from the loop"):
        rivals.check_equal(lambda x, base: layer(x, base) * float("nan"), loop, x, base)


def test_kernel_that_forgets_the_base_is_refused(tool):
    rivals = tool("rivals")
    layer = rivals.awaken(MomeLayer(16, CONFIGS[0]), 0)
    x, base = states(16, 4)
    with pytest.raises(ValueError, match="differs from the loop"):
        rivals.check_equal(lambda x, base: layer(x), rivals.Loop(layer, torch.float32), x, base)


def test_lora_has_as_many_active_parameters(tool):
    rivals = tool("rivals")
    for width in rivals.WIDTHS:
        config = MomeConfig(rank=width.rank)
        rank = rivals.lora_rank(width, config)
        active = rank * (3 * width.hidden + width.values)
        assert active == pytest.approx(config.active(width.hidden), rel=0.03)
    narrow = rivals.Width("tiny", 16, 8, 2)
    lora = rivals.DenseLora(narrow, 4, torch.float32)
    assert lora.active == 4 * (3 * 16 + 8)


def test_lora_runs_pefts_own_adapter_on_what_the_projection_gave(tool):
    rivals = tool("rivals")
    lora = rivals.DenseLora(rivals.Width("tiny", 16, 8, 2), 4, torch.float32)
    x, base = states(16, 5)
    with torch.no_grad():
        assert torch.equal(lora(x, base), base)  # its up-projection starts at zero
        layer = lora.layers[0]
        up, down = layer.lora_B["default"].weight, layer.lora_A["default"].weight
        up.normal_()
        expected = base + 2 * x @ down.T @ up.T  # alpha / rank = 2
        torch.testing.assert_close(lora(x, base), expected)


def test_table_has_each_shape_and_json_each_round(tool, tmp_path, monkeypatch, capsys):
    bench, rivals = tool("bench_mome"), tool("rivals")
    widths = tuple(rivals.Width(name, 16, 8, 2) for name in ("One", "Two"))
    monkeypatch.setattr(bench, "WIDTHS", widths)
    monkeypatch.setattr(bench, "MEASURE", 0.0)
    argv = ["--tokens", "7", "1", "--repeats", "3", "--seed", "5", "--out", str(tmp_path)]
    assert bench.main([*argv, "--dtype", "float32"]) == 0
    report = json.loads((tmp_path / "bench_mome.json").read_text())
    assert report["seed"] == 5
    assert report["threads"] == torch.get_num_threads()
    assert report["clock"] == "wall"
    assert [(r["shape"], r["tokens"]) for r in report["rows"]] == [
        (name, tokens) for name in ("One", "Two") for tokens in (7, 1)
    ]
    for row in report["rows"]:
        rounds = row["rounds"]
        assert {name: len(values) for name, values in rounds.items()} == dict.fromkeys(
            ("mome", "loop", "lora"), 3
        )
        each = sorted(a / b for a, b in zip(rounds["mome"], rounds["loop"], strict=True))
        assert row["of_loop"]["median"] == pytest.approx(each[1])
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if line.startswith(("| One", "| Two"))]
    assert len(lines) == 4
    assert all(line.count("|") == printed.splitlines()[0].count("|") for line in lines)
    assert (tmp_path / "bench_mome.md").read_text().strip() == printed.strip()


def test_clock_that_is_asked_for_is_the_one_that_is_read(tool, monkeypatch, capsys):
    bench = tool("bench_mome")
    monkeypatch.setattr(bench, "WIDTHS", (tool("rivals").Width("One", 16, 8, 2),))
    ticks = iter(range(1000))
    monkeypatch.setitem(bench.CLOCKS, "cpu", lambda: float(next(ticks)))
    assert (
        bench.main(["--dtype", "float32", "--tokens", "2", "--repeats", "2", "--clock", "cpu"]) == 0
    )
    printed = capsys.readouterr().out
    assert "cpu clock" in printed
    assert "| 1000.000 | 1000.000 | 1000.000 | 1.00" in printed  # one tick a measurement


def test_dtype_is_what_the_toolkit_chooses_unless_asked(tool, monkeypatch):
    bench = tool("bench_mome")
    monkeypatch.setattr("avsr.precision._cpu_has_bf16", lambda: False)
    assert bench.dtypes("auto") == [torch.float32]
    assert bench.dtypes("both") == [torch.float32, torch.bfloat16]
    monkeypatch.setattr("avsr.precision._cpu_has_bf16", lambda: True)
    assert bench.dtypes("auto") == [torch.bfloat16]


def test_twins_share_weights_and_write_the_same(tool):
    whole = tool("whole_decode")
    llm = tiny_llm()
    config = MomeConfig(routed=4, top_k=2, rank=2)
    widened, mome = whole.twins(llm, config, 0)
    pairs = zip(llm.parameters(), widened.parameters(), strict=True)
    assert all(a is b for a, b in pairs)
    assert widened is not llm
    assert not any(m._forward_hooks for m in llm.modules())
    embeds = llm.get_input_embeddings().weight[None, :5]
    bare = whole.generate(llm, embeds, 6)
    assert bare.shape == (1, 6)
    assert torch.equal(whole.generate(widened, embeds, 6), bare)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in mome.layers:
            layer.up.normal_(0.0, 100.0, generator=generator)  # louder than all else
    assert not torch.equal(whole.generate(widened, embeds, 6), bare)  # so the experts do run


def test_whole_decode_pairs_and_parts_add_up(tool):
    whole, bench = tool("whole_decode"), tool("bench_mome")
    config = MomeConfig(routed=4, top_k=2, rank=2)
    found = whole.measure(tiny_llm(), config, prompt=5, tokens=3, repeats=3, seed=0)
    rounds = found["rounds"]
    each = sorted(a / b for a, b in zip(rounds["with"], rounds["without"], strict=True))
    assert found["total"]["median"] == pytest.approx(each[1])
    steps = [
        (w - wp) / (o - op)
        for w, wp, o, op in zip(
            rounds["with"],
            rounds["with, prefill"],
            rounds["without"],
            rounds["without, prefill"],
            strict=True,
        )
    ]
    assert found["decode"]["median"] == pytest.approx(sorted(steps)[1])
    assert sum(found["share"].values()) == pytest.approx(1.0)
    assert 0 < found["share"]["MoME layers"] < 1
    assert "a decoded token" in bench.whole_table({"model": "tiny", **found})
    with pytest.raises(ValueError, match="at least 2"):
        whole.measure(tiny_llm(), config, prompt=5, tokens=1, repeats=1, seed=0)


def test_time_inside_the_layers_is_summed_and_the_watch_taken_off(tool):
    whole = tool("whole_decode")
    llm = tiny_llm()
    widened, mome = whole.twins(llm, MomeConfig(routed=4, top_k=2, rank=2), 0)
    ticks = iter(range(1000))
    with whole.watched(mome, lambda: next(ticks)) as inside:
        whole.generate(widened, llm.get_input_embeddings().weight[None, :5], 3)
    assert inside() == 3 * len(mome.layers)  # one tick within each call: prefill and two steps
    assert all("run" not in vars(layer) for layer in mome.layers)


@pytest.mark.parametrize(
    "words",
    [["--tokens", "0"], ["--tokens", "-5"], ["--repeats", "-1"], ["--threads", "0"],
     ["--prompt", "0"], ["--steps", "1"], ["--seed", "-1"]],
    ids=str,
)  # fmt: skip
def test_numbers_that_time_nothing_are_wrong_usage(tool, words, capsys):
    with pytest.raises(SystemExit) as end:
        tool("bench_mome").main(words)
    assert end.value.code == 2
    assert words[0] in capsys.readouterr().err
