"""Where results go: one path for each source and format, known and checked before any work.

Data: sources, formats, folder, template -> paths; collisions, what is there already, what is done.
"""

from __future__ import annotations

import argparse
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from avsr.cli.inputs import STDIN, Source
from avsr.cli.outcome import one_line

__all__ = ["FIELDS", "Outputs", "template"]

FIELDS = ("stem", "suffix", "lang", "ext")
"""What may stand in a name template: the input's name without its suffix, its suffix (mp4), the
language, and the format (srt)."""


def template(text: str) -> str:
    """Read a name template, for `type=` of an option.

    Args:
        text: such as "{stem}.{lang}.{ext}".

    Raises:
        ArgumentTypeError: unknown fields, a folder in it, or nothing that tells inputs apart.
    """
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no template: {error}") from error
    listed = ", ".join(f"{{{field}}}" for field in FIELDS)
    for literal, field, form, conversion in parts:
        if field is not None and (field not in FIELDS or form or conversion):
            raise argparse.ArgumentTypeError(f"{{{field}}} is none of {listed}")
        if "/" in literal or "\\" in literal or "\0" in literal:
            raise argparse.ArgumentTypeError("a template names a file; folders are --output-dir's")
    if all(field != "stem" for _, field, _, _ in parts):
        raise argparse.ArgumentTypeError("without {stem} all inputs would have one name")
    return text


@dataclass(frozen=True)
class Outputs:
    """The files that a call writes.

    Args:
        formats: keys of `avsr.writers.FORMATS`; none where nothing is written.
        folder: where to; None for beside each input (standard input: the current folder).
        template: from `template`.
        language: what {lang} becomes.
    """

    formats: tuple[str, ...]
    folder: Path | None = None
    template: str = "{stem}.{ext}"
    language: str = "en"

    def path(self, source: Source, form: str) -> Path:
        """The file of one source in one format; a folder named as input keeps its tree."""
        if self.folder is not None:
            home = self.folder / source.below
        else:
            home = Path() if source.name == STDIN else source.path.parent
        suffix = source.path.suffix.removeprefix(".")
        fields = {"stem": source.stem, "suffix": suffix, "lang": self.language, "ext": form}
        return home / self.template.format(**fields)

    def of(self, source: Source) -> Iterator[tuple[str, Path]]:
        """Format and file of all that one source is written to."""
        return ((form, self.path(source, form)) for form in self.formats)

    def folders(self, sources: Sequence[Source]) -> set[Path]:
        """Folders that are written into."""
        return {path.parent for source in _able(sources) for _, path in self.of(source)}

    def fault(self, sources: Sequence[Source]) -> str | None:
        """Why these sources cannot be written so: two to one file, or one over an input."""
        inputs = {_real(source.path): source.name for source in sources}
        owners: dict[Path, str] = {}
        for source in _able(sources):
            for _, path in self.of(source):
                real = _real(path)
                if real in inputs:
                    return f"the output would replace the input {one_line(inputs[real])}"
                if real in owners:
                    return _twice(owners[real], source.name, path)
                owners[real] = source.name
        return None

    def there(self, sources: Sequence[Source]) -> Path | None:
        """The first output that exists already, or None."""
        paths = (path for source in _able(sources) for _, path in self.of(source))
        return next((path for path in paths if path.is_file()), None)

    def done(self, source: Source) -> bool:
        """Whether every output of a source is there and none is older than the source.

        A file is written whole or not at all, so one that is there is complete.
        """
        try:
            since = source.path.stat().st_mtime_ns
            return all(
                path.is_file() and path.stat().st_mtime_ns >= since for _, path in self.of(source)
            )
        except OSError:  # the source is not there: whoever reads it says so
            return False


def _able(sources: Sequence[Source]) -> list[Source]:
    return [source for source in sources if source.fault is None]


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):
        return path.absolute()


def _twice(first: str, second: str, path: Path) -> str:
    if first == second:
        told = f"{one_line(first)} would be written twice to {one_line(path)}"
        return f"{told}; name each input once, and {{ext}} in --name-template"
    both = f"{one_line(first)} and {one_line(second)} would both be written to {one_line(path)}"
    return f"{both}; use --name-template '{{stem}}.{{suffix}}.{{ext}}', or another folder for one"
