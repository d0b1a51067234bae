"""`avsr eval`: which clips, which rows, what is printed and how it ends."""

import csv
import json
import types

import pytest

from avsr import evaluate, loading
from avsr.cli import eval as command_module
from avsr.errors import ModelError
from avsr.evaluate import Heard, Row
from avsr.rates import Rates
from avsr.score import score


class FakeRecogniser:
    facts = {"name": "fake"}  # noqa: RUF012
    model = types.SimpleNamespace(device="cpu", config=types.SimpleNamespace(ctc_weights={}))
    compression_note = None
    alignment = object()

    def use_compressor(self, name):
        if name["name"] == "hier":
            raise ModelError("not trained with it")
        self.compression_note = f"compressed by {name['name']}"

    def pairs(self, task):
        audio = [4, 16] if "a" in task else [None]
        video = [2] if "v" in task else [None]
        return [Rates(a, v) for a in audio for v in video]


@pytest.fixture
def manifest(tmp_path):
    rows = [
        {"id": "1", "audio_filepath": "1.wav", "duration": 2, "text": "a b", "split": "test"},
        {"id": "2", "video_filepath": "2.mp4", "duration": 2, "text": "c d", "split": "test"},
        {"id": "3", "video_filepath": "3.mp4", "duration": 2, "text": "e f", "split": "train"},
    ]
    path = tmp_path / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def asked(monkeypatch):
    """Stand in for the model and the loop: hear everything rightly but clips named in `bad`."""
    made = types.SimpleNamespace(items=None, wanted=None, settings=None, bad=(), loads=0)

    def load_model(*_, **__):
        made.loads += 1
        return FakeRecogniser()

    def run(_, items, wanted, *, progress, **settings):
        made.items, made.wanted, made.settings = items, wanted, settings
        progress(len(items))
        rows = []
        for condition in wanted:
            heard = tuple(
                Heard(one, error="broken") if one.id in made.bad else Heard(one, one.text, 10, 0.5)
                for one in items
            )
            texts = [one.item.text for one in heard], [one.text for one in heard]
            rows.append(Row(condition, score(*texts, samples=20), heard))
        return rows

    monkeypatch.setattr(loading, "load_model", load_model)
    monkeypatch.setattr(evaluate, "evaluate", run)
    return made


def test_the_table_has_a_line_for_each_row(asked, command, manifest, capsys):
    assert command("eval", manifest, "--split", "test", "--tasks", "a,av") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split()[:6] == "system task rates snr clips WER".split()
    assert lines[1].split() == (
        "avsr a 4,- clean 2 0.0% 0.0 - 0.0 0.0% 0 0 0 5.0 0.250 0.0% 0.0%".split()
    )
    assert len(lines) == 1 + 4 + 2
    assert lines[-2] == "normalizer lrs3/1"
    assert lines[-1].startswith("peak memory ")
    assert "1 of 2 clips have no picture" in err


def test_quiet_draws_no_progress(asked, command, manifest, monkeypatch):
    shown = []
    real = command_module.Progress

    def record(total, *, show):
        shown.append(show)
        return real(total, show="never")

    monkeypatch.setattr(command_module, "Progress", record)
    for words in ([], ["-q"], ["--quiet"]):
        assert command("eval", manifest, "--tasks", "a", *words) == 0
    assert shown == ["auto", "never", "never"]


def test_a_share_of_a_ctc_that_is_not_there_is_refused(asked, command, manifest, monkeypatch):
    monkeypatch.setattr(FakeRecogniser, "alignment", None)
    assert command("eval", manifest, "--tasks", "a", "--ctc-weight", "0") == 0
    assert command("eval", manifest, "--tasks", "a", "--ctc-weight", "0.1") == 2


def test_filters_and_limit_choose_the_clips(asked, command, manifest):
    assert command("eval", manifest, "--split", "test,train", "--limit", 2) == 0
    assert [item.id for item in asked.items] == ["1", "2"]
    assert command("eval", manifest, "--split", "validation") == 1


def test_rates_and_options_reach_the_loop(asked, command, manifest):
    more = ["--rates", "16,2", "--seed", "3", "--beam-size", "2", "--normalizer", "none"]
    more += ["--roi", "given", "--max-new-tokens", "7", "--ctc-weight", "0.2", "--samples", "50"]
    assert command("eval", manifest, "--tasks", "av", "--batch-size", 4, *more) == 0
    assert [(c.task, c.rates) for c in asked.wanted] == [("av", Rates(16, 2))]
    options = asked.settings["options"]
    assert (options.seed, options.batch_size, options.normalizer) == (3, 4, "none")
    assert (options.roi, options.samples) == ("given", 50)
    decode = options.decode
    assert (decode.beam_size, decode.max_new_tokens, decode.ctc_weight) == (2, 7, 0.2)


