"""The page says what the JSONs say: figures by hand, intervals by brute force, verdicts by rule."""

import random
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from avsr.errors import ConfigError
from tests.tools.comparison import RATES, WORDS, report


def cells(page, section, row):
    """Cells of the row that begins with a word, in the section of a heading."""
    part = page.split(f"## {section}")[1].split("\n## ")[0]
    [line] = [line for line in part.splitlines() if line.startswith(f"| {row} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


@pytest.fixture
def grid(tool):
    return tool("compare_suite").read_suite("grid")


def test_the_page_is_figures_by_hand(tool, grid):
    better = report("mome-layer", [0, 1, 0], active=7)
    worse = report("mtsk-ss", [3, 2, 3], active=9)
    page = tool("compare_page").page(grid, [better, worse])["README.md"]
    wer = cells(page, "Word error rate, sound and lips", "MoME-23/4-LAYER")
    assert len(wer) == 12
    assert wer[0].startswith("6.2 (")  # 1 of 16 words
    assert cells(page, "Word error rate, sound and lips", "Llama-MTSK SS")[5].startswith("50.0 (")
    apart = cells(page, "Difference to MTSK-SS (`mtsk-ss`)", "`mome-layer`")
    assert all(cell.startswith("-43.8 (") for cell in apart)  # -7 of 16
    size = cells(page, "Size and speed", "MoME-23/4-LAYER")
    assert size == ["1", "7", "21", "5", "-", "-", "-", "-"]
    tokens = cells(page, "Word error rate, sound and lips", "*tokens per second of clip*")
    assert tokens[:4] == ["25.0", "17.5", "15.6", "8.1"]
    assert "Not run yet: dense, mtsk-ms" in page
    assert "2 of 36 runs" in page


def test_each_run_tells_its_command_and_seeds_are_counted(tool, grid):
    reports = [report("mome-layer", [s, 0, 0], seed=s) for s in range(3)]
    page = tool("compare_page").page(grid, reports)["README.md"]
    for one in reports:
        assert f"`{' '.join(one['command'])}`" in page
    assert cells(page, "Seed by seed", "`mome-layer`")[0] == "0.0, 6.2, 12.5"
    assert cells(page, "Word error rate, sound and lips", "MoME-23/4-LAYER")[0].startswith("6.2")
    assert "3 of 3 for MoME-23/4-LAYER;" in page


def test_a_method_that_is_another_under_this_suite_is_told_as_such(tool, grid):
    page = tool("compare_page").page(grid, [report("mtsk-ms", [1, 1, 1])])["README.md"]
    assert cells(page, "Size and speed", "Omni-AVSR S (= `mtsk-ms`)")[0] == "1"
    assert cells(page, "Word error rate, sound", "Omni-AVSR S")[0].startswith("18.8")


def test_fixed_rates_are_one_method_of_four_models(tool):
    figures = tool("compare_figures")
    reports = [
        report("lora", [k, 0, 0], pair=f"{a},{v}", rates=[(a, v)]) for k, (a, v) in enumerate(RATES)
    ]
    alone = {"task": "a", "rates": {"audio": 4, "video": None}, "snr_db": None}
    for k in (0, 1):  # both models of audio rate 4 read sound alone: the finest lips' counts
        reports[k]["rows"].append({**reports[k]["rows"][0], **alone})
    random.Random(0).shuffle(reports)
    lora = figures.methods(reports)["lora"]
    for k, (a, v) in enumerate(RATES):
        assert figures.error(lora, figures.Condition("av", a, v)).value == k / 16
    assert figures.error(lora, figures.Condition("a", 4, 0)).value == 0
    assert lora.stored("stored") == 4 * 30
    assert lora.stored("projectors") == 4 * 5
    page = tool("compare_page").page
    suite = tool("compare_suite").read_suite("grid")
    row = cells(page(suite, reports)["README.md"], "Size and speed", "Llama-AVSR (fixed rates)")
    assert row[2:4] == ["120", "20"]
    row = cells(page(suite, reports[1:])["README.md"], "Size and speed", "Llama-AVSR (fixed rates)")
    assert row[2:4] == ["not run yet", "not run yet"]  # not three models' size
    assert lora.seeds == {0}


def test_paired_intervals_are_those_of_a_plain_loop(tool):
    figures = tool("compare_figures")
    rng = np.random.default_rng(3)
    words = rng.integers(1, 8, size=20)
    seeds = [rng.integers(0, 4, size=20) for _ in range(3)]
    mean, theirs = np.mean(seeds, axis=0), rng.integers(0, 5, size=20)
    found = figures.ratio([(1.0, mean), (-1.0, theirs.astype(float))], words.astype(float))
    picks = np.random.default_rng(figures.SEED).integers(20, size=(figures.DRAWS, 20))
    drawn = []
    for pick in picks.tolist():
        ours = sum(sum(int(s[i]) for s in seeds) / 3 for i in pick)
        drawn.append((ours - sum(int(theirs[i]) for i in pick)) / sum(int(words[i]) for i in pick))
    drawn.sort()
    assert found.low == pytest.approx(drawn[int(0.025 * figures.DRAWS) - 1])
    assert found.high == pytest.approx(drawn[-(-975 * figures.DRAWS // 1000) - 1])
    assert found.value == pytest.approx((sum(map(sum, seeds)) / 3 - theirs.sum()) / words.sum())


def test_the_relative_interval_agrees_with_the_package(tool):
    from avsr.bootstrap import compare

    figures = tool("compare_figures")
    ours, theirs = np.array([1, 0, 2, 1]), np.array([2, 2, 2, 1])
    words = np.array([5, 5, 5, 5])
    told = compare(theirs, ours, words, samples=figures.DRAWS, seed=figures.SEED)
    found = figures.ratio([(1.0, ours * 1.0), (-1.0, theirs * 1.0)], words * 1.0)
    assert found.value * 20 / theirs.sum() == pytest.approx(told.relative)
    assert (found.high < 0) == (told.interval.high < 0)


def test_clips_that_do_not_pair_are_refused(tool):
    figures = tool("compare_figures")
    one, other = report("a", [0, 0, 0]), report("b", [0, 0, 0])
    other["ids"] = ["one", "two", "four"]
    found = figures.methods([one, other])
    with pytest.raises(ConfigError, match="different clips"):
        figures.difference(found["a"], found["b"], figures.Condition("av", 4, 2))
    later = report("a", [0, 0, 0], seed=1)
    later["ids"] = ["two", "one", "three"]
    with pytest.raises(ConfigError, match=r"a-s0\.json, a-s1\.json"):
        figures.methods([one, later])


def test_a_verdict_that_turns_on_a_seed_of_one_method_says_so(tool):
    claims, figures = tool("compare_claims"), tool("compare_figures")
    seeds = [report("mome-layer", errors, seed=s) for s, errors in enumerate([[0] * 3, [5, 5, 4]])]
    rival = report("mtsk-mss", [1, 1, 1])
    lower = claim(tool, "mome-layer", "mtsk-mss", "lower")
    told = claims.judge(lower, figures.methods([*seeds, rival]))
    assert told.verdict == "does not (seed 0 of both: holds)"
    assert "seed 0 of both -18.8 (" in told.figures[0]
    alone = claims.judge(lower, figures.methods([seeds[0], rival]))
    assert alone.verdict == "holds"
    assert "seed 0" not in alone.figures[0]


@pytest.mark.parametrize(
    ("spans", "wanted"),
    [
        ([(-3, -1), (-2, -1)], "holds"),
        ([(-3, -1), (-2, 1)], "undecided here"),
        ([(-3, -1), (1, 2)], "does not"),
        ([(-3, 0)], "undecided here"),
        ([(0, 3)], "undecided here"),
        ([(-2, 2), (1, 2)], "does not"),
    ],
)
def test_the_rule_of_verdicts(tool, spans, wanted):
    figure = tool("compare_figures").Figure
    figures = [figure((low + high) / 2, low, high) for low, high in spans]
    assert tool("compare_claims").verdict(figures) == wanted


def claim(tool, ours, rival, kind):
    return next(
        c for c in tool("compare_claims").CLAIMS if (c.ours, c.rival, c.kind) == (ours, rival, kind)
    )


def test_claims_are_judged_from_the_reports(tool):
    claims, figures = tool("compare_claims"), tool("compare_figures")
    good = report("mome-layer", [0, 0, 0], active=5)
    bad = report("mtsk-ss", [2, 3, 1], active=6)
    found = figures.methods([good, bad])
    lower = claim(tool, "mome-layer", "mtsk-ss", "lower")
    assert claims.judge(lower, found).verdict == "holds"
    turned = {"mome-layer": found["mtsk-ss"], "mtsk-ss": found["mome-layer"]}
    assert claims.judge(lower, turned).verdict == "does not"
    fewer = claim(tool, "mome-layer", "mtsk-ss", "fewer")
    assert claims.judge(fewer, found).figures == ("5 against 6",)
    assert claims.judge(fewer, found).verdict == "holds, by the suite's choice of sizes"
    assert claims.judge(fewer, turned).verdict == "does not"
    missing = claims.judge(claim(tool, "mome-layer", "mome-i", "lower"), found)
    assert (missing.verdict, missing.figures) == ("not run yet", ())


def test_growth_is_a_difference_of_differences(tool):
    claims, figures = tool("compare_claims"), tool("compare_figures")

    def growing(by):
        return {(a, v, snr): [by * (a == 16)] * 3 for a, v in RATES for snr in (None, -5.0, 5.0)}

    found = figures.methods(
        [report("mome-layer", growing(1)), report("lora", growing(3))],
    )
    told = claims.judge(claim(tool, "mome-layer", "lora", "growth"), found)
    assert told.verdict == "holds"
    assert told.figures[0] == "18.8 against 56.2 points"
    assert told.figures[1].startswith("difference -37.5 (")


def test_clips_that_do_not_end_are_told_and_do_not_decide(tool, grid):
    calm = report("mome-layer", [1, 0, 1], active=5)
    wild = report("mtsk-ss", [0, 40, 0], active=6)
    for row in wild["rows"]:
        row["truncated"] = 1
    page = tool("compare_page").page(grid, [calm, wild])["README.md"]
    assert cells(page, "Word error rate, sound and lips", "Llama-MTSK SS")[0].startswith("250.0 (")
    assert cells(page, "Transcripts that do not end", "Llama-MTSK SS")[4].startswith("37.5 (")
    assert cells(page, "Transcripts that do not end", "Llama-MTSK SS")[4].endswith(", 1 cut")
    assert cells(page, "Transcripts that do not end", "MoME-23/4-LAYER")[4].endswith(", 0 cut")
    claims, figures = tool("compare_claims"), tool("compare_figures")
    lower = claim(tool, "mome-layer", "mtsk-ss", "lower")
    told = claims.judge(lower, figures.methods([calm, wild]))
    assert told.figures[0].startswith("av 4,2: 12.5 against 250.0, difference -237.5 (")
    assert ", capped -25.0 (" in told.figures[0]


def test_claims_name_methods_and_conditions_of_the_suite(tool, grid):
    names = {line.name for line in grid.lines}
    for each in tool("compare_claims").CLAIMS:
        assert each.ours in names
        assert (each.rival in names) == (each.kind != "elsewhere")
        assert each.source


def test_the_page_and_plots_are_written_without_training(tool, tmp_path):
    compare, evaluation = tool("compare"), tool("compare_eval")
    evaluation.write_report(tmp_path / "mome-layer-s0.json", report("mome-layer", [1, 2, 0]))
    assert compare.main(["--page", "--out", str(tmp_path)]) == 0
    first = (tmp_path / "README.md").read_text()
    assert compare.main(["--page", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "README.md").read_text() == first
    assert "not run yet" in first
    for name in tool("compare_plots").PLOTS.values():
        root = ElementTree.fromstring((tmp_path / name).read_text())
        dots = list(root.iter("{http://www.w3.org/2000/svg}circle"))
        assert len(dots) == {"wer_by_tokens.svg": 4, "wer_by_snr.svg": 2}[name]


def test_reports_are_read_as_they_were_written(tool, tmp_path, grid):
    evaluation = tool("compare_eval")
    told = report("mome-layer", [1, 2, 0])
    evaluation.write_report(tmp_path / "run.json", told)
    (tmp_path / "other.json").write_text('{"schema": "else"}')
    assert evaluation.read_reports(tmp_path, grid) == [told]
    assert sum(WORDS) == 16
