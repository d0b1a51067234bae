"""The figures of `tools/bench_frontend.py` stand with their command, machine, code and clip."""

import json
import sys

import pytest

from tests.frontends.clips import tone, write_clip


def test_figures_and_table(tool, tmp_path, monkeypatch, capsys):
    bench = tool("bench_frontend")
    clip = write_clip(tmp_path / "a.wav", wave=tone(2.0, 16_000))
    monkeypatch.setattr(bench, "stages", lambda path, repeat: {"decode": 0.5, "detect": 1.0})
    out = tmp_path / "speed.json"
    monkeypatch.setattr(sys, "argv", ["bench_frontend.py", str(clip), "--out", str(out)])
    bench.main()
    told = json.loads(out.read_text())
    assert told["clip_seconds_per_second"] == {"decode": 4.0, "detect": 2.0}
    assert told["command"].endswith(f"--out {out}")
    assert {"code", "machine", "torch", "threads", "seconds"} <= set(told)
    page = out.with_suffix(".md").read_text()
    assert "| decode | 4.0 | 100 |" in page
    assert told["machine"] in page
    assert "100 pictures a second" in capsys.readouterr().out


def test_the_least_time_counts(tool, monkeypatch):
    bench = tool("bench_frontend")
    clock = iter([0.0, 3.0, 10.0, 11.0, 20.0, 22.0])
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(clock))
    assert bench.timed(lambda: None, 3) == pytest.approx(1.0)
