"""Transcripts as files: txt, srt, vtt, tsv, json and jsonl.

Transcript -> `render` -> text -> `write_atomic` -> one file, whole or not there at all. Files are
UTF-8 without a byte order mark, with LF line ends; SubRip times have a comma, WebVTT times a dot.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from avsr.transcript import Transcript

__all__ = ["FORMATS", "Cue", "cues", "render", "sweep", "write", "write_atomic"]


@dataclass(frozen=True)
class Cue:
    """One subtitle: start and end in whole milliseconds of clip time, and one line of text."""

    start: int
    end: int
    text: str


def cues(transcript: Transcript) -> tuple[Cue, ...]:
    """Turn segments into subtitles that follow each other.

    Args:
        transcript: its segments may overlap, touch or be empty.

    Returns:
        Cues in the order of time, none empty, none overlapping, each at least a millisecond long.
    """
    made: list[Cue] = []
    clock = 0
    for segment in sorted(transcript.segments, key=lambda segment: segment.start):
        text = _one_line(segment.text)
        if not text:
            continue
        start = max(clock, round(segment.start * 1000))
        clock = max(start + 1, round(segment.end * 1000))
        made.append(Cue(start, clock, text))
    return tuple(made)


def render(transcript: Transcript, form: str) -> str:
    """Write a transcript in one of `FORMATS`.

    Args:
        transcript: what to write.
        form: a key of `FORMATS`.

    Returns:
        The whole file as text, ending in a line feed unless there is nothing to say.

    Raises:
        ValueError: no such format.
    """
    try:
        return FORMATS[form](transcript)
    except KeyError:
        raise ValueError(f"no format {form!r}; there are {', '.join(FORMATS)}") from None


def write(transcript: Transcript, path: str | Path) -> Path:
    """Write one file whose suffix names the format.

    Args:
        transcript: what to write.
        path: ends in a dot and a key of `FORMATS`; its folder exists.

    Returns:
        The path written.

    Raises:
        ValueError: the suffix is no format.
        OSError: the folder cannot be written; an older file of that name is then unharmed.
    """
    path = Path(path)
    write_atomic(path, render(transcript, path.suffix.removeprefix(".")))
    return path


def write_atomic(path: str | Path, text: str) -> None:
    """Put text into a file so that a reader sees the old file or the new one, never a part.

    Args:
        path: the file to make or replace.
        text: its content; characters that UTF-8 cannot hold are written as backslash escapes.

    Raises:
        OSError: the folder cannot be written.
    """
    path = Path(path)
    nameless = _nameless(path.parent)
    if nameless is not None:
        with nameless:
            _fill(nameless, text)
            if _named(nameless, path):
                return
    part, file = _part(path)
    try:
        with file:
            _fill(file, text)
            os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _fill(file: TextIO, text: str) -> None:
    """Write it all, and let it reach the disk."""
    file.write(text)
    file.flush()
    os.fsync(file.fileno())


def sweep(folder: str | Path) -> None:
    """Remove the parts that killed writers left in a folder; those of living ones stay.

    A writer holds a lock on its part, of which the system lets go when the process dies.

    Args:
        folder: where `write_atomic` wrote.
    """
    for part in Path(folder).glob(".avsr-????????????.tmp"):
        with suppress(OSError), open(part, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()


def _nameless(folder: Path) -> TextIO | None:
    """A file that vanishes with its writer unless it is given a name; None where there is none."""
    try:
        number = os.open(folder, os.O_WRONLY | os.O_TMPFILE, 0o666)
    except (AttributeError, OSError):  # Linux has them, and not on every file system
        return None
    return open(number, "w", encoding="utf-8", errors="backslashreplace", newline="\n")


def _named(file: TextIO, path: Path) -> bool:
    """Give a whole nameless file its name; False where the system cannot.

    A name that is there cannot be given, only taken from another file: so there are two steps, and
    what a process that dies between them leaves behind is whole, and swept away later.
    """
    part = path.with_name(f".avsr-{secrets.token_hex(6)}.tmp")
    home = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        # With a folder's number, or Python links the symbolic link itself.
        os.link(f"/proc/self/fd/{file.fileno()}", part.name, dst_dir_fd=home, follow_symlinks=True)
    except OSError:
        return False
    finally:
        os.close(home)
    try:
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return True


def _part(path: Path) -> tuple[Path, TextIO]:
    """A new file beside the one to come, locked."""
    while True:
        part = path.with_name(f".avsr-{secrets.token_hex(6)}.tmp")
        file = open(part, "x", encoding="utf-8", errors="backslashreplace", newline="\n")
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink > 0:
            return part, file
        file.close()  # swept away in the moment before the lock


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _clock(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{point}{rest:03d}"


def _span(cue: Cue, point: str) -> str:
    return f"{_clock(cue.start, point)} --> {_clock(cue.end, point)}"


def _txt(transcript: Transcript) -> str:
    lines = [_one_line(segment.text) for segment in transcript.segments]
    return "".join(f"{line}\n" for line in lines or [_one_line(transcript.text)] if line)


def _srt(transcript: Transcript) -> str:
    # SubRip has no escapes: an arrow inside the text would read as a time line.
    return "\n".join(
        f"{number}\n{_span(cue, ',')}\n{cue.text.replace('-->', '->')}\n"
        for number, cue in enumerate(cues(transcript), start=1)
    )


def _vtt(transcript: Transcript) -> str:
    marks = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
    table = str.maketrans(marks)
    blocks = [f"{_span(cue, '.')}\n{cue.text.translate(table)}\n" for cue in cues(transcript)]
    return "\n".join(["WEBVTT\n", *blocks])


def _tsv(transcript: Transcript) -> str:
    rows = [f"{cue.start}\t{cue.end}\t{cue.text}\n" for cue in cues(transcript)]
    return "".join(["start\tend\ttext\n", *rows])


def _json(transcript: Transcript) -> str:
    return json.dumps(transcript.to_dict(), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def _jsonl(transcript: Transcript) -> str:
    return json.dumps(transcript.to_dict(), ensure_ascii=False, allow_nan=False) + "\n"


FORMATS: Mapping[str, Callable[[Transcript], str]] = {
    "txt": _txt,
    "srt": _srt,
    "vtt": _vtt,
    "tsv": _tsv,
    "json": _json,
    "jsonl": _jsonl,
}
"""Suffix -> the function that writes it."""
