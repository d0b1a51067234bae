"""The site builds without a warning, asks nobody else for anything, and knows every page."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.docs.pages import PAGES
from tests.test_readme import ROOT

needs_mkdocs = pytest.mark.skipif(
    find_spec("material") is None or find_spec("mkdocstrings") is None,
    reason="no mkdocs-material or mkdocstrings: pip install -e '.[docs]'",
)


def test_every_page_is_in_the_navigation():
    told = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    named = re.findall(r"([\w/-]+\.md)$", told, re.MULTILINE)
    assert sorted(named) == sorted(p.relative_to(ROOT / "docs").as_posix() for p in PAGES)


@pytest.mark.slow
@needs_mkdocs
def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    for page in PAGES:
        html = tmp_path / page.relative_to(ROOT / "docs").with_suffix(".html")
        text = html.read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|img|iframe|source)[^>]*src=\"?https?:", text)
        assert not re.findall(r"<link[^>]*rel=\"?stylesheet[^>]*https?:", text)
    reference = (tmp_path / "reference" / "avsr.html").read_text(encoding="utf-8")
    assert 'id="avsr.api.Recogniser.transcribe"' in reference
    assert "or chunks of a long one, decoded together" in reference
    assert not (tmp_path / "figures.py").exists()
