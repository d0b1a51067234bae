"""The options that choose what is read of a clip, and clips that come through standard input."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from avsr.cli.options import add_option, count
from avsr.errors import MediaError

if TYPE_CHECKING:
    from avsr.prepare import ClipOptions

__all__ = ["STDIN", "add_clip", "clip_options", "from_stdin"]

STDIN = "-"
MOST = 4 * 2**30  # bytes read from standard input

# Named here as well as in frontends.face_detectors, which is too heavy to import for --help.
DETECTORS = ("blazeface", "yunet", "cascade", "centre")


def add_clip(parser: argparse._ActionsContainer) -> None:
    """Add the options that choose a face and a sound track."""
    add_option(
        parser,
        "--face",
        default="largest",
        metavar="WHICH",
        help="largest, or track:N for the N-th largest of the first picture that shows N "
        "(default: largest)",
    )
    add_option(
        parser,
        "--detector",
        default="blazeface",
        choices=DETECTORS,
        help="what finds faces (default: %(default)s)",
    )
    add_option(parser, "--detector-weights", type=Path, metavar="FILE", help="for yunet or cascade")
    add_option(
        parser, "--audio-track", type=count, metavar="N", help="sound track, from 1 (default: its)"
    )


def clip_options(args: argparse.Namespace) -> ClipOptions:
    """Read what `add_clip` declared.

    Raises:
        AvsrError: no such face.
    """
    import avsr.torchaudio_guard  # noqa: F401  # before anything asks for transformers
    from avsr.cli.outcome import USAGE
    from avsr.errors import AvsrError
    from avsr.prepare import ClipOptions

    try:
        return ClipOptions(args.face, args.detector, args.detector_weights, args.audio_track)
    except AvsrError as error:
        error.exit_code = USAGE
        raise


@contextmanager
def from_stdin(names: Sequence[str]) -> Iterator[dict[str, str]]:
    """Put what comes through standard input into a file while inputs are read.

    Args:
        names: the inputs; "-" is standard input.

    Returns:
        For each name where it lies: itself, and for "-" a temporary file.

    Raises:
        MediaError: nothing or too much comes.
    """
    places = {name: name for name in names}
    if STDIN not in places:
        yield places
        return
    with tempfile.TemporaryDirectory(prefix="avsr-") as folder:
        path = Path(folder) / "stdin"
        with path.open("wb") as file:
            shutil.copyfileobj(_Bounded(), file, 1 << 20)
        if path.stat().st_size == 0:
            raise MediaError("nothing came through standard input", todo="Pipe a clip into it")
        yield {**places, STDIN: str(path)}


class _Bounded:
    """Standard input, up to a size."""

    def __init__(self) -> None:
        self.left = MOST

    def read(self, size: int) -> bytes:
        block = sys.stdin.buffer.read(size)
        self.left -= len(block)
        if self.left < 0:
            raise MediaError(
                f"more than {MOST} bytes came through standard input", todo="Give a file instead"
            )
        return block
