"""The options that choose what is read of a clip that shows or holds several."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from avsr.cli.options import add_option, count

if TYPE_CHECKING:
    from avsr.prepare import ClipOptions

__all__ = ["add_clip", "clip_options"]

# Named here as well as in frontends.face_detectors, which is too heavy to import for --help.
DETECTORS = ("blazeface", "yunet", "cascade", "mediapipe", "centre")


def add_clip(parser: argparse._ActionsContainer) -> None:
    """Add the options that choose a face and a sound track."""
    add_option(
        parser,
        "--face",
        type=_face,
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
    add_option(
        parser,
        "--detector-weights",
        type=Path,
        metavar="FILE",
        help="for yunet, cascade or mediapipe",
    )
    add_option(
        parser, "--audio-track", type=count, metavar="N", help="sound track, from 1 (default: its)"
    )


def clip_options(args: argparse.Namespace) -> ClipOptions:
    """Read what `add_clip` declared."""
    import avsr.torchaudio_guard  # noqa: F401  # before anything asks for transformers
    from avsr.prepare import ClipOptions

    return ClipOptions(args.face, args.detector, args.detector_weights, args.audio_track)


def _face(text: str) -> str:
    """What `frontends.lips.face_number` reads; told here, before anything heavy is loaded."""
    kind, _, number = text.partition(":")
    if text == "largest" or (kind == "track" and number.isdecimal() and int(number) > 0):
        return text
    raise argparse.ArgumentTypeError(
        f"no face {text!r}: choose largest, or track:N with N from 1 on"
    )
