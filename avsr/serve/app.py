"""The page's server as an ASGI application.

    GET    /                                 the page
    GET    /api/model                        rates, noise, limits: what the controls may ask for
    POST   /api/clips?roi=auto|given         a form with a file -> events, last the clip's facts
    GET    /api/clips/ID                     its facts
    DELETE /api/clips/ID                     forget it
    GET    /api/clips/ID/mouth.png           its mouth crops, a second to a line
    POST   /api/clips/ID/readings            settings -> events, last a transcript
    GET    /api/clips/ID/readings/KEY.FORMAT the same as srt, vtt, txt or json
    POST   /api/clips/ID/rates               settings -> events, a row for each rate pair
    POST   /api/clips/ID/experts             settings -> events, last shares and plots

Settings are those of `avsr.serve.settings`. Events are JSON, one a line, as they happen: the
connection is the job, so a closed tab takes its job out of the line.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from avsr.api import Recogniser
from avsr.errors import AvsrError, ConfigError
from avsr.prepare import RoiMode
from avsr.serve import views
from avsr.serve.clips import Gone, Held, Shelf
from avsr.serve.guard import Guard
from avsr.serve.jobs import Busy, Job, Line
from avsr.serve.options import ServeOptions, page
from avsr.serve.reader import Reader
from avsr.serve.settings import Settings
from avsr.serve.uploads import TooLarge, receive
from avsr.writers import render

__all__ = ["Server", "make_app"]

SETTINGS_BYTES = 4096
_STATUS: tuple[tuple[type[AvsrError], int], ...] = ((TooLarge, 413), (Gone, 404), (Busy, 503))


def make_app(recogniser: Recogniser, options: ServeOptions | None = None) -> Starlette:
    """Build the application around a loaded model.

    Args:
        recogniser: what reads the clips.
        options: limits of the server.

    Returns:
        For an ASGI server; uploads lie in a temporary folder of its own while it runs.
    """
    return Server(recogniser, options or ServeOptions()).app


class Server:
    """The state of one server and its routes.

    Args:
        recogniser: what reads the clips.
        options: limits of the server.
    """

    def __init__(self, recogniser: Recogniser, options: ServeOptions) -> None:
        self.recogniser, self.options = recogniser, options
        self.shelf = Shelf(options.kept)
        self.reader = Reader(recogniser, options, self.shelf)
        self.html = page()
        self.folder: Path | None = None
        self._uploads = 0
        clip = "/api/clips/{clip}"
        self.app = Starlette(
            routes=[
                Route("/", self.show, methods=["GET"]),
                Route("/api/model", self.model, methods=["GET"]),
                Route("/api/clips", self.upload, methods=["POST"]),
                Route(clip, self.facts, methods=["GET"]),
                Route(clip, self.forget, methods=["DELETE"]),
                Route(f"{clip}/mouth.png", self.mouth, methods=["GET"]),
                Route(f"{clip}/readings", self.job(self.reader.read), methods=["POST"]),
                Route(f"{clip}/readings/{{key}}.{{form}}", self.download, methods=["GET"]),
                Route(f"{clip}/rates", self.job(self.reader.rates), methods=["POST"]),
                Route(f"{clip}/experts", self.job(self.reader.experts), methods=["POST"]),
            ],
            middleware=[Middleware(Guard, host=options.host, html=self.html)],
            exception_handlers={
                AvsrError: _refused,
                HTTPException: _unknown,
                ClientDisconnect: _nobody,
                Exception: _fault,
            },
            lifespan=self.running,
        )

    @asynccontextmanager
    async def running(self, app: Starlette) -> AsyncIterator[None]:
        """Hold the folder of uploads and the line of jobs while the server runs."""
        self.line = Line(self.options.waiting)
        with tempfile.TemporaryDirectory(prefix="avsr-serve-") as folder:
            self.folder = Path(folder)
            try:
                yield
            finally:
                await self.line.close()
                self.shelf.clear()
                self.folder = None

    async def show(self, request: Request) -> Response:
        """The page."""
        return HTMLResponse(self.html)

    async def model(self, request: Request) -> Response:
        """What may be asked for."""
        return JSONResponse(views.model(self.recogniser, self.options))

    async def upload(self, request: Request) -> Response:
        """Take a file in, then decode and encode it in the line."""
        roi = request.query_params.get("roi", "auto")
        if roi not in ("auto", "given"):
            raise ConfigError(f"no roi {roi!r}", todo="There are auto and given.")
        self.line.check()
        if self._uploads >= self.options.waiting:
            raise Busy(f"{self._uploads} uploads are running", todo="Try again in a minute.")
        assert self.folder is not None
        self._uploads += 1
        try:
            found = await receive(
                request,
                self.folder,
                limit=self.options.upload_bytes,
                idle=self.options.idle_seconds,
            )
        finally:
            self._uploads -= 1

        def work(job: Job) -> dict[str, Any]:
            return self.reader.take_in(found, cast(RoiMode, roi), job)

        def remove() -> None:
            found.path.unlink(missing_ok=True)

        try:
            job = self.line.submit(work, remove)
        except Busy:
            remove()
            raise
        return _Following(self.line, job)

    async def facts(self, request: Request) -> Response:
        """What is known of a clip."""
        return JSONResponse(self._held(request).facts())

    async def forget(self, request: Request) -> Response:
        """Let a clip go."""
        self.shelf.remove(request.path_params["clip"])
        return Response(status_code=204)

    async def mouth(self, request: Request) -> Response:
        """The mouth crops."""
        sheet = self._held(request).mouth
        if sheet is None:
            raise Gone("the clip was read from its sound alone, it has no mouth crops")
        return Response(sheet, media_type="image/png")

    async def download(self, request: Request) -> Response:
        """A transcript as a file."""
        held, form = self._held(request), request.path_params["form"]
        known = held.known(request.path_params["key"])
        if known is None or form not in views.DOWNLOADS:
            raise Gone("there is no such transcript", todo="Read the clip at these settings first.")
        kind = "application/json" if form == "json" else "text/plain; charset=utf-8"
        name = quote(f"{Path(held.name).stem}.{form}")
        headers = {"content-disposition": f"attachment; filename*=utf-8''{name}"}
        return Response(render(known[0], form), media_type=kind, headers=headers)

    def job(
        self, work: Callable[[Held, Settings, Job], dict[str, Any]]
    ) -> Callable[[Request], Any]:
        """A route that puts work on a clip into the line."""

        async def route(request: Request) -> Response:
            held = self._held(request)
            settings = Settings.parse(await _short(request))
            return _Following(self.line, self.line.submit(lambda job: work(held, settings, job)))

        return route

    def _held(self, request: Request) -> Held:
        return self.shelf.get(request.path_params["clip"])


class _Following(Response):
    """A job's events, a line each; the job is dropped when the reader goes away.

    Starlette's own streaming notices a reader who has gone only when it sends something.
    """

    media_type = "application/x-ndjson"

    def __init__(self, line: Line, job: Job) -> None:
        super().__init__()
        self.line, self.job = line, job
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        telling = asyncio.create_task(self._tell(start, send))
        gone = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({telling, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (telling, gone):
                task.cancel()
            await asyncio.gather(telling, gone, return_exceptions=True)
            self.line.drop(self.job)
        fault = None if telling.cancelled() else telling.exception()
        if fault is not None and not isinstance(fault, OSError):  # that is a reader who has gone
            raise fault

    async def _tell(self, start: dict[str, Any], send: Send) -> None:
        await send(start)
        async for event in self.job.events():
            line = json.dumps(event, ensure_ascii=False, allow_nan=False).encode() + b"\n"
            await send({"type": "http.response.body", "body": line, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    """Wait until the reader goes away."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _short(request: Request) -> bytes:
    """A body of a few hundred bytes; of a longer one no more is read."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > SETTINGS_BYTES:
            raise TooLarge("the settings are too long")
    return body


async def _refused(request: Request, error: Exception) -> Response:
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 400)
    # Of an upload that is refused the rest would be read, and thrown away, to keep the connection.
    return JSONResponse(views.failure(error), status, headers={"connection": "close"})


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    told = AvsrError(error.detail, where=request.url.path[:200])
    return JSONResponse(views.failure(told), error.status_code)


async def _nobody(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # the sender has gone; this goes nowhere


async def _fault(request: Request, error: Exception) -> Response:
    return JSONResponse(views.failure(error), 500)
