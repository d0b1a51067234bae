"""`avsr score`: files are matched as they say, or refused with a reason."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def put(tmp_path):
    def write(name, *lines, end="\n"):
        rows = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        (tmp_path / name).write_bytes("".join(f"{row}{end}" for row in rows).encode())
        return tmp_path / name

    return write


def report(capsys):
    return json.loads(capsys.readouterr().out)


def test_text_files_are_scored_line_by_line(command, put, capsys):
    args = (put("r.txt", "Bin blue.", "set", ""), put("h.txt", "bin blew", "", "x"))
    assert command("score", *args, "--format", "json", "--samples", 50) == 0
    made = report(capsys)
    assert made["schema"] == "avsr.score/1"
    assert made["words"] == {
        "reference": 3,
        "hits": 1,
        "substitutions": 1,
        "deletions": 1,
        "insertions": 1,
    }
    assert (made["utterances"], made["empty_hypotheses"]) == (3, 1)
    assert made["wer_interval"]["samples"] == 50


def test_a_table_has_the_columns_of_sclite(command, put, capsys):
    assert command("score", put("r.txt", "a b"), put("h.txt", "a c")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].replace("|", " ").split() == (
        "SPKR # Snt # Wrd Corr Sub Del Ins Err S.Err".split()
    )
    assert lines[2].replace("|", " ").split() == "Sum/Avg 1 2 50.0 50.0 0.0 0.0 50.0 100.0".split()
    assert any(line.startswith("WER 50.00 % (95 %: 50.00 - 50.00") for line in lines)
    assert any("lrs3/1" in line for line in lines)


def test_manifests_are_matched_by_id(command, put, capsys):
    said = put("r.jsonl", {"id": "1", "text": "a"}, {"id": "2", "text": "b"})
    heard = put("h.jsonl", {"id": "2", "pred_text": "b", "text": "no"}, {"id": "1", "text": "a"})
    assert command("score", said, heard, "--format", "json") == 0
    assert report(capsys)["wer"] == 0


def test_one_manifest_with_both_texts_is_enough(command, put, capsys):
    both = put("m.jsonl", {"id": 1, "text": "a b", "pred_text": "a"})
    assert command("score", both, both, "--format", "json") == 0
    assert report(capsys)["wer"] == 0.5


def test_bom_and_crlf_are_no_words(command, put, capsys):
    said = put("r.txt", "\ufeffa", "b", end="\r\n")
    assert command("score", said, put("h.txt", "a", "b"), "--normalizer", "none") == 0
    assert "WER 0.00 %" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("heard", "told"),
    [
        (["a"], "2 references but 1 hypotheses"),
        (['{"id": "1", "text": "a"}', '{"id": "3", "text": "a"}'], "1 ids without a hypothesis"),
        (['{"id": "1", "text": "a"}', '{"id": "1", "text": "a"}'], "'1' occurs twice"),
        (['{"id": "1"}', "{}"], "line 1). Give one object a line"),
        (['{"id": "1", "text": "a"}', "{"], "is not JSON"),
    ],
)
def test_files_that_do_not_fit_end_with_1_and_a_reason(command, put, capsys, heard, told):
    said = put("r.jsonl", {"id": "1", "text": "a"}, {"id": "2", "text": "b"})
    assert command("score", said, put("h.txt", *heard)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert err.count("\n") == 1


def test_a_missing_and_a_binary_file_end_with_1(command, put, capsys, tmp_path):
    said = put("r.txt", "a")
    assert command("score", said, "gone.txt") == 1
    assert "cannot be read: No such file" in capsys.readouterr().err
    (tmp_path / "b").write_bytes(b"ab\xff")
    assert command("score", said, "b") == 1
    assert "is not UTF-8 text at byte 2" in capsys.readouterr().err


@pytest.mark.parametrize(("limit", "code"), [("50", 0), ("49.9", 1), ("50%", 0)])
def test_max_wer_is_a_gate_in_percent(command, put, limit, code):
    args = (put("r.txt", "a b"), put("h.txt", "a c"), "--max-wer", limit)
    assert command("score", *args) == code


@pytest.mark.parametrize("limit", ["-1", "nan", "inf", "five"])
def test_max_wer_that_is_no_percentage_is_wrong_usage(command, put, limit):
    assert command("score", put("r.txt", "a"), put("h.txt", "a"), f"--max-wer={limit}") == 2


def test_two_systems_are_compared(command, put, capsys):
    said, old, new = put("r.txt", "a b"), put("o.txt", "x y"), put("h.txt", "a y")
    assert command("score", said, new, "--against", old, "--format", "json") == 0
    assert report(capsys)["against"]["relative"] == -0.5
    assert command("score", said, new, "--against", said, "--format", "json") == 0
    assert report(capsys)["against"]["relative"] is None
    assert command("score", said, new, "--against", old) == 0
    assert "-50.0 % relative to --against" in capsys.readouterr().out


def test_no_draws_no_interval(command, put, capsys):
    args = (put("r.txt", "a"), put("h.txt", "a"), "--samples", 0, "--format", "json")
    assert command("score", *args) == 0
    assert report(capsys)["wer_interval"] is None


TRN = ("a b c d (ann-1)", "e f (ann-2)", "g h (bob-1)")
HEARD = ("a x c d (ann-1)", "e f (ann-2)", "g h i (bob-1)")


def test_the_seed_of_the_draws_is_told_and_kept_to(command, put, capsys):
    said = [f"a b c d {k}" for k in range(12)]
    heard = [f"a b {'x' * (k % 3 + 1)} d {k}" if k % 4 else "" for k in range(12)]
    args = (put("r.txt", *said), put("h.txt", *heard), "--format", "json", "--samples", 40)
    spans = []
    for seed in (1, 1, 2):
        assert command("score", *args, "--seed", seed) == 0
        spans.append(report(capsys)["wer_interval"])
    assert spans[0] == spans[1] != spans[2]
    assert (spans[0]["seed"], spans[2]["seed"]) == (1, 2)


def test_speakers_have_lines_of_their_own_and_are_drawn_together(command, put, capsys):
    args = (put("r.trn", *TRN), put("h.trn", *HEARD))
    assert command("score", *args) == 0
    rows = [line.replace("|", " ").split() for line in capsys.readouterr().out.splitlines()]
    assert "ann 2 6 83.3 16.7 0.0 0.0 16.7 50.0".split() in rows
    assert "bob 1 2 100.0 0.0 0.0 50.0 50.0 100.0".split() in rows
    assert "Mean 91.7 8.3 0.0 25.0 33.3 75.0".split() in rows
    assert command("score", *args, "--bootstrap-by", "speaker", "--format", "json") == 0
    made = report(capsys)
    ends = (made["wer_interval"]["low"], made["wer_interval"]["high"])
    assert ends == (pytest.approx(1 / 6), pytest.approx(1 / 2))  # all draws of one speaker
    assert made["bootstrap_by"] == "speaker"


def test_drawing_speakers_that_nobody_named_is_refused(command, put, capsys):
    args = (put("r.txt", "a"), put("h.txt", "a"), "--bootstrap-by", "speaker")
    assert command("score", *args) == 1
    assert "the speakers are not known" in capsys.readouterr().err


def test_a_report_beside_what_is_printed(command, put, tmp_path, capsys):
    args = (put("r.trn", *TRN), put("h.trn", *HEARD), "--most", 1)
    files = ("--output-json", "o.json", "--output-markdown", "o.md", "--output-csv", "o.csv")
    assert command("score", *args, *files, "--alignments", "o.txt") == 0
    made = json.loads((tmp_path / "o.json").read_text())
    assert made["confusions"] == [["b", "x", 1]]
    assert made["insertions"] == [["i", 1]]
    assert [one["id"] for one in made["worst"]] == ["bob-1"]  # as many errors, but shorter
    assert [row["name"] for row in made["lengths"]] == ["0 to 5 words"]
    rows = list(csv.DictReader((tmp_path / "o.csv").open()))
    assert {row["kind"] for row in rows} == {"speaker", "length", "sum"}
    assert float(rows[-1]["wer"]) == pytest.approx(made["wer"], abs=1e-6)
    page = (tmp_path / "o.md").read_text()
    tables = [block for block in page.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3
    for table in tables:
        assert len({line.count("|") for line in table.strip().splitlines()}) == 1
    aligned = (tmp_path / "o.txt").read_text()
    assert "REF:  a B c d\nHYP:  a X c d\nEval:   S" in aligned
    assert "REF:  g h *\nHYP:  g h I\nEval:     I" in aligned
    assert command("score", *args, "--output-json", "gone/o.json") == 1


@pytest.mark.parametrize("form", ["markdown", "csv"])
def test_any_form_can_be_printed(command, put, capsys, form):
    assert command("score", put("r.txt", "a"), put("h.txt", "a"), "--format", form) == 0
    assert capsys.readouterr().out.startswith({"markdown": "| |", "csv": "kind,"}[form])


@pytest.mark.parametrize(("missing", "wer"), [("present", 0), ("all", 0.5)])
def test_what_a_missing_hypothesis_means_is_said(command, put, capsys, missing, wer):
    said = put("r.jsonl", {"id": "1", "text": "a"}, {"id": "2", "text": "b"})
    heard = put("h.jsonl", {"id": "1", "text": "a"})
    assert command("score", said, heard) == 1
    assert command("score", said, heard, "--missing", missing, "--format", "json") == 0
    assert report(capsys)["wer"] == wer


def test_a_line_of_a_trn_file_without_an_id_is_refused(command, put, capsys):
    assert command("score", put("r.trn", "a b"), put("h.trn", *HEARD)) == 1
    assert "line 1" in capsys.readouterr().err


def test_scoring_never_imports_torch(put):
    """Also not with every option of it."""
    words = [str(put("r.trn", *TRN)), str(put("h.trn", *HEARD))]
    words += ["--against", str(put("o.trn", *TRN)), "--format", "json"]
    code = (
        "import sys; from avsr.cli import main; code = main(['score', *sys.argv[1:]])\n"
        "heavy = {'torch', 'transformers', 'lightning', 'av', 'cv2'} & set(sys.modules)\n"
        "sys.exit(code or len(heavy))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["against"]["improvement"] == 0.0


def test_the_script_of_the_tools_prints_the_same_table(command, put, capsys):
    args = (put("r.trn", *TRN), put("h.trn", *HEARD))
    assert command("score", *args) == 0
    told = capsys.readouterr().out
    tool = Path(__file__).parents[3] / "tools" / "wer.py"
    space = {"__name__": "wer", "__file__": str(tool)}
    exec(compile(tool.read_text(), str(tool), "exec"), space)
    assert space["main"]([str(arg) for arg in args]) == 0
    assert capsys.readouterr().out == told
    assert space["main"](["one"]) == 2
    assert space["main"]([str(args[0]), "gone"]) == 1
