"""Who may talk to the server: every request passes here before anything of it is read.

Request headers -> passed on, or refused with 403 or 421; every answer -> with headers that keep the
page to itself. A web page of somebody else that is open in the same browser can send requests to
this machine: under its own name made to point here (DNS rebinding), which the Host header tells, or
across origins (CSRF), which the Origin header tells.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
import socket

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from avsr.errors import AvsrError
from avsr.serve.views import failure

__all__ = ["Guard", "is_loopback", "policy"]

_SAFE = ("GET", "HEAD", "OPTIONS")
_OURS = ("same-origin", "none")  # of Sec-Fetch-Site: the page itself, or the address bar
_CLOSE = {"connection": "close"}  # the body stays unread


class Guard:
    """ASGI middleware that checks Host and Origin, and adds security headers.

    Args:
        app: what it guards.
        host: the address that the server listens on.
        html: the page, whose own script and style are the only ones a browser will run.
    """

    def __init__(self, app: ASGIApp, *, host: str, html: str) -> None:
        self.app, self.host = app, host.strip("[]").lower()
        self.headers = {
            "content-security-policy": policy(html),
            "cache-control": "no-store",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
            "permissions-policy": "camera=(self), microphone=(self)",
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it unread."""
        if scope["type"] == "websocket":
            return  # there are none here: unanswered, the server closes it
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        refused = self._refuse(scope)
        await (refused or self.app)(scope, receive, with_headers)

    def _refuse(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.knows(hosts[0]):
            error = AvsrError(
                "the request calls this server by a name that is not its own",
                where=", ".join(hosts)[:80],
                todo="Open the address that avsr serve printed.",
            )
            return JSONResponse(failure(error), 421, headers=_CLOSE)
        if not _same_origin(scope, headers, hosts[0]):
            error = AvsrError(
                "the request comes from another page",
                where=headers.get("origin", "")[:80],
                todo="Use the page that this server gives.",
            )
            return JSONResponse(failure(error), 403, headers=_CLOSE)
        return None

    def knows(self, host: str) -> bool:
        """Whether a Host header names this server.

        A name can be made to point anywhere, an address cannot: behind a wildcard address any
        address is ours, but of names only this machine's own.

        Args:
            host: the header, with or without a port.
        """
        name = _name(host)
        if name is None:
            return False
        if name == self.host or name in ("localhost", "127.0.0.1", "::1"):
            return True
        if self.host not in ("0.0.0.0", "::"):
            return False
        return _address(name) is not None or name == socket.gethostname().lower()


def _same_origin(scope: Scope, headers: Headers, host: str) -> bool:
    """Whether a request was made by our page, or by no page at all (such as curl)."""
    origins = headers.getlist("origin")
    if origins and origins != [f"{scope['scheme']}://{host}"]:
        return False
    site = headers.get("sec-fetch-site", "none")
    opened = scope["method"] in _SAFE and headers.get("sec-fetch-mode") == "navigate"
    return site in _OURS or opened  # a link to the page, followed from elsewhere, harms nobody


def _name(host: str) -> str | None:
    """A Host header without its port, in small letters; None where it is no host at all."""
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?", host)
    return None if found is None else found[1].strip("[]").lower()


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine alone."""
    address = _address(host.strip("[]"))
    return host == "localhost" if address is None else address.is_loopback


def policy(html: str) -> str:
    """The content security policy of the page: what stands in it, and this server.

    Args:
        html: the page with one script and one style inside.
    """
    script, style = (_digest(html, tag) for tag in ("script", "style"))
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {script}",
            f"style-src {style}",
            "img-src 'self' blob: data:",
            "media-src blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def _digest(html: str, tag: str) -> str:
    (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, flags=re.DOTALL)
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
