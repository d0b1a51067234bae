"""`avsr score`: files are matched as they say, or refused with a reason."""

import json

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
    out = capsys.readouterr().out
    assert out.split("\n")[0].split()[:7] == "Snt Ref Corr Sub Del Ins Err".split()
    assert "50.00%" in out
    assert "lrs3/1" in out


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
    assert "0.00%" in capsys.readouterr().out


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
