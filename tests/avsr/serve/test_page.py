"""The page itself: whole in one file, for no network, and each control has its part in the API."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from avsr.serve.options import page
from avsr.serve.settings import KEYS
from avsr.serve.views import DOWNLOADS

HTML = page()


class Elements(HTMLParser):
    """Elements of a page with their attributes."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.fixture(scope="module")
def elements():
    parser = Elements()
    parser.feed(HTML)
    return parser.found


@pytest.fixture(scope="module")
def script():
    (text,) = re.findall(r"<script>(.*?)</script>", HTML, re.DOTALL)
    return text


def test_it_needs_no_other_server(elements):
    assert "://" not in HTML
    assert "//" not in re.sub(r"(?m)(^|\s)//.*$", "", HTML.replace("</", "<"))
    for _, attributes in elements:
        for name in ("src", "href", "action"):
            assert attributes.get(name, "data:,").startswith("data:")
        assert not [name for name in attributes if name.startswith("on") or name == "style"]


def test_it_is_given_as_it_is(client):
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.text == HTML


def test_every_element_that_the_script_asks_for_is_there_once(elements, script):
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    asked = set(re.findall(r'\bat\("(\w+)"\)', script))
    for listed in re.findall(r"for \(const id of \[(.*?)\]\)", script):
        asked |= set(re.findall(r'"(\w+)"', listed))
    assert asked - {"snr"}  # the pattern finds some
    assert asked <= set(ids)


CONTROLS = {  # of the page -> where its choice goes
    "file": "POST /api/clips",
    "record": "POST /api/clips",
    "roi": "POST /api/clips?roi=",
    "modality": "modality",
    "audio_rate": "audio_rate",
    "video_rate": "video_rate",
    "noise": "noise",
    "snr": "snr",
    "rates": "POST /rates",
    "experts": "POST /experts",
    "kind": "plots",
}


def test_every_control_has_its_counterpart_in_the_api(elements, script, client):
    names = set()
    for tag, attributes in elements:
        if tag in ("input", "select", "button"):
            names.add(attributes.get("name") or attributes["id"])
    assert names == set(CONTROLS)
    assert set(KEYS) == {name for name, there in CONTROLS.items() if name == there}
    sent = re.search(r"return \{\s*modality, audio_rate:.*?\};", script, re.DOTALL)[0]
    assert set(re.findall(r"\b(\w+)(?=[:,]\s)", sent)) >= set(KEYS) - {"snr"}
    paths = {route.path: route.methods for route in client.app.routes}
    for part in ("readings", "rates", "experts"):
        assert "POST" in paths[f"/api/clips/{{clip}}/{part}"]
        assert f'post("{part}"' in script
    assert "/api/clips?roi=" in script
    assert "mouth.png" in script
    assert client.get("/api/model").json()["downloads"] == list(DOWNLOADS)


def test_what_the_api_offers_is_on_the_page(elements):
    values = [a["value"] for tag, a in elements if tag == "input" and a.get("type") == "radio"]
    assert sorted(values) == ["a", "av", "v"]
    assert {"srt", "json"} <= set(DOWNLOADS)


def test_every_control_has_a_label(elements):
    """Nested in a label, or with words of its own."""
    parser_free = re.sub(r"<script>.*?</script>", "", HTML, flags=re.DOTALL)
    for tag, attributes in elements:
        if tag not in ("input", "select") or "aria-label" in attributes:
            continue
        name = attributes.get("id") or attributes["value"]
        inside = re.findall(r"<label\b.*?</label>", parser_free, re.DOTALL)
        assert any(f'"{name}"' in label for label in inside), name


def test_the_script_is_javascript(script, tmp_path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here to read JavaScript with; the browser's test runs it")
    path = tmp_path / "page.mjs"
    path.write_text(script)
    subprocess.run([node, "--check", str(path)], check=True)
