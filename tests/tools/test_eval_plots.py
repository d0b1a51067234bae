"""Plots of an evaluation draw the rows of its report, and say which they cannot draw."""

import json
import xml.etree.ElementTree as ElementTree

CIRCLE = "{http://www.w3.org/2000/svg}circle"


def row(task, audio, video, wer, *, tokens=10.0, snr=None, damage=None):
    rates = {"audio": audio, "video": video}
    told = {"system": "avsr", "task": task, "rates": rates, "snr_db": snr, "damage": damage}
    return {**told, "tokens_per_second": tokens, "wer": wer}


def test_each_row_is_a_dot(tool, tmp_path, capsys):
    rows = [
        row("a", 4, None, 0.1, tokens=12.5),
        row("a", 16, None, 0.2, tokens=3.1),
        row("av", 4, 2, 0.05, tokens=25.0),
        row("av", 4, 2, 0.3, snr=0.0),
        row("av", 4, 2, 0.5, snr=-5.0),
        row("av", 4, 2, 0.4, damage="rain"),
        row("av", 16, 5, 0.6, damage="rain"),
    ]
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"rows": rows}))
    assert tool("eval_plots").main([str(path), "--output-dir", str(tmp_path / "p")]) == 0
    dots = {
        file.name: len(list(ElementTree.fromstring(file.read_text()).iter(CIRCLE)))
        for file in (tmp_path / "p").iterdir()
    }
    assert dots == {
        "wer_by_tokens.svg": 3,
        "wer_by_snr.svg": 2,
        "wer_by_task.svg": 0,
        "wer_by_damage.svg": 0,
    }
    assert capsys.readouterr().err == ""
    bars = (tmp_path / "p" / "wer_by_damage.svg").read_text()
    assert all(f">{name}<" in bars for name in ("a: none", "av: none", "av: rain"))
    assert ">40" in bars  # at the finest rates, the first of their name


def test_what_cannot_be_drawn_is_said(tool, tmp_path, capsys):
    path = tmp_path / "report.json"
    rows = [row("a", 4, None, 0.1), row("a", 16, None, 1.0, tokens=None)]  # where all clips failed
    path.write_text(json.dumps({"rows": rows}))
    assert tool("eval_plots").main([str(path), "--output-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().err.count("too few rows") == 3
