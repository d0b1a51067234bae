"""The options that choose what is read of a clip that shows or holds several."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from avsr.cli.options import add_option, count

if TYPE_CHECKING:
    from avsr.errors import AvsrError
    from avsr.prepare import ClipOptions
    from frontends.container import Limits

__all__ = ["add_clip", "clip_options", "in_options", "meaningless"]

# Named here as well as in frontends.face_detectors, which is too heavy to import for --help.
DETECTORS = ("blazeface", "yunet", "cascade", "mediapipe", "centre")
# Of frontends.container.Limits, for --help too.
_SECONDS, _PIXELS, _FRAMES = 4 * 3600, 4096 * 4096, 4 * 3600 * 120
_NEEDS_FILES = {"yunet": "FILE.onnx", "mediapipe": "FILE.tflite"}
_FROM_FILES = (*_NEEDS_FILES, "cascade")


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
    add_option(
        parser,
        "--max-seconds",
        type=count,
        metavar="S",
        help=f"refuse longer recordings (default: {_SECONDS}, four hours)",
    )
    add_option(
        parser,
        "--max-pixels",
        type=count,
        metavar="N",
        help=f"refuse larger pictures (default: {_PIXELS}, 4096 by 4096)",
    )
    add_option(
        parser,
        "--max-frames",
        type=count,
        metavar="N",
        help=f"refuse videos of more pictures (default: {_FRAMES})",
    )


def clip_options(args: argparse.Namespace) -> ClipOptions:
    """Read what `add_clip` declared."""
    import avsr.torchaudio_guard  # noqa: F401  # before anything asks for transformers
    from avsr.prepare import ClipOptions

    return ClipOptions(
        args.face, args.detector, args.detector_weights, args.audio_track, _limits(args)
    )


def _limits(args: argparse.Namespace) -> Limits:
    """The limits asked for; room and time to decode grow with the length."""
    from frontends.container import Limits

    usual = Limits()
    seconds = usual.max_seconds if args.max_seconds is None else args.max_seconds
    return replace(
        usual,
        max_pixels=usual.max_pixels if args.max_pixels is None else args.max_pixels,
        max_seconds=seconds,
        max_frames=max(usual.max_frames, int(seconds * usual.max_fps))
        if args.max_frames is None
        else args.max_frames,
        max_decoded_bytes=max(usual.max_decoded_bytes, 4 * 16_000 * (int(seconds) + 60)),
        max_wall_seconds=max(usual.max_wall_seconds, seconds / 24),
    )


def in_options(error: AvsrError) -> AvsrError:
    """Name the options that raise a limit, instead of the library's settings."""
    for name in ("max_seconds", "max_pixels", "max_frames"):
        error.todo = error.todo.replace(f"Limits.{name}", f"--{name.replace('_', '-')}")
    return error


def meaningless(args: argparse.Namespace) -> str | None:
    """Which option of `add_clip` would do nothing beside the others, or None."""
    weights = args.detector_weights is not None
    mouth = {
        "--face": args.face != "largest",
        "--detector": args.detector != "blazeface",
        "--detector-weights": weights,
    }
    modality = getattr(args, "modality", "auto")
    given = [name for name, told in mouth.items() if told]
    if modality == "a":
        given += ["--roi given"] if args.roi == "given" else []
        return f"{given[0]} has no meaning with --modality a" if given else None
    if args.roi == "given" and given:
        return f"{given[0]} has no meaning with --roi given"
    if modality == "v" and args.audio_track is not None:
        return "--audio-track has no meaning with --modality v"
    if weights and args.detector not in _FROM_FILES:
        return f"--detector-weights has no meaning with --detector {args.detector}"
    if args.detector in _NEEDS_FILES and not weights:
        return f"--detector {args.detector} needs --detector-weights {_NEEDS_FILES[args.detector]}"
    return None


def _face(text: str) -> str:
    """What `frontends.lips.face_number` reads; told here, before anything heavy is loaded."""
    kind, _, number = text.partition(":")
    if text == "largest" or (kind == "track" and number.isdecimal() and int(number) > 0):
        return text
    raise argparse.ArgumentTypeError(
        f"no face {text!r}: choose largest, or track:N with N from 1 on"
    )
