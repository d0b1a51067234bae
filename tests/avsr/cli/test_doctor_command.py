"""`avsr doctor`: each fault is found, told with what to do, and stops no other check."""

import json
import sys
from importlib import metadata

import pytest

from avsr.cli import doctor


@pytest.fixture
def examined(monkeypatch):
    """Run one check and give its findings by state."""

    def call(check):
        monkeypatch.setattr(doctor, "_CHECKS", {"it": getattr(doctor, check)})
        return list(doctor.examine())

    return call


def bad(findings):
    return [f for f in findings if f.state != "ok"]


def test_a_report_as_lines_and_as_json(command, capsys, monkeypatch):
    found = [
        doctor.Finding("a", "ok", "well"),
        doctor.Finding("b", "fault", "broken", "Mend it."),
    ]
    monkeypatch.setattr(doctor, "examine", lambda: iter(found))
    assert command("doctor") == 3
    out = capsys.readouterr().out
    assert "fault    b         broken" in out
    assert "Mend it." in out
    assert out.endswith("1 faults\n")
    assert command("doctor", "--json") == 3
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["faults"]) == ("avsr.doctor/1", 1)
    monkeypatch.setattr(doctor, "examine", lambda: iter(found[:1]))
    assert command("doctor") == 0


def test_packages_that_are_missing_old_or_stolen_are_faults(examined, monkeypatch):
    real = metadata.version
    wanted = ["torch>=2.6", "nonesuch>=1", "lightning>=2.6.6,!=2.6.2", "x>=1; extra == 'dev'"]
    versions = {"torch": "1.0", "lightning": "2.6.2"}
    monkeypatch.setattr(metadata, "requires", lambda _: wanted)
    monkeypatch.setattr(metadata, "version", lambda name: versions.get(name) or real(name))
    told = [f"{f.told} {f.todo}" for f in bad(examined("_packages")) if f.name == "packages"]
    assert [t.split()[0] for t in told] == ["torch", "nonesuch", "lightning"]
    assert "pip install 'torch>=2.6'" in told[0]
    assert "stolen" in told[2]


def test_two_opencvs_are_told(examined, monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda _: [])
    monkeypatch.setattr(metadata, "version", lambda name: "5.0")
    (finding,) = bad(examined("_packages"))
    assert "overwrite each other's files" in finding.told


def test_a_torchaudio_that_cannot_load_is_a_warning(examined, monkeypatch):
    def broken(name):
        raise OSError("undefined symbol")

    monkeypatch.setattr(doctor, "import_module", broken)
    (finding,) = bad(examined("_torch"))
    assert (finding.state, finding.name) == ("warning", "torchaudio")
    assert "undefined symbol" in finding.told
    assert "Transcription works without it" in finding.todo


def test_the_packaged_clip_is_read(examined):
    (finding,) = examined("_media")
    assert finding.state == "ok"


def test_an_empty_cache_is_a_warning_with_the_command_that_fills_it(
    examined, monkeypatch, tmp_path
):
    monkeypatch.setenv("AVSR_HOME", str(tmp_path / "void"))
    found = [f for f in examined("_weights") if f.name == "weights"]
    assert {f.state for f in found} == {"warning"}
    assert all("avsr pull" in f.todo for f in found)


def test_a_model_of_the_environment_that_is_not_there_is_a_fault(examined, monkeypatch):
    monkeypatch.setenv("AVSR_MODEL", "./nonesuch")
    (finding,) = examined("_model")
    assert (finding.state, finding.name) == ("fault", "model")


def test_a_network_that_may_not_be_used_is_told(examined, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (finding,) = bad(examined("_system"))
    assert finding.name == "network"


def test_a_check_that_fails_is_a_fault_and_stops_no_other(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    checks = {"media": doctor._media, "system": doctor._system}
    monkeypatch.setattr(doctor, "_CHECKS", checks)
    first, *rest = doctor.examine()
    assert (first.name, first.state) == ("media", "fault")
    assert rest[0].name == "system"