def test_damages_reach_the_loop_a_row_each(asked, command, manifest, tmp_path, capsys):
    (tmp_path / "rain.yaml").write_text("- {kind: sound_mask}\n")
    files = "none,rain.yaml"
    more = ["--tasks", "a", "--rates", "4,2", "--output-json", "r.json", "--output-csv", "r.csv"]
    assert command("eval", manifest, *more, "--damage", files, "--seed", 3) == 0
    damage = asked.settings["options"].damages["rain"].to_dict()
    assert (damage["seed"], [step["kind"] for step in damage["damage"]]) == (3, ["sound_mask"])
    assert [one.damage for one in asked.wanted] == [None, "rain"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[:3]] == ["damage", "-", "rain"]
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["damages"] == {"rain": [{"kind": "sound_mask"}]}
    assert [row["damage"] for row in report["rows"]] == [None, "rain"]
    assert [row["damage"] for row in csv.DictReader((tmp_path / "r.csv").open())] == ["-", "rain"]
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "rain.yaml").write_text("- {kind: flip}\n")
    assert command("eval", manifest, "--tasks", "a", "--damage", "rain.yaml,x/rain.yaml") == 0
    assert list(asked.settings["options"].damages) == ["rain.yaml", "x/rain.yaml"]


def test_another_compressor_is_said_or_refused(asked, command, manifest, capsys):
    assert command("eval", manifest, "--tasks", "a", "--compress", "cluster") == 0
    assert "avsr eval: compressed by cluster\n" in capsys.readouterr().err
    assert command("eval", manifest, "--tasks", "a", "--compress", "hier") == 2
    assert "not trained with it" in capsys.readouterr().err


def test_expected_words_are_told_to_the_model(asked, command, manifest, monkeypatch):
    told = []
    monkeypatch.setattr("avsr.hotwords.expect", lambda model, words: told.append(words))
    assert command("eval", manifest, "--tasks", "a", "--hotwords", "lay,green") == 0
    assert told == [("lay", "green")]


def test_a_report_is_written_whole(asked, command, manifest, tmp_path):
    asked.bad = ("2",)
    assert command("eval", manifest, "--output-json", "report.json", "--tasks", "a") == 1
    made = json.loads((tmp_path / "report.json").read_text())
    assert made["schema"] == "avsr.eval/2"
    assert made["model"] == {"name": "fake"}
    row = made["rows"][0]
    assert {"wer", "cer", "words", "wer_interval", "tokens_per_second", "rtf"} <= set(row)
    assert (row["failed"], row["clips"], row["empty_share"]) == (1, 3, pytest.approx(1 / 3))
    assert [one["error"] for one in row["hypotheses"]] == [None, "broken", None]


def test_failed_clips_are_named_once_and_end_with_1(asked, command, manifest, capsys):
    asked.bad = ("3",)
    assert command("eval", manifest, "--tasks", "a") == 1
    assert capsys.readouterr().err == "3: error: broken\n"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--snr", "0"], "--snr needs --noise"),
        (["--noise", "n.wav"], "--noise needs --snr"),
        (["--noise", "n.wav", "--snr", "clean"], "--noise needs --snr"),
        (["--snr", "loud"], "'loud' is neither a level in dB nor clean"),
        (["--snr", "nan"], "neither"),
        (["--noise", "n.wav", "--snr", "0", "--tasks", "v"], "lips hear no noise"),
        (["--rates", "4"], "cannot read the rates"),
        (["--tasks", "x"], "'x' is not a comma list of a, v, av"),
        (["--output-json", "gone/report.json"], "no folder for"),
        (["--output-csv", "gone/report.csv"], "no folder for"),
        (["--alignments", "gone/report.txt"], "no folder for"),
        (["--plots", "manifest.jsonl"], "--plots wants a folder"),
        (["--max-wer", "x"], "is not a percentage"),
        (["--bootstrap-by", "word"], "invalid choice"),
    ],
)
def test_wrong_usage_ends_with_2_before_loading(asked, command, manifest, capsys, args, told):
    assert command("eval", manifest, *args) == 2
    assert told in capsys.readouterr().err
    assert asked.loads == 0


def test_a_rate_that_was_not_trained_ends_with_2(asked, command, manifest, capsys):
    assert command("eval", manifest, "--rates", "7,2") == 2
    assert "not trained" in capsys.readouterr().err


def test_noise_levels_may_begin_with_a_minus():
    assert command_module._snrs("-5,0,clean,0") == (-5.0, 0.0, None)


def test_tables_for_pages_and_spreadsheets(asked, command, manifest, tmp_path):
    files = ["--output-markdown", "t.md", "--output-csv", "t.csv"]
    assert command("eval", manifest, "--tasks", "a,av", *files) == 0
    table = (tmp_path / "t.md").read_text().split("\n\n")[0].splitlines()
    assert len(table) == 2 + 4
    assert len({line.count("|") for line in table}) == 1
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [row["rates"] for row in rows] == ["4,-", "16,-", "4,2", "16,2"]
    assert {row["wer"] for row in rows} == {"0.0"}


