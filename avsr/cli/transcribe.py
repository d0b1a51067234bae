"""`avsr transcribe`: media files in, text or subtitle files out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from avsr.cli.clip import STDIN, add_clip, clip_options, from_stdin
from avsr.cli.model import add_model, load
from avsr.cli.options import add_option, commas, count
from avsr.cli.outcome import FAILED, OK, USAGE, guarded, one_line
from avsr.cli.progress import Progress
from avsr.errors import AvsrError, MediaError
from avsr.transcript import Transcript
from avsr.writers import FORMATS, write

if TYPE_CHECKING:
    from avsr.api import Recogniser

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "write down what is said in video and audio files"

_FILES = ("txt", "srt", "vtt", "json")  # what --output-dir alone writes

_EPILOG = """\
Without --output-format and --output-dir the text is printed, one line an input, headed by the
input's name where there are several. With either, <stem>.<format> is written for each input:
--output-format alone writes into the current directory, --output-dir alone writes txt, srt, vtt and
json.

exit status: 0 all inputs done; 1 some inputs failed (each named on stderr, the others done); 2
wrong usage; 3 model or part of the installation missing; 130 interrupted.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `avsr transcribe`."""
    parser.description = "Write down what is said in video and audio files."
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="a video or audio file; - for stdin"
    )
    add_model(parser)
    add_option(
        parser,
        "--modality",
        default="auto",
        choices=["auto", "a", "v", "av"],
        help="streams to use: sound, lips or both; auto takes what the file has (default: auto)",
    )
    add_option(
        parser,
        "--rate",
        choices=["fine", "coarse"],
        help="as many tokens as the model was trained for, or as few (default: fine)",
    )
    add_option(parser, "--audio-rate", type=count, metavar="N", help="sound frames a token (50 Hz)")
    add_option(parser, "--video-rate", type=count, metavar="N", help="lip frames a token (25 Hz)")
    add_option(
        parser,
        "--roi",
        default="auto",
        choices=["auto", "given"],
        help="find the mouth, or take the whole picture as one already cut out (default: auto)",
    )
    add_clip(parser)
    add_option(
        parser,
        "-f",
        "--output-format",
        type=commas(*FORMATS, "all"),
        metavar="LIST",
        help=f"comma list of {', '.join(FORMATS)}; or all",
    )
    add_option(parser, "-o", "--output-dir", type=Path, metavar="DIR", help="made if it is missing")
    add_option(
        parser, "--stdout", action="store_true", help="print the text also when writing files"
    )
    add_option(parser, "--batch-size", type=count, default=1, metavar="N", help="default: 1")
    add_option(
        parser, "--beam-size", type=count, default=1, metavar="K", help="1 is greedy (default)"
    )
    add_option(
        parser,
        "--max-new-tokens",
        type=count,
        metavar="N",
        help="longest text, in tokens; a cut text is reported (default: from the clip's length)",
    )
    add_option(
        parser,
        "-q",
        "--quiet",
        action="store_true",
        help="no progress and no warnings; errors stay",
    )


def run(args: argparse.Namespace) -> int:
    """Do what `avsr transcribe` was asked, and return its exit status."""
    return guarded(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    formats = _formats(args)
    wrong = _usage(args, formats)
    if wrong is not None:
        print(f"avsr transcribe: error: {wrong}", file=sys.stderr)
        return USAGE
    if formats and args.output_dir is not None:
        _make_folder(args.output_dir)
    with Progress(len(args.inputs), show="never" if args.quiet else "auto") as progress:
        progress.show("loading the model")
        clip_options(args)  # a wrong one is told before the long work
        recogniser = load(args)
        with from_stdin(args.inputs) as places:
            return _transcribe(recogniser, args, formats, progress, places)


def _formats(args: argparse.Namespace) -> tuple[str, ...]:
    """Formats to write; none where the text is only printed."""
    if args.output_format is None:
        return () if args.output_dir is None else _FILES
    return tuple(FORMATS) if "all" in args.output_format else args.output_format


def _usage(args: argparse.Namespace, formats: Sequence[str]) -> str | None:
    """What is wrong with the command line, or None."""
    if args.rate is not None and (args.audio_rate is not None or args.video_rate is not None):
        return "give --rate, or --audio-rate and --video-rate, not both"
    if args.modality == "a" and args.video_rate is not None:
        return "--video-rate has no meaning with --modality a"
    if args.modality == "v" and args.audio_rate is not None:
        return "--audio-rate has no meaning with --modality v"
    if not formats:
        return None
    stems: dict[str, str] = {}
    for name in args.inputs:
        stem = _stem(name)
        if stem in stems:
            twice = f"{one_line(stems[stem])} and {one_line(name)}"
            return f"{twice} would both be written to {one_line(stem)}.{formats[0]}"
        stems[stem] = name
        for form in formats:
            if _output(args, name, form).resolve() == Path(name).resolve():
                return f"the output would replace the input {one_line(name)}"
    return None


def _output(args: argparse.Namespace, name: str, form: str) -> Path:
    folder = Path() if args.output_dir is None else args.output_dir
    return Path(folder, f"{_stem(name)}.{form}")


def _stem(name: str) -> str:
    return "stdin" if name == STDIN else Path(name).stem


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"cannot make the output folder: {error.strerror}"
        raise AvsrError(what, where=str(folder), todo="Choose another --output-dir.") from error


def _transcribe(
    recogniser: Recogniser,
    args: argparse.Namespace,
    formats: Sequence[str],
    progress: Progress,
    places: Mapping[str, str],
) -> int:
    worst = OK
    names = iter(args.inputs)
    while batch := list(islice(names, args.batch_size)):
        progress.show(", ".join(Path(name).name for name in batch))
        files = [name for name in batch if not Path(name).is_dir()]
        results = iter(_recognise(recogniser, [places[name] for name in files], args))
        for name in batch:
            outcome = _folder(name) if Path(name).is_dir() else next(results)
            worst = max(worst, _deliver(name, outcome, args, formats, progress))
        progress.advance(len(batch))
    return worst


def _recognise(
    recogniser: Recogniser, files: Sequence[str], args: argparse.Namespace
) -> Sequence[Transcript | AvsrError]:
    from avsr.rates import Rates

    if not files:
        return []
    given = args.audio_rate is not None or args.video_rate is not None
    try:
        return recogniser.transcribe(
            files,
            modality=args.modality,
            rates=Rates(audio=args.audio_rate, video=args.video_rate) if given else None,
            rate="fine" if args.rate is None else args.rate,
            roi=args.roi,
            clip=clip_options(args),
            beam_size=args.beam_size,
            max_new_tokens=args.max_new_tokens,
            batch_size=args.batch_size,
        )
    except AvsrError as error:
        error.exit_code = USAGE  # an input's own error is returned; this one is about the options
        raise


def _folder(name: str) -> AvsrError:
    return MediaError("is a folder", todo=f"Name its files: {Path(name) / '*'}")


def _deliver(
    name: str,
    outcome: Transcript | AvsrError,
    args: argparse.Namespace,
    formats: Sequence[str],
    progress: Progress,
) -> int:
    """Print and write one result, and return its exit status."""
    label = one_line(name)
    if isinstance(outcome, AvsrError):
        where = outcome.where  # the line begins with the name, so it is not said twice
        where = "" if name == STDIN or where == name else where
        told = AvsrError(outcome.what, where=where, todo=outcome.todo)
        progress.print(f"{label}: error: {one_line(told)}", sys.stderr)
        return outcome.exit_code
    if not args.quiet:
        for warning in outcome.warnings:
            progress.print(f"{label}: warning: {one_line(warning)}", sys.stderr)
    if args.stdout or not formats:
        text = one_line(outcome.text)
        progress.print(f"{label}: {text}" if len(args.inputs) > 1 else text)
    for form in formats:
        path = _output(args, name, form)
        try:
            write(outcome, path)
        except OSError as error:
            why = error.strerror or error
            progress.print(f"{label}: error: cannot write {one_line(path)}: {why}", sys.stderr)
            return FAILED
    return OK
