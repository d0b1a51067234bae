"""Calibration makes confidences honest on clips that it has not seen, and is written down."""

import json

import numpy as np
import pytest

from avsr.confidence import Calibration
from avsr.transcript import Segment, Transcript, Word
from avsr.writers import write


@pytest.fixture
def spoken(tmp_path):
    """Clips whose words say they are surer than they are: right with probability raw squared."""
    random = np.random.default_rng(0)
    rows = []
    for k in range(60):
        said = [f"w{n}" for n in range(20)]
        sure = random.random(20)
        heard = [w if random.random() < p**2 else "x" for w, p in zip(said, sure, strict=True)]
        words = tuple(Word(w, confidence=float(p)) for w, p in zip(heard, sure, strict=True))
        part = Segment(0, 1, " ".join(heard), words=words)
        write(Transcript(part.text, (part,)), tmp_path / f"{k}.json")
        row = {"audio_filepath": f"{k}.wav", "duration": 1, "text": " ".join(said)}
        rows.append({**row, "corpus": "ab"[k % 2]})
    path = tmp_path / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_overconfident_words_become_honest(tool, spoken, tmp_path, capsys):
    files = ["--output", str(tmp_path / "calibration.json"), "--plot", str(tmp_path / "r.svg")]
    files += ["--check", str(tmp_path)]
    assert tool("calibrate").main([str(spoken), str(tmp_path), *files, "--about", "synthetic"]) == 0
    out = capsys.readouterr().out
    before, after = (float(out.split(f"{word} ")[1].split()[0]) for word in ("before", "after"))
    assert [line.split()[0] for line in out.splitlines()[2:]] == ["a:", "b:", "60"]
    assert before > 0.1
    assert after < 0.05
    made = Calibration.of(tmp_path)
    assert made is not None
    assert (made.words, made.about) == (1200, "synthetic")
    assert made(0.5) == pytest.approx(0.25, abs=0.1)
    assert (tmp_path / "r.svg").read_text().startswith("<svg")


def test_a_few_words_make_nothing_certain(tool):
    raw = np.array([0.1, 0.2, 0.8, 0.9, 0.95])
    made = tool("calibrate").fit(raw, np.array([0.0, 0.0, 1.0, 1.0, 1.0]))
    assert [made(0.0), made(0.2), made(0.8), made(1.0)] == pytest.approx(
        [1 / 4, 1 / 4, 4 / 5, 4 / 5]
    )


def test_calibrating_twice_is_refused(tool, spoken, tmp_path, capsys):
    path = tmp_path / "0.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "model": {"confidence": "calibrated"}}))
    args = [str(spoken), str(tmp_path), "--output", str(tmp_path / "calibration.json")]
    assert tool("calibrate").main(args) == 1
    assert "made with a calibration" in capsys.readouterr().err
    assert not (tmp_path / "calibration.json").exists()


def test_a_word_is_right_where_the_alignment_says_so(tool):
    words = [("Bin,", 0.9), ("red", 0.2), ("at", 0.7)]
    assert tool("calibrate").judged("bin blue at", words) == [
        (0.9, True),
        (0.2, False),
        (0.7, True),
    ]
    assert tool("calibrate").judged("", words) == [(0.9, False), (0.2, False), (0.7, False)]
