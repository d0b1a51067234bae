"""`avsr serve`: a page on this machine that reads clips at any rate."""

from __future__ import annotations

import argparse
import socket
import sys
import webbrowser
from importlib.util import find_spec
from typing import TYPE_CHECKING

from avsr.cli.demo import CLIP
from avsr.cli.model import add_model, load
from avsr.cli.options import add_option, whole
from avsr.cli.outcome import OK, guarded, one_line
from avsr.errors import AvsrError, ConfigError, SetupError

if TYPE_CHECKING:
    from avsr.api import Recogniser

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "open a local page that transcribes clips"

PORT = 8437
NEEDED = ("starlette", "uvicorn", "python_multipart")  # the extra `serve`
BACKLOG = 64

_OPEN = (
    "whoever can reach {host} can use this page: there is no password and no encryption, and "
    "browsers record from a camera only on this machine itself"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `avsr serve`."""
    parser.description = "Open a page on this machine: drop or record a clip, read it at any rate."
    add_option(
        parser,
        "--host",
        default="127.0.0.1",
        help="address to listen on; others than this machine's own open the page to the network "
        "(default: %(default)s)",
    )
    add_option(
        parser,
        "--port",
        type=_port,
        default=PORT,
        metavar="N",
        help="0 takes one that is free (default: %(default)s)",
    )
    add_option(parser, "--open", action="store_true", help="open the page in the browser")
    add_model(parser)


def run(args: argparse.Namespace) -> int:
    """Do what `avsr serve` was asked, and return its exit status."""
    return guarded(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise SetupError(
            "the page needs packages that are not installed",
            where=", ".join(missing),
            todo="pip install 'avsr[serve]'",
        )
    listener = _listen(args.host, args.port)
    with listener:
        _serve(args, listener)
    return OK


def _serve(args: argparse.Namespace, listener: socket.socket) -> None:
    """Load the model and answer until somebody says stop."""
    print("avsr: loading the model", file=sys.stderr)
    recogniser = load(args)
    _warm(recogniser)

    import uvicorn

    from avsr.serve.app import make_app
    from avsr.serve.guard import is_loopback
    from avsr.serve.options import ServeOptions

    if not is_loopback(args.host):
        print(f"avsr: warning: {_OPEN.format(host=one_line(args.host))}", file=sys.stderr)
    config = uvicorn.Config(
        make_app(recogniser, ServeOptions(host=args.host)),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody stands between, so nobody may say who asks
        ws="none",
        limit_concurrency=BACKLOG,
        timeout_graceful_shutdown=2,
    )
    url = _url(args.host, listener.getsockname()[1])
    print(f"avsr: the page is at {url} (Ctrl-C ends it)", flush=True)
    if args.open:
        webbrowser.open(url)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:  # the usual way to end it; the server has closed by now
        print("avsr: closed", file=sys.stderr)


def _port(text: str) -> int:
    value = whole(text)
    if value > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port, those end at 65535")
    return value


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before the model is loaded: a port in use is told at once."""
    name = host.strip("[]")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    try:
        return socket.create_server((name, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(
            f"cannot listen: {reason}",
            where=f"{host}:{port}",
            todo="Choose another --port (0 for one that is free), or an address of this machine.",
        ) from error


def _url(host: str, port: int) -> str:
    """Where a browser on this machine finds the page."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host.strip("[]"), host.strip("[]"))
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"


def _warm(recogniser: Recogniser) -> None:
    """Read the packaged clip once, so that a visitor's first clip is as fast as the next."""
    if not CLIP.is_file():
        return
    (made,) = recogniser.transcribe([CLIP])
    if isinstance(made, AvsrError):  # told now rather than at the first upload
        print(f"avsr: warning: {one_line(made)}", file=sys.stderr)
