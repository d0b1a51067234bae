"""`avsr serve`: what it asks of the model and the server, and how it refuses."""

import socket
import sys
import types

import pytest

from avsr.cli import serve
from avsr.errors import MediaError, ModelError


@pytest.fixture
def server(monkeypatch):
    """Stand in for uvicorn and the page; a clip of the package is not read."""
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    told = types.SimpleNamespace(ran=[], config=None, app=None, opened=[], ends=None)
    uvicorn = types.ModuleType("uvicorn")

    class Server:
        def __init__(self, config):
            told.config = config

        def run(self, sockets):
            told.ran.append([s.getsockname() for s in sockets])
            if told.ends is not None:
                raise told.ends

    uvicorn.Server = Server
    uvicorn.Config = lambda app, **settings: {"app": app, **settings}
    page = types.ModuleType("avsr.serve.app")

    def make_app(recogniser, options):
        told.app = (recogniser, options)
        return "app"

    page.make_app = make_app
    monkeypatch.setitem(sys.modules, "uvicorn", uvicorn)
    monkeypatch.setitem(sys.modules, "avsr.serve.app", page)
    monkeypatch.setattr(serve.webbrowser, "open", told.opened.append)
    monkeypatch.setattr(serve, "find_spec", lambda name: object())
    return told


def test_it_loads_the_model_and_serves_this_machine_alone(api, command, server, capsys, say):
    api.recogniser.says["demo.mp4"] = say("x")
    chosen = "-m m --device cpu --dtype float32 --local-files-only".split()
    assert command("serve", "--port", 0, *chosen) == 0
    settings = {"device": "cpu", "dtype": "float32", "local_files_only": True}
    assert api.loaded == [("m", settings)]
    ((address,),) = server.ran
    assert address[0] == "127.0.0.1"
    assert server.app[0] is api.recogniser
    assert server.app[1].host == "127.0.0.1"
    out, err = capsys.readouterr()
    assert f"http://127.0.0.1:{address[1]}/" in out
    assert "warning" not in err
    assert server.opened == []


def test_the_first_clip_is_the_packages_own_so_that_visitors_wait_for_nothing(
    api, command, server, capsys
):
    api.recogniser.says["demo.mp4"] = MediaError("no face models")
    assert command("serve", "--port", 0) == 0
    assert [call["paths"][0].name for call in api.recogniser.calls] == ["demo.mp4"]
    assert "warning: no face models" in capsys.readouterr().err


def test_open_opens_the_browser_there(api, command, server, capsys):
    assert command("serve", "--port", 0, "--open") == 0
    ((address,),) = server.ran
    assert server.opened == [f"http://127.0.0.1:{address[1]}/"]


def test_ctrl_c_is_the_usual_end(api, command, server, capsys):
    server.ends = KeyboardInterrupt()
    assert command("serve", "--port", 0) == 0
    assert "closed" in capsys.readouterr().err


def test_an_address_for_all_is_warned_of(api, command, server, capsys):
    assert command("serve", "--host", "0.0.0.0", "--port", 0) == 0
    out, err = capsys.readouterr()
    assert "no password and no encryption" in err
    assert "http://127.0.0.1:" in out
    assert server.app[1].host == "0.0.0.0"


def test_a_port_in_use_is_told_before_the_model_is_loaded(api, command, server, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert command("serve", "--port", taken.getsockname()[1]) == 1
    err = capsys.readouterr().err
    assert "cannot listen" in err
    assert "--port" in err
    assert err.count("\n") == 1
    assert api.loaded == []


def test_an_address_of_another_machine_is_told(api, command, server, capsys):
    assert command("serve", "--host", "192.0.2.1", "--port", 0) == 1
    assert "cannot listen" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["-1", "65536", "x"])
def test_a_port_that_is_none_is_wrong_usage(api, command, capsys, port):
    assert command("serve", "--port", port) == 2


def test_without_the_extra_one_line_says_what_to_install(api, command, capsys, monkeypatch):
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "uvicorn" else object())
    assert command("serve") == 3
    assert capsys.readouterr().err == (
        "avsr: error: the page needs packages that are not installed (uvicorn). "
        "pip install 'avsr[serve]'\n"
    )
    assert api.loaded == []


def test_a_model_that_cannot_be_had_ends_with_3(api, command, server, capsys):
    api.refuses = ModelError("unknown model 'x'")
    assert command("serve", "--port", 0, "-m", "x") == 3
    assert server.ran == []


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:5/"),
        ("::1", "http://[::1]:5/"),
        ("::", "http://[::1]:5/"),
        ("0.0.0.0", "http://127.0.0.1:5/"),
        ("box.lan", "http://box.lan:5/"),
    ],
)
def test_where_a_browser_finds_it(host, url):
    assert serve._url(host, 5) == url
