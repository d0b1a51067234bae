"""The picture in CONTRIBUTING.md has every arrow of the sources, and none that points back."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def shape(text):
    """Arrows without their counts: those change with every import."""
    return set(re.findall(r"(\w+) -->\|\d+\| (\w+)", text))


def test_the_page_shows_the_arrows_that_there_are(tool):
    found = shape(tool("architecture").picture())
    assert shape(PAGE) == found, "run: python tools/architecture.py --write"
    assert ("avsr", "frontends") in found
    assert not [arrow for arrow in found if arrow[0] in ("frontends", "experts")]


def test_imports_are_counted_by_part(tool, tmp_path):
    for name, source in {
        "avsr/api.py": "from frontends.media import open_clip\nfrom avsr import score\nimport os",
        "avsr/cli/run.py": "from avsr import api\nimport avsr.train.app\nfrom avsr.cli import x",
        "experts/mome.py": "import torch",
        "frontends/media.py": "",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    assert dict(tool("architecture").arrows(tmp_path)) == {
        ("avsr", "frontends"): 1,
        ("avsr.cli", "avsr"): 1,
        ("avsr.cli", "avsr.train"): 1,
    }


def test_the_graph_is_put_between_its_marks(tool):
    module = tool("architecture")
    page = f"a\n{module.START}\nold\n{module.END}\nb"
    assert module.placed(page, "new") == f"a\n{module.START}\nnew\n{module.END}\nb"
    with pytest.raises(ValueError, match="no <!--"):
        module.placed("a", "new")


NAMED = re.findall(r"`((?:avsr|experts|tests|recipes|tools)/[\w/.]+)`", PAGE)


@pytest.mark.parametrize("target", NAMED)
def test_what_the_page_names_is_there(target):
    assert (ROOT / target).exists() or "NAME" in target
