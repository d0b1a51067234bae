"""Whose requests are answered: names and origins, and what a browser is told to allow."""

import re

import pytest

from avsr.serve.guard import Guard, is_loopback, policy
from avsr.serve.options import page
from tests.avsr.serve.pages import BASE

HTML = "<style>b{}</style><script>1;</script>"


def guard(host="127.0.0.1"):
    return Guard(None, host=host, html=HTML)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8437", "LOCALHOST:1", "[::1]:8437"])
def test_names_of_this_machine_are_known(host):
    assert guard().knows(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.7",
        "localhost.evil:80",
        "",
        "a b",
        "[::1",
        "@",
    ],
)
def test_other_names_are_not(host):
    assert not guard().knows(host)
    assert not guard("10.0.0.8").knows(host)


def test_an_address_to_listen_on_is_a_name_and_a_wildcard_is_any_address():
    assert guard("10.0.0.7").knows("10.0.0.7:80")
    assert guard("box.lan").knows("Box.Lan:80")
    assert guard("0.0.0.0").knows("10.0.0.7:80")
    assert guard("::").knows("[fe80::1]:80")
    assert not guard("0.0.0.0").knows("evil.example")


@pytest.mark.parametrize("path", ["/", "/api/model", "/api/clips/x", "/nothing"])
def test_a_wrong_host_gets_nothing(client, path):
    answer = client.get(path, headers={"host": "evil.example"})
    assert answer.status_code == 421
    assert "not its own" in answer.json()["error"]["what"]
    assert "text/html" not in answer.headers["content-type"]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "https://127.0.0.1:8437"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://localhost:8437"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {
            "sec-fetch-site": "cross-site",
            "sec-fetch-mode": "navigate",
        },  # a form
    ],
)
def test_another_page_can_send_nothing(client, clips, headers):
    answer = client.post("/api/clips", files={"clip": ("x.wav", clips["sound"])}, headers=headers)
    assert answer.status_code == 403
    assert list(client.server.folder.iterdir()) == []
    assert client.delete("/api/clips/x", headers=headers).status_code == 403


def test_our_own_page_can(client, clips):
    headers = {"origin": BASE, "sec-fetch-site": "same-origin"}
    answer = client.post("/api/clips", files={"clip": ("x.wav", clips["sound"])}, headers=headers)
    assert answer.status_code == 200


def test_other_pages_may_link_here_and_read_nothing(client):
    site = {"sec-fetch-site": "cross-site"}
    assert client.get("/", headers={**site, "sec-fetch-mode": "navigate"}).status_code == 200
    for mode in ("no-cors", "cors", "same-origin"):
        assert client.get("/api/model", headers={**site, "sec-fetch-mode": mode}).status_code == 403
    answer = client.get("/api/model")
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/", "/api/model", "/nothing"])
def test_every_answer_tells_the_browser_what_it_may_do(client, path):
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    rules = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert rules["default-src"] == rules["frame-ancestors"] == "'none'"
    assert rules["connect-src"] == "'self'"
    for kind in ("script-src", "style-src"):
        assert re.fullmatch(r"'sha256-[\w+/=]{44}'", rules[kind])


def test_the_policy_is_that_of_the_very_script():
    assert policy(HTML) != policy(HTML.replace("1;", "2;"))
    # printf '1;' | openssl dgst -sha256 -binary | base64
    assert "script-src 'sha256-CImjRDTlhukYQ2AnxOi0wzgPhGQ3Mb3rVwJK24dFz1M='" in policy(HTML)
    assert policy(page())


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("127.9.9.9", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.7", False),
        ("box.lan", False),
    ],
)
def test_which_addresses_are_this_machines_alone(host, own):
    assert is_loopback(host) == own
