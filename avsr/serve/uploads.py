"""A file on its way in: the body of a request -> one file in the server's own folder.

It is written as it comes, never held in memory, and the moment it grows over the limit nothing more
of it is read. Whoever asked for it removes it; what does not arrive whole is removed here.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from avsr.errors import AvsrError, MediaError, SetupError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

__all__ = ["FIELD", "TooLarge", "Upload", "receive"]

FIELD = "clip"  # name of the form's field
AROUND = 16 * 1024  # bytes of boundaries and headers around the file


class TooLarge(MediaError):
    """A file over the limit."""


@dataclass(frozen=True)
class Upload:
    """A file that arrived whole.

    Args:
        path: where it lies.
        name: what the sender calls it; for people only, never for the file system.
        size: in bytes.
    """

    path: Path
    name: str
    size: int


async def receive(request: Request, folder: Path, *, limit: int, idle: float) -> Upload:
    """Write the file of a form into a folder.

    Args:
        request: multipart/form-data with one file in the field `FIELD`.
        folder: exists.
        limit: most bytes of the file.
        idle: seconds without a byte after which it is given up.

    Raises:
        TooLarge: told by its header before, or met while reading.
        AvsrError: no form, no file in it, more than one, or it stopped coming.
        starlette.requests.ClientDisconnect: the sender went away.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise AvsrError("the request is no form with a file", todo="Send multipart/form-data.")
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > limit + AROUND:
        raise _too_large(limit)
    path = folder / f"{secrets.token_hex(16)}.part"
    try:
        with path.open("xb") as file:
            form = _Form(file, limit)
            await _read(request, MultipartParser(options[b"boundary"], form.callbacks()), idle)
        if not form.whole:
            raise AvsrError("the form ended before its file did", todo="Send it again.")
        return Upload(path, _readable(form.name), form.size)
    except FormParserError as error:
        path.unlink(missing_ok=True)
        raise AvsrError(f"not a form that can be read: {error}") from error
    except OSError as error:
        path.unlink(missing_ok=True)
        what = f"the file cannot be stored: {error.strerror or error}"
        raise SetupError(what, todo="Make room in the folder for temporary files.") from error
    except BaseException:  # also when the request is cancelled
        path.unlink(missing_ok=True)
        raise


async def _read(request: Request, parser: MultipartParser, idle: float) -> None:
    """Feed the body to the parser, as long as it keeps coming."""
    chunks: AsyncIterator[bytes] = request.stream()
    while True:
        try:
            chunk = await asyncio.wait_for(anext(chunks), idle)
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError as error:
            what = f"the file stopped coming for {idle:g} s"
            raise AvsrError(what, todo="Send it again.") from error
        if chunk:
            parser.write(chunk)


class _Form:
    """What the parser tells of one form, and the file that it goes to."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self.file, self.limit = file, limit
        self.name, self.size, self.whole = "", 0, False
        self._files = 0
        self._field, self._value = b"", b""
        self._about: dict[bytes, bytes] = {}

    def callbacks(self) -> MultipartCallbacks:
        """The parser's events."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._about = {}

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._about[self._field.lower()] = self._value
        self._field, self._value = b"", b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._about.get(b"content-disposition", b""))
        if options.get(b"name") != FIELD.encode() or b"filename" not in options:
            raise AvsrError(f"the form may hold one file, in the field {FIELD!r}")
        self._files += 1
        if self._files > 1:
            raise AvsrError("the form holds more than one file", todo="Send one at a time.")
        self.name = options[b"filename"].decode("utf-8", "replace")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.size += end - start
        if self.size > self.limit:
            raise _too_large(self.limit)
        self.file.write(data[start:end])

    def _end(self) -> None:
        self.whole = self._files == 1


def _readable(name: str) -> str:
    """A sender's file name as one short line that names no folder."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(c for c in last if c.isprintable()).strip()[:120] or "clip"


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the file is larger than {limit} bytes", todo="Cut it into parts.")
