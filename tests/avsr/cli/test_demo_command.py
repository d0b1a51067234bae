"""`avsr demo`: every rate pair, and the word that the clip is synthetic."""

import types

from avsr.cli import demo
from avsr.rates import Rates


class FakeRecogniser:
    def prepare(self, path, *, modality):
        return types.SimpleNamespace(path=path, seconds=3.0, modality=modality)

    def encode(self, clips):
        assert len(clips) == 1

    def pairs(self, task):
        return [Rates(4, 2), Rates(16, 5)]

    def recognise(self, clips, *, modality, rates):
        tokens = {"audio": 150 // rates.audio, "video": 75 // rates.video}
        return [types.SimpleNamespace(text=f"bin {rates}", tokens=tokens)]


def test_a_line_for_each_pair_with_tokens_seconds_and_text(
    api, command, capsys, monkeypatch, tmp_path
):
    api.recogniser = FakeRecogniser()
    monkeypatch.setattr(demo, "CLIP", tmp_path / "demo.mp4")
    demo.CLIP.write_bytes(b"x")
    assert command("demo") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "synthetic" in line] == lines[:1]
    fine, coarse = lines[-2].split(), lines[-1].split()
    assert (fine[:3], fine[4:]) == (["4", "2", "74"], ["bin", "4,2"])
    assert (coarse[:3], coarse[4:]) == (["16", "5", "24"], ["bin", "16,5"])
    assert float(fine[3]) >= 0


def test_a_missing_clip_is_a_setup_error(api, command, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "CLIP", tmp_path / "demo.mp4")
    assert command("demo") == 3
    assert "the packaged clip is missing" in capsys.readouterr().err
    assert api.loaded == []
