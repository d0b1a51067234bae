"""What a command line names -> the media files it means, in order, each with its fault if any.

Data: words (files, folders, globs, `@list.txt`, `-`) -> list of `Source`. Nothing is decoded here.
"""

from __future__ import annotations

import glob
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from avsr.errors import AvsrError, MediaError

__all__ = ["STDIN", "SUFFIXES", "Source", "expand", "spooled"]

STDIN = "-"
LARGEST = 4 * 2**30  # bytes of standard input that are kept
_BLOCK = 2**20

SUFFIXES = frozenset(
    ".3g2 .3gp .aac .aif .aiff .avi .flac .flv .m2ts .m4a .m4v .mj2 .mkv .mov .mp3 .mp4 .mpeg .mpg "
    ".mts .oga .ogg .ogv .opus .ts .w64 .wav .webm".split()
)
"""Names in a folder that are taken for media; a file named by itself may be called anything."""


@dataclass(frozen=True)
class Source:
    """One input.

    Args:
        name: as it is told in messages and reports.
        path: the file; for standard input the copy of it, once there is one.
        below: the folder it lies in, seen from the folder that was named; empty for others.
        fault: why it cannot be read, or None.
    """

    name: str
    path: Path
    below: Path = Path()
    fault: AvsrError | None = None

    @property
    def stem(self) -> str:
        """The name that its outputs take."""
        return "stdin" if self.name == STDIN else self.path.stem


def expand(words: Sequence[str]) -> list[Source]:
    """Find the files that a command line means.

    Args:
        words: files; folders, searched through and through for names in `SUFFIXES`; patterns with
            `*`, `?`, `[...]` or `**` that the shell left alone; `@FILE` with one path a line, seen
            from the current folder; `-` for standard input.

    Returns:
        Sources in the order of the words, those of a folder or pattern by name. A word that means
        nothing is a source with a fault, so that it is told and the others are done.
    """
    return [source for word in words for source in _word(word)]


def _word(word: str) -> list[Source]:
    if word == STDIN:
        return [Source(STDIN, Path(STDIN))]
    if word.startswith("@") and len(word) > 1:
        return _listed(Path(word[1:]), word)
    return _path(word)


def _listed(path: Path, word: str) -> list[Source]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a zero byte in the name
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        todo = "Give a text file with one path a line."
        return [_faulty(word, AvsrError(f"the list cannot be read: {why}", todo=todo))]
    lines = [line.rstrip("\r") for line in text.split("\n")]
    return [source for line in lines if line.strip() for source in _path(line)]


def _path(name: str) -> list[Source]:
    path = Path(name)
    try:
        if path.is_dir():
            return _folder(path)
        if path.exists() or not glob.has_magic(name):
            return [Source(name, path)]
        found = sorted(glob.glob(name, recursive=True))
    except (OSError, ValueError):  # a name that no system takes: the reader says so
        return [Source(name, path)]
    files = [Source(each, Path(each)) for each in found if not Path(each).is_dir()]
    if files:
        return files
    return [_faulty(name, MediaError("no file matches this pattern", todo="Check the path."))]


def _folder(folder: Path) -> list[Source]:
    """Media files of a folder and all below it; hidden ones and links to folders are left out."""
    faults: list[OSError] = []
    found: list[Source] = []
    for here, folders, files in os.walk(folder, onerror=faults.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(here, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith("."):
                found.append(Source(str(path), path, Path(here).relative_to(folder)))
    for fault in faults:
        what = f"this folder cannot be read: {fault.strerror}"
        found.append(_faulty(str(fault.filename), MediaError(what)))
    if not found:
        todo = "Name a folder with video or sound files."
        return [_faulty(str(folder), MediaError("no media file in this folder", todo=todo))]
    return found


def _faulty(name: str, fault: AvsrError) -> Source:
    return Source(name, Path(name), fault=fault)


@contextmanager
def spooled(sources: Sequence[Source]) -> Iterator[list[Source]]:
    """Put standard input into a file of its own for as long as it is needed.

    Media are read by seeking, which a pipe cannot do.

    Args:
        sources: from `expand`.

    Returns:
        The same sources; that of standard input names the file.
    """
    if all(source.name != STDIN for source in sources):
        yield list(sources)
        return
    with tempfile.TemporaryDirectory(prefix="avsr-") as folder:
        copy = Path(folder, "stdin")
        fault = _copy(sys.stdin.buffer, copy)
        yield [
            replace(source, path=copy, fault=fault) if source.name == STDIN else source
            for source in sources
        ]


def _copy(stream: BinaryIO, to: Path) -> AvsrError | None:
    """Copy a stream up to the limit; say what went wrong."""
    size = 0
    try:
        with to.open("wb") as file:
            while block := stream.read(_BLOCK):
                size += len(block)
                if size > LARGEST:
                    what = f"standard input is longer than {LARGEST} bytes"
                    return MediaError(what, todo="Give a file instead.")
                file.write(block)
    except OSError as error:
        what = f"standard input cannot be kept: {error.strerror}"
        return MediaError(what, where=str(to.parent), todo="Set TMPDIR to a folder with room.")
    if size == 0:
        return MediaError("standard input is empty", todo="Pipe a media file into it.")
    return None
