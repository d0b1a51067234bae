"""Uploads: too large, broken off, none at all; and that nothing of them stays on the disk."""

import socket

import pytest

from avsr.serve.uploads import _readable
from tests.avsr.serve.pages import last, lines, until

LIMIT = 40_000


def left(client):
    return list(client.server.folder.iterdir())


def test_no_file_is_left_after_a_clip_was_read(client, send):
    last(send(client))
    assert left(client) == []


def test_a_file_over_the_limit_is_refused_and_not_kept(opened, send):
    with opened(max_upload_bytes=LIMIT) as client:
        for size in (LIMIT + 1, 10 * LIMIT):
            answer = client.post("/api/clips", files={"clip": ("x.mp4", b"\0" * size)})
            assert answer.status_code == 413
            assert str(LIMIT) in answer.json()["error"]["what"]
            assert answer.headers["connection"] == "close"
            assert left(client) == []
        assert last(send(client, "sound"))["modality"] == "a"


def test_a_file_that_hides_its_size_is_read_up_to_the_limit_only(opened):
    """Chunked, it has no length in its header; what comes after the limit is never asked for."""
    given = []

    def body():
        yield b'--b\r\ncontent-disposition: form-data; name="clip"; filename="x"\r\n\r\n'
        for _ in range(1000):
            given.append(10_000)
            yield b"\0" * 10_000

    with opened(max_upload_bytes=LIMIT) as client:
        kind = {"content-type": "multipart/form-data; boundary=b"}
        # The test client reads a body whole before it sends it, so the application is asked itself.
        answer = client.portal.call(_post, client.app, body(), kind)
    assert answer == 413
    assert sum(given) <= LIMIT + 10_000


async def _post(app, body, headers):
    pairs = [(b"host", b"127.0.0.1"), *((k.encode(), v.encode()) for k, v in headers.items())]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/clips",
        "query_string": b"",
        "headers": pairs,
        "scheme": "http",
        "server": ("127.0.0.1", 80),
    }
    sent = []

    async def receive():
        return {"type": "http.request", "body": next(body), "more_body": True}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"]


FORM = '--b\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'


def form(*parts, end="--b--\r\n"):
    return "".join(FORM.format(*part) for part in parts) + end


FILE = ("clip", '; filename="x.wav"', "abc")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (form(), "form"),
        (form(("clip", "", "abc")), "may hold one file"),
        (form(("other", '; filename="x"', "abc")), "may hold one file"),
        (form(FILE, FILE), "more than one file"),
        (form(FILE, end=""), "ended before its file did"),
        ("no form at all", "not a form"),
        (form(("clip", '; filename="x"\r\nX: ' + "y" * 100_000, "abc")), "not a form"),
    ],
)
def test_a_form_that_is_none_of_ours_is_refused(client, body, told):
    kind = {"content-type": "multipart/form-data; boundary=b"}
    answer = client.post("/api/clips", content=body, headers=kind)
    assert answer.status_code == 400
    assert told in answer.json()["error"]["what"]
    assert left(client) == []


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", "application/json", ""])
def test_a_body_that_is_no_form_is_refused(client, kind):
    answer = client.post("/api/clips", content=b"x", headers={"content-type": kind})
    assert answer.status_code == 400
    assert "no form" in answer.json()["error"]["what"]


def test_a_wrong_roi_is_refused(client, clips):
    answer = client.post("/api/clips?roi=x", files={"clip": ("x.wav", clips["sound"])})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"just some words\n" * 100, "a text file, not media"),
        (b"", "the file is empty"),
        (b"#EXTM3U\n/etc/passwd\n", "a playlist, not media"),
        (b"\0\0\0\x18ftypmp42" + b"\xff" * 500, "cut short or damaged"),
    ],
)
def test_what_is_no_clip_is_told_under_the_visitors_name(client, send, data, told):
    error = last(send(client, data, name="holiday.mp4"), "error")
    assert told in error["what"]
    assert error["where"] == "holiday.mp4"
    assert error["todo"]
    assert str(client.server.folder) not in str(error)
    assert left(client) == []


def test_a_clip_that_is_too_long_is_told_before_its_pictures_are_looked_at(
    opened, send, recogniser
):
    with opened(max_seconds=0.5) as client:
        error = last(send(client), "error")
        assert "more than" in error["what"]
        assert "Limits" not in error["todo"]
        assert recogniser.video_tower.runs == 0


def test_a_name_from_outside_never_reaches_the_disk(client, send, monkeypatch):
    seen = []
    real = client.server.reader.take_in
    monkeypatch.setattr(
        client.server.reader, "take_in", lambda up, *rest: (seen.append(up), real(up, *rest))[1]
    )
    clip = last(send(client, "sound", name="../../etc/cron.d/x.wav"))
    assert clip["name"] == "x.wav"
    assert seen[0].path.parent == client.server.folder
    assert "x.wav" not in seen[0].path.name


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("C:\\films\\holi\x1bday.mp4", "holiday.mp4"),
        ("../x.wav", "x.wav"),
        ("\x07", "clip"),
        ("", "clip"),
        ("a/", "clip"),
        ("día " + "x" * 500, "día " + "x" * 116),
    ],
)
def test_a_name_is_one_short_line(sent, shown):
    assert _readable(sent) == shown


HEAD = (
    "POST /api/clips HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 90000\r\n"
    "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
)


def begin(port):
    """An upload that has begun."""
    line = socket.create_connection(("127.0.0.1", port), timeout=30)
    line.sendall(HEAD.format(port).encode() + form(FILE, end="").encode() + b"\0" * 1000)
    return line


def test_two_gigabytes_are_refused_when_they_are_announced(served, clips):
    """At the limits that a server has by default; the next visitor is served as ever."""
    import httpx2

    with served() as (page, port):
        head = HEAD.format(port).replace("90000", str(2 * 2**30))
        with socket.create_connection(("127.0.0.1", port), timeout=120) as line:
            line.sendall(head.encode() + form(FILE, end="").encode() + b"\0" * 100_000)
            answer = line.recv(65536)
        assert b" 413 " in answer.split(b"\r\n")[0]
        assert list(page.folder.iterdir()) == []
        url = f"http://127.0.0.1:{port}/api/clips?roi=given"
        files = {"clip": ("x.wav", clips["sound"])}
        assert last(lines(httpx2.post(url, files=files, timeout=300)))["modality"] == "a"


def test_a_connection_that_closes_half_way_leaves_nothing(served):
    with served() as (page, port):
        line = begin(port)
        until(lambda: list(page.folder.iterdir()))
        line.close()
        until(lambda: not list(page.folder.iterdir()))
        assert len(page.line) == 0


def test_an_upload_that_stops_coming_is_given_up(served):
    with served(idle_seconds=0.1) as (page, port), begin(port) as line:
        answer = line.recv(65536)
        assert b"400" in answer.split(b"\r\n")[0]
        assert list(page.folder.iterdir()) == []


def test_a_full_disk_is_told(client, clips, monkeypatch):
    from avsr.serve import uploads

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(uploads._Form, "_data", full)
    answer = client.post("/api/clips", files={"clip": ("x.wav", clips["sound"])})
    assert answer.status_code == 400
    assert "No space left" in answer.json()["error"]["what"]
    assert left(client) == []


def test_the_folder_is_gone_when_the_server_is(opened, send):
    with opened() as client:
        folder = client.server.folder
        events = send(client, "sound")
        (folder / "left").write_bytes(b"x")  # whatever might stay
        assert folder.is_dir()
    assert not folder.exists()
    assert len(client.server.shelf) == 0
    assert last(events)
