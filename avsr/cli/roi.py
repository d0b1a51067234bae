"""`avsr roi`: what the model sees of a face, how well it was followed, and a film to look at."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsr.cli import report
from avsr.cli.clip import add_clip, clip_options, in_options, meaningless
from avsr.cli.inputs import Source, spooled
from avsr.cli.model import offline
from avsr.cli.options import add_option
from avsr.cli.outcome import OK, USAGE, guarded, one_line
from avsr.errors import AvsrError

if TYPE_CHECKING:
    from frontends.lips import Roi
    from frontends.media import Clip

__all__ = ["add_arguments", "check_film", "run", "save_view", "track"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `avsr roi`."""
    parser.description = "Find the mouth in a clip, say how well, and show it."
    parser.add_argument("input", metavar="CLIP", help="a video file; - for standard input")
    add_option(
        parser, "--save-roi", type=Path, metavar="FILE", help="film of face and crop, .mp4 or .mkv"
    )
    add_option(
        parser, "--save-crops", type=Path, metavar="FILE", help="the crops alone, losslessly, .mkv"
    )
    add_option(parser, "--roi", default="auto", choices=["auto", "given"], help="default: auto")
    add_clip(parser)
    add_option(parser, "--json", action="store_true", help="the report as JSON")
    add_option(parser, "--local-files-only", action="store_true", help="never touch the network")


def run(args: argparse.Namespace) -> int:
    """Do what `avsr roi` was asked, and return its exit status."""
    return guarded(lambda: _run(args), lambda error: report.say(in_options(error), "text"))


def _run(args: argparse.Namespace) -> int:
    from frontends.clip_writer import write_clip

    wrong = meaningless(args)
    if wrong is not None:
        raise AvsrError(wrong, exit_code=USAGE)
    check_film(args.save_roi, args.input)
    check_film(args.save_crops, args.input, (".mkv",))
    with spooled([Source(args.input, Path(args.input))]) as (source,):
        if source.fault is not None:
            raise source.fault
        clip, roi = track(source.path, args)
        if args.save_roi is not None:
            save_view(args.save_roi, clip, roi)
        if args.save_crops is not None:
            write_clip(args.save_crops, roi.crops, clip.audio)
    told = _report(args.input, roi, (*clip.warnings, *roi.warnings))
    print(json.dumps(told, ensure_ascii=False) if args.json else _lines(told))
    return OK


def track(path: Path, args: argparse.Namespace) -> tuple[Clip, Roi]:
    """Open a clip and follow its mouth, as the options of `add_clip` and --roi say.

    Raises:
        AvsrError: it cannot be read, or shows no face.
    """
    from avsr.prepare import Preparer
    from frontends.lips import given
    from frontends.media import open_clip

    options = clip_options(args)
    clip = open_clip(path, limits=options.limits, audio_track=options.audio_track)
    if args.roi == "given":
        return clip, given(clip)
    preparer = Preparer(local_files_only=args.local_files_only or offline())
    return clip, preparer.tracker(options).track(clip)


def save_view(path: Path, clip: Clip, roi: Roi) -> None:
    """Write a film of the face and the crop beside it."""
    from frontends.clip_writer import write_clip
    from frontends.roi_view import view

    write_clip(path, view(clip, roi), clip.audio, kind="view")


def check_film(path: Path | None, source: str, endings: tuple[str, ...] = (".mp4", ".mkv")) -> None:
    """Refuse a name that is no film's, or the clip's own."""
    if path is None:
        return
    if path.suffix.lower() not in endings:
        what = f"a name that ends in {' or '.join(endings)} is wanted"
        raise AvsrError(what, where=str(path), exit_code=USAGE)
    if path.resolve() == Path(source).resolve():
        raise AvsrError("the film would replace the clip", where=str(path), exit_code=USAGE)


def _report(name: str, roi: Roi, warnings: tuple[str, ...]) -> dict[str, Any]:
    scales = [place.scale for place in roi.places if place is not None]
    return {
        "input": name,
        "pictures": len(roi.crops),
        "coverage": round(roi.coverage, 4),
        "faces": roi.faces,
        "cuts": roi.cuts,
        "jitter": round(roi.jitter, 3),
        "face_scale": round(sum(scales) / len(scales), 3) if scales else None,
        "warnings": list(dict.fromkeys(warnings)),
    }


def _lines(report: dict[str, Any]) -> str:
    told = {
        "pictures": f"{report['pictures']} at 25 a second",
        "coverage": f"{report['coverage']:.1%} of them with the face",
        "faces": f"{report['faces']} at once",
        "cuts": f"{report['cuts']} changes of view",
        "jitter": f"{report['jitter']} px of 96",
    }
    lines = [f"{one_line(report['input'])}", *(f"  {k:9} {v}" for k, v in told.items())]
    lines += [f"  warning   {one_line(warning)}" for warning in report["warnings"]]
    return "\n".join(lines)
