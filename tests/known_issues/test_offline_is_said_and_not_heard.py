"""`--local-files-only` did nothing for a model of the hub, and HF_HUB_OFFLINE nothing for others.

`model_folder` took the flag and did not hand it on; `avsr roi`, `avsr pull` and the baseline of
`avsr eval` did not look at the variable.
"""

from pathlib import Path

from avsr import loading


def test_a_model_of_the_hub_is_not_asked_for_over_the_network(monkeypatch):
    asked = []

    def resolve(name, **settings):
        asked.append((name, settings))
        return "folder"

    monkeypatch.setattr(loading, "resolve", resolve)
    assert loading.model_folder("org/name", True) == Path("folder")
    assert asked == [("org/name", {"local_files_only": True})]


def test_roi_heeds_the_variable(tmp_path, monkeypatch, capsys):
    from avsr import prepare
    from avsr.cli import main
    from avsr.errors import SetupError
    from tests.frontends.clips import write_clip

    told = []

    def resolve(name, *, local_files_only):
        told.append(local_files_only)
        raise SetupError("not in the cache")

    monkeypatch.setattr(prepare, "resolve", resolve)
    path = write_clip(tmp_path / "x.mkv", times=[0.0, 0.04, 0.08], codec="ffv1")
    for value in ("0", "1"):
        monkeypatch.setenv("HF_HUB_OFFLINE", value)
        assert main(["roi", str(path)]) == 3
    assert told == [False, True]
