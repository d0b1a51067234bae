"""The bench on real clips: what it changes about them, how it goes on, and what its page says."""

import json
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from avsr.errors import ConfigError, ModelError
from avsr.manifest import Item
from avsr.prepare import Prepared
from avsr.rates import Rates
from avsr.streams import Budget, TokenStream
from avsr.views import Features
from tests.tools.test_bench_compress import point


def clip(seconds=2.0):
    time = np.arange(round(16_000 * seconds)) / 16_000
    wave = (0.1 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    crops = np.arange(round(25 * seconds), dtype=np.uint8)[:, None, None].repeat(96, 1)
    return Prepared("x.mp4", seconds, "av", wave, crops.repeat(96, 2), 1.0, ())


def item(name="a/b", **more):
    return Item(name, Path("x.mp4"), 2.0, "bin blue at f two now", **more)


def test_speech_is_hastened_and_its_pitch_stays(tool):
    takes = tool("bench_takes")
    for condition, speed in takes.SPEEDS.items():
        made = takes.altered(clip(), item(), condition, None, 0)
        assert made.seconds == pytest.approx(2.0 / speed, abs=1e-3)
        assert len(made.crops) == round(50 / speed)
        middle = made.wave[4000:12000]
        assert np.abs(np.fft.rfft(middle)).argmax() == 220  # 440 Hz in half a second
        assert (np.diff(made.crops[:, 0, 0].astype(int)) >= 0).all()


def test_nothing_is_said_in_silence_and_noise(tool):
    takes = tool("bench_takes")
    noise = np.linspace(0.1, 0.2, 5000, dtype=np.float32)
    noises = takes.Noises(noise, (noise,))
    silent = takes.altered(clip(), item(), "silence", noises, 0)
    assert not silent.wave.any()
    assert not silent.crops.any()  # the first picture stands still
    heard, again = (takes.altered(clip(), item(), "noise", noises, 0).wave for _ in "ab")
    assert np.array_equal(heard, again)
    assert len(heard) == 32_000
    assert set(heard.tolist()) <= set(noise.tolist())


def test_a_letter_that_was_not_heard_is_counted(tool):
    clips = tool("bench_readings")
    said = [("bin", "bin"), ("", "uh"), ("blue", "blue"), ("at", ""), ("f", "s"), ("two", "two")]
    assert clips.detail(said, (3, 4)) == 1
    assert clips.detail(said, (2, 3)) == 2
    assert clips.detail(said, (9,)) == 0


def test_a_threshold_meets_the_budget_of_a_rate(tool):
    calibrate = tool("bench_calibrate")
    x = torch.randn(3, 200, 8, generator=torch.Generator().manual_seed(0)).cumsum(1)
    sound = TokenStream.from_features(x, torch.tensor([200, 150, 90]), 50.0)
    methods = {"affinity": (4, 16), "window-merge": (4,)}
    for name, rates in methods.items():
        made = calibrate.calibrated({"name": name}, Features(sound, None), {"audio": rates})[
            "audio"
        ]
        for rate in rates:
            wanted = int(sound.resolve(Budget.rate(rate)).sum())
            assert 0.9 * wanted <= int(made(sound, Budget.rate(rate)).lengths.sum()) <= wanted
    with pytest.raises(ValueError, match="takes no thresholds"):
        calibrate.calibrated({"name": "cluster"}, Features(sound, None), {"audio": (4,)})


def test_pooling_is_held_to_the_tokens_of_another(tool):
    calibrate = tool("bench_calibrate")
    x = torch.randn(3, 200, 8, generator=torch.Generator().manual_seed(0))
    sound = TokenStream.from_features(x, torch.tensor([200, 150, 90]), 50.0)
    made = calibrate.even(sound, 77)
    assert 75 <= int(made(sound, Budget.rate(4)).lengths.sum()) <= 77
    assert made.meets != "exactly"  # so that a transcript counts what was made


def test_a_threshold_is_held_against_pooling_at_its_own_tokens(tool):
    figures = tool("compress_figures")
    free = long("affinity", [1] * 80, tokens=11.0)
    free["pool"] = {"tokens_per_second": 11.2, "edits": [2] * 80, "words": [6] * 80}
    runs = [whole("pool", long("pool", [1] * 80)), whole("affinity,budget=threshold", free)]
    last = figures.table(runs, "av", "clean").splitlines()[-1]
    assert "16.7: better, -16.7 (-16.7 to -16.7) (11.0 tokens/s)" in last


class FakeReader:
    """A recogniser that hears everything wrong but the first word."""

    def __init__(self):
        self.model = types.SimpleNamespace(rates={"audio": (4, 16), "video": (2, 5)})

    def recognise(self, clips, *, modality, rates):
        segment = types.SimpleNamespace(avg_logprob=-0.5)
        tokens = {"audio": 40, "video": 10 if modality == "av" else 0, "prompt": 7}
        return [
            types.SimpleNamespace(text="bin", tokens=tokens, segments=[segment], truncated=False)
            for _ in clips
        ]


def test_a_block_is_read_at_every_rate_and_scored(tool):
    clips = tool("bench_clips")
    reader, block = FakeReader(), clips.BLOCKS[0]
    assert clips.steps_of(reader, "av") == [(Rates(4, 2), 0), (Rates(16, 5), 1)]
    assert clips.steps_of(reader, "v") == [(Rates(None, 2), 0), (Rates(None, 5), 1)]
    found = clips.read(reader, [item(), item("c")], [clip(), clip(1.0)], "av", Rates(4, 2), block)
    assert found["edits"] == [5, 5]
    assert found["detail_edits"] == [2, 2]
    assert found["tokens"] == [50, 50]
    assert found["prompts"] == [57, 57]
    assert found["tokens_per_second"] == pytest.approx(100 / 3)
    silence = next(block for block in clips.BLOCKS if block.take == "silence")
    found = clips.read(reader, [item()], [clip()], "a", Rates(4, None), silence)
    assert (found["words"], found["edits"]) == ([0], [1])


def test_work_comes_in_the_order_of_its_worth(tool):
    clips = tool("bench_clips")
    runs = clips.runs_of(["none", "pool", "cluster", "affinity,budget=threshold"], tuned=True)
    assert runs[4:] == ["pool (tuned)", "cluster (tuned)"]
    blocks = tool("bench_readings").blocks_of(["clean", "slow", "noise"])
    work = [(run, piece) for run, piece, _ in clips.work_of(None, runs, blocks, speed=True)]
    assert work[:5] == [(run, "clean") for run in runs[:4]] + [("none", "slow")]
    assert work[12] == ("none", "speed")
    assert work[-2:] == [("cluster (tuned)", "clean"), ("cluster (tuned)", "slow")]


def test_a_method_that_the_model_refuses_is_said(tool):
    clips = tool("bench_clips")
    reader = object.__new__(clips.Reader)

    def refuse(name):
        raise ModelError(f"not trained with {name}")

    reader.ready = refuse
    found = reader.measure("hier", clips.BLOCKS[0])
    assert found == {"points": [], "refused": "not trained with hier"}


FACTS = {"schema": "avsr.bench_compress/1", "seed": 0, "bench": {"weights": "w"}}
FACTS |= {"tuning_steps": 2, "command": ["x"], "torch": "2", "threads": 1, "machine": "m"}


def test_pieces_are_done_once_and_never_begun_without_time(tool, tmp_path):
    bench, calls, now = tool("bench_compress"), [], [0.0]

    def work(names):
        for name in names:
            for piece in ("clean", "babble"):

                def measure(name=name, piece=piece):
                    calls.append((name, piece))
                    now[0] += 50.0
                    return {"points": [point(9.0, [1], [2], condition=piece)], "clips": ["c"]}

                yield name, piece, measure

    one = {"minutes": 1.5, "clock": lambda: now[0]}
    bench.grown(tmp_path, work(["pool", "cluster"]), FACTS, **one)
    assert calls == [("pool", "clean"), ("pool", "babble")]  # at 100 s no time is left
    runs = bench.grown(tmp_path, work(["pool", "cluster", "pool (tuned)"]), FACTS)
    assert calls[2:] == [(n, p) for n in ("cluster", "pool (tuned)") for p in ("clean", "babble")]
    assert [run["name"] for run in runs] == ["pool", "cluster", "pool (tuned)"]
    assert [p["condition"] for p in runs[1]["points"]] == ["clean", "babble"]
    assert runs[0]["done"]["clean"]["seconds"] == 50.0
    with pytest.raises(ConfigError, match="another bench"):
        bench.grown(tmp_path, work(["pool"]), {**FACTS, "bench": {"weights": "v"}})


def test_an_empty_page_says_so(tool, tmp_path):
    bench, page = tool("bench_compress"), tool("compress_page")
    words = (bench.RESULTS / "page.md").read_text(encoding="utf-8")
    (tmp_path / "page.md").write_text(words, encoding="utf-8")
    text = page.whole_page([], tmp_path, bench.wanted())
    assert text.count("No figure yet.") >= 8
    assert "<!--" not in text
    assert "- slow, as it is, not measured yet: all" in text
    some = [whole("pool", long("pool", [1] * 80))]
    text = page.whole_page(some, tmp_path, bench.wanted())
    assert "- clean, as it is, not measured yet: `none`, `random`, `stride`, `cluster`" in text
    assert "`conv`" not in text.split("- clean, tuned")[0].split("- clean, as it is")[1]
    assert "`conv`" in text.split("- clean, tuned")[1] or "not measured yet: all" in text
    (tmp_path / "page.md").write_text("<!-- anser -->", encoding="utf-8")
    with pytest.raises(ConfigError, match="anser"):
        page.whole_page([], tmp_path)


def long(name, edits, step=0, tokens=9.0, sure=-0.1):
    made = point(tokens, edits, [6] * len(edits), step=step)
    made |= {"sure": [sure] * len(edits), "tokens": [10 * tokens] * len(edits)}
    made["sure"][: len(edits) // 2] = [sure - 1] * (len(edits) // 2)
    return made


def whole(name, *points):
    clips = [f"c{n}" for n in range(80)]
    done = {"clips": clips, "command": ["x"], "seconds": 60.0, "torch": "2"}
    return {
        "name": name,
        "points": list(points),
        "seed": 0,
        "done": {"clean": {**done, "threads": 1, "machine": "m"}},
    }


def test_what_validation_picks_is_told_on_test_clips(tool, tmp_path):
    page = tool("compress_page")
    splits = {f"c{n}": "validation" if n < 30 else "test" for n in range(80)}
    pool, flat = long("pool", [2] * 80), [2] * 80
    runs = [
        whole("pool", pool),
        whole("cluster", long("cluster", [1] * 80)),
        whole("atome", long("atome", [2] * 30 + [0] * 50)),  # better on test alone: not picked
        whole("novelty", long("novelty", [0] * 80, tokens=12.0)),  # at other tokens
    ]
    text = page.answer(runs, splits)
    assert (
        "| sound and lips | 9.0 | trained by pooling | cluster | better, -16.7 (-16.7 to -16.7)"
        in text
    )
    assert text.endswith("| `cluster` |")
    even = page.answer([runs[0], whole("cluster", long("cluster", flat))], splits)
    assert even.endswith("| `pool`, undecided |")
    alone = page.answer([runs[0]], splits)
    assert "no rival at these tokens" in alone


def test_what_beats_pooling_is_told_with_how_often_that_was_asked(tool):
    wins = tool("compress_wins").wins
    splits = {f"c{n}": "validation" if n % 2 else "test" for n in range(80)}
    even, odd = [2, 0] * 40, [0, 2] * 40  # errors on test clips, and on the others
    runs = [
        whole("pool", long("pool", [2] * 80), long("pool", [1] * 80, step=1)),
        whole("pool (tuned)", long("pool", [1] * 80)),
        whole("cluster", long("cluster", even), long("cluster", [3] * 80, step=1)),
        whole("affinity", long("affinity", odd)),
        whole("affinity (tuned)", long("affinity", [1] * 80)),
        whole("novelty", long("novelty", [0] * 80, tokens=12.0)),  # at other tokens
        whole("stride", long("stride", [0] * 80)),  # a floor
    ]
    text = wins(runs, splits)
    assert "Trained by pooling: of 3 comparisons 2 are better, 1 worse" in text
    assert "Tuned to the method: of 1 comparisons 0 are better, 0 worse" in text
    rows = [line for line in text.splitlines() if line.startswith(("| cluster", "| affinity"))]
    assert len(rows) == 2
    assert rows[0].startswith("| cluster | sound and lips | clean | 9.0 | better, -16.7 ")
    assert rows[0].endswith("| undecided, +0.0 (+0.0 to +0.0) |")
    assert rows[1].endswith("| better, -33.3 (-33.3 to -33.3) |")
    assert wins(runs[:1], splits) == tool("compress_figures").NONE_YET


def test_a_cascade_is_held_against_its_chord(tool):
    page = tool("compress_page")
    splits = {f"c{n}": "validation" if n % 2 else "test" for n in range(80)}
    doubted = [4] * 40 + [0] * 40  # just those of which it was not sure
    pool = whole(
        "pool", long("pool", [0] * 80, tokens=12.0), long("pool", doubted, step=1, tokens=1.0)
    )
    text = page.cascade([pool], splits)
    row = text.splitlines()[-1]
    assert "| 33.3 at 10 | 0.0 at 120 | 0.0 at 70 (50 % doubted) | 15.2 |" in row
    assert page.cascade([], splits) == page.NONE_YET


def test_padding_has_its_table(tool, tmp_path):
    page = tool("compress_whisper")
    path = tmp_path / "padding.json"
    assert page.padding(path).startswith(tool("compress_figures").NONE_YET)
    row = {"corpus": "grid", "words": [6] * 40, "padded": [1] * 40, "unpadded": [2] * 40}
    path.write_text(json.dumps({"rows": [row], "command": ["c"], "model": "w"}), encoding="utf-8")
    assert "| grid | 40 | 16.7 | 33.3 | worse, +16.7 (+16.7 to +16.7)" in page.padding(path)


def test_tuned_runs_are_held_against_tuned_pooling(tool):
    figures, page = tool("compress_figures"), tool("compress_page")
    runs = [whole(n, long(n, e)) for n, e in (("pool", [1] * 80), ("pool (tuned)", [3] * 80))]
    runs.append(whole("cluster (tuned)", long("c", [2] * 80)))
    lines = figures.table(runs, "av", "clean").splitlines()
    assert lines[-2].startswith("| pool (tuned) | 50.0 |")
    assert lines[-1].startswith("| cluster (tuned) | 33.3: better, -16.7 ")
    assert "better, -16.7 " in page.trained(runs)
    shipped = page.shipped(runs).splitlines()  # what is better than tuned pooling is worse there
    assert [line.split(" | ")[0] for line in shipped[2:]] == [f"| {run['name']}" for run in runs]
    assert "worse, +33.3 " in shipped[3]
    assert "worse, +16.7 " in shipped[4]
    assert page.shipped(runs[:1]) == page.NONE_YET


def test_the_page_tells_the_rates_of_learning_that_were_used(tool):
    told = tool("compress_page").learning_rates()
    assert "`conv`, were tuned at a peak learning rate of 0.002" in told
    assert "before at 0.0002;" in told


def test_the_committed_page_is_that_of_the_committed_figures(tool):
    bench, page = tool("bench_compress"), tool("compress_page")
    text = page.whole_page(bench.read_runs(bench.RESULTS), bench.RESULTS, bench.wanted())
    assert text == (bench.RESULTS / "README.md").read_text(encoding="utf-8")