def test_words_under_words_and_plots(asked, command, manifest, tmp_path, capsys):
    asked.bad = ("2",)
    more = ["--alignments", "al.txt", "--plots", "p/q", "--output-json", "r.json", "--most", 1]
    assert command("eval", manifest, "--tasks", "a", *more) == 1
    blocks = (tmp_path / "al.txt").read_text().split("== ")
    assert [block.split("\n")[0] for block in blocks[1:]] == ["avsr a 4,-", "avsr a 16,-"]
    assert "| Sum/Avg" in blocks[1] or "\nSum/Avg" in blocks[1]
    assert "id: 2\nScores: (#C #S #D #I) 0 0 2 0\nREF:  C D" in blocks[1]
    drawn = {path.name for path in (tmp_path / "p" / "q").iterdir()}
    assert drawn == {"wer_by_tokens.svg", "wer_by_task.svg"}
    assert "wer_by_snr.svg not drawn: too few rows" in capsys.readouterr().err
    row = json.loads((tmp_path / "r.json").read_text())["rows"][0]
    assert [one["id"] for one in row["worst"]] == ["2"]
    assert row["deletions"] == [["c", 1]]
    (tmp_path / "file").touch()
    assert command("eval", manifest, "--tasks", "a", "--plots", "file/p") == 1
    assert "cannot make the folder" in capsys.readouterr().err


@pytest.mark.parametrize(("limit", "code"), [("0", 1), ("33", 1), ("34", 0)])
def test_the_gate_is_the_worst_row(asked, command, manifest, limit, code, capsys, monkeypatch):
    def one_wrong(_, items, wanted, **settings):
        heard = [Heard(one, one.text if one.id != "2" else "x y") for one in items]
        texts = [one.item.text for one in heard], [one.text for one in heard]
        made = score(*texts, samples=20)
        return [Row(condition, made, tuple(heard)) for condition in wanted]

    monkeypatch.setattr(evaluate, "evaluate", one_wrong)
    assert command("eval", manifest, "--tasks", "a", "--max-wer", limit) == code
    assert ("is above" in capsys.readouterr().err) == bool(code)


def test_an_earlier_report_is_compared_row_by_row(asked, command, manifest, tmp_path, capsys):
    asked.bad = ("2",)
    assert command("eval", manifest, "--tasks", "a", "--output-json", "old.json") == 1
    asked.bad = ()
    more = ["--against", "old.json", "--output-json", "new.json", "--seed", 1]
    assert command("eval", manifest, "--tasks", "a,v", *more) == 0
    out = capsys.readouterr().out
    assert "avsr a 4,-: WER -100.0 % relative to the earlier report" in out
    assert "avsr v -,2: not in the earlier report" in out
    made = json.loads((tmp_path / "new.json").read_text())
    assert made["rows"][0]["against"]["relative"] == -1
    assert made["rows"][0]["against"]["improvement"] > 0.5
    assert made["rows"][2]["against"] is None
    assert made["peak_memory_bytes"] > 10**7
    assert command("eval", manifest, "--split", "test", "--tasks", "a", *more[:2]) == 1
    assert "other clips" in capsys.readouterr().err
    (tmp_path / "no.json").write_text("{}")
    assert command("eval", manifest, "--against", "no.json") == 1


def test_speakers_must_be_known_to_be_drawn(asked, command, manifest, capsys):
    assert command("eval", manifest, "--bootstrap-by", "speaker") == 1
    assert "speakers are not known" in capsys.readouterr().err
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    manifest.write_text("".join(json.dumps({**row, "speaker": "s"}) + "\n" for row in rows))
    assert command("eval", manifest, "--bootstrap-by", "speaker") == 0
    assert asked.settings["options"].bootstrap_by == "speaker"


def test_corpus_and_speaker_choose_the_clips(asked, command, manifest):
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    names = [("grid", "ann"), ("grid", "bob"), ("libri", "ann")]
    rows = [{**row, "corpus": c, "speaker": s} for row, (c, s) in zip(rows, names, strict=True)]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert command("eval", manifest, "--corpus", "grid", "--speaker", "ann") == 0
    assert [item.id for item in asked.items] == ["1"]


def test_the_baseline_is_the_models_own_encoders_decoder(asked, command, manifest, monkeypatch):
    made = []
    config = types.SimpleNamespace(audio_tower="whisper-tiny.en")
    tower = types.SimpleNamespace(device="cpu", config=config)
    monkeypatch.setattr(FakeRecogniser, "model", tower)
    monkeypatch.setattr("avsr.weights.resolve", lambda name, **_: f"cache/{name}")
    monkeypatch.setattr(
        "avsr.baseline.WhisperBaseline", lambda folder, *, device: made.append((folder, device))
    )
    assert command("eval", manifest, "--baseline", "whisper", "--tasks", "a") == 0
    assert made == [("cache/whisper-tiny.en", "cpu")]
    assert [c.system for c in asked.wanted] == ["avsr", "avsr", "whisper"]
