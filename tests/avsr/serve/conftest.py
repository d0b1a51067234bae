"""A page around a tiny random recogniser, and clips whose picture is a mouth already.

Imported when used: not every test of this folder needs torch.
"""

import socket
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from tests.avsr.serve.pages import BASE, lines, tiny_recogniser, until

pytest.importorskip("starlette", reason="the extra `serve` is not installed")


@pytest.fixture(scope="session")
def built():
    return tiny_recogniser()


@pytest.fixture
def recogniser(built):
    """The same for all, its counters at zero."""
    for tower in (built.audio_tower, built.video_tower):
        tower.runs = 0
        tower.gate.set()
    yield built
    built.audio_tower.gate.set()


@pytest.fixture
def opened(recogniser):
    """opened(**options): a client of a running page."""
    from starlette.testclient import TestClient

    from avsr.serve.app import Server
    from avsr.serve.options import ServeOptions

    @contextmanager
    def open_page(**options):
        server = Server(recogniser, ServeOptions(**options))
        with TestClient(server.app, base_url=BASE) as client:
            client.server = server
            yield client

    return open_page


@pytest.fixture
def client(opened):
    with opened() as client:
        yield client


def _clip(folder, name, **tracks):
    from tests.frontends.clips import write_clip

    return write_clip(folder / name, **tracks).read_bytes()


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """Clips of 0.6 s: with both, without sound, without a picture."""
    from tests.frontends.clips import tone

    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    mouths = rng.integers(0, 255, (15, 96, 96, 1), dtype=np.uint8).repeat(3, axis=3)
    seen = {"times": [i / 25 for i in range(15)], "picture": lambda i: mouths[i]}
    heard = {"wave": tone(0.6, 16_000)}
    return {
        "both": _clip(folder, "both.mkv", **seen, **heard),
        "lips": _clip(folder, "lips.mkv", **seen),
        "sound": _clip(folder, "sound.wav", **heard),
    }


@pytest.fixture
def send(clips):
    """send(client, "both"): upload a clip and return its events."""

    def upload(client, which="both", name="both.mkv", roi="given"):
        data = clips.get(which, which)
        return lines(client.post(f"/api/clips?roi={roi}", files={"clip": (name, data)}))

    return upload


@pytest.fixture
def ask():
    """ask(client, clip, "readings", modality="a"): a job on a held clip; its events."""

    def post(client, clip, part, **settings):
        answer = client.post(f"/api/clips/{clip}/{part}", json=settings)
        assert answer.status_code == 200, answer.text
        return lines(answer)

    return post


@pytest.fixture
def served(recogniser):
    """served(**options): the page under uvicorn on a free port, for what needs real sockets."""
    import uvicorn

    from avsr.serve.app import Server
    from avsr.serve.options import ServeOptions

    @contextmanager
    def run(**options):
        page = Server(recogniser, ServeOptions(**options))
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(page.app, log_level="error", ws="none", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        until(lambda: server.started)
        try:
            yield page, listener.getsockname()[1]
        finally:
            server.should_exit = True
            getattr(recogniser.audio_tower, "gate", threading.Event()).set()  # if a test held it
            thread.join(120)
            listener.close()
            assert not thread.is_alive()

    return run
