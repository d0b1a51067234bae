"""`avsr transcribe`: media files in, text or subtitle files out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from avsr.cli import report
from avsr.cli.clip import add_clip, clip_options, in_options, meaningless
from avsr.cli.cutting import add_cutting, cutting
from avsr.cli.inputs import STDIN, Source, expand, spooled
from avsr.cli.model import add_compress, add_ctc_weight, add_hotwords, add_model, load
from avsr.cli.options import add_option, commas, count
from avsr.cli.outcome import FAILED, OK, USAGE, guarded, one_line
from avsr.cli.outputs import Outputs, template
from avsr.cli.progress import Progress
from avsr.cli.rates import add_rates, asked_rates, contrary
from avsr.cli.roi import check_film, save_view, track
from avsr.errors import AvsrError
from avsr.transcript import Transcript, Word
from avsr.writers import FORMATS, render, sweep, write_atomic

if TYPE_CHECKING:
    from avsr.api import Recogniser

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "write down what is said in video and audio files"

_FILES = ("txt", "srt", "vtt", "json")  # what --output-dir alone writes
_TEMPLATE = "{stem}.{ext}"

_EPILOG = """\
INPUT is a file; a folder, searched through and through; a pattern such as 'talks/**/*.mp4'; @LIST,
a text file with one path a line; or - for media on standard input.

Without --output-format and --output-dir the text is printed, one line an input, headed by the
input's name where there are several. With either, files are written, each whole or not at all:
--output-format alone writes beside each input, --output-dir alone writes txt, srt, vtt and json. A
folder named as INPUT keeps its tree below --output-dir. Nothing that is there is replaced without
--overwrite; after an interruption the same command with --resume does what is left.

exit status: 0 all inputs done; 1 some inputs failed (each named on stderr, the others done); 2
wrong usage; 3 model or part of the installation missing; 130 interrupted.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `avsr transcribe`."""
    parser.description = "Write down what is said in video and audio files."
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="what to read; see below")
    add_model(parser)
    _reading(parser)
    _writing(parser)
    _telling(parser)


def _reading(parser: argparse.ArgumentParser) -> None:
    add_option(
        parser,
        "--modality",
        default="auto",
        choices=["auto", "a", "v", "av"],
        help="streams to use: sound, lips or both; auto takes what the file has (default: auto)",
    )
    add_rates(parser)
    add_compress(parser)
    add_hotwords(parser)
    add_option(
        parser,
        "--roi",
        default="auto",
        choices=["auto", "given"],
        help="find the mouth, or take the whole picture as one already cut out (default: auto)",
    )
    add_option(
        parser,
        "--save-roi",
        type=Path,
        metavar="FILE",
        help="of one input: film of the face and the crop that was read, .mp4 or .mkv",
    )
    add_clip(parser)
    add_cutting(parser)
    add_option(
        parser,
        "--batch-size",
        type=count,
        default=1,
        metavar="N",
        help="clips, or chunks of a long one, read together (default: 1)",
    )
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
    add_ctc_weight(parser)
    add_option(
        parser,
        "--word-timestamps",
        default="none",
        choices=["none", "align"],
        help="align: find when each word is said, for json and jsonl (default: none)",
    )
    add_option(
        parser,
        "--language",
        default="en",
        choices=["en"],
        help="what is spoken; models here know English alone",
    )


def _writing(parser: argparse.ArgumentParser) -> None:
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
        parser,
        "--name-template",
        type=template,
        default=_TEMPLATE,
        metavar="T",
        help="names of the files, from {stem} {suffix} {lang} {ext} (default: %(default)s)",
    )
    there = parser.add_mutually_exclusive_group()
    add_option(there, "--overwrite", action="store_true", help="replace outputs that are there")
    add_option(
        there,
        "--resume",
        action="store_true",
        help="leave out inputs whose outputs are all there and not older; replace the others'",
    )
    add_option(
        parser, "--stdout", action="store_true", help="print the text also when writing files"
    )


def _telling(parser: argparse.ArgumentParser) -> None:
    add_option(
        parser,
        "--print-colors",
        action="store_true",
        help="print sure words green, doubtful ones yellow, guesses red (NO_COLOR forbids it)",
    )
    how = parser.add_mutually_exclusive_group()
    add_option(
        how,
        "-q",
        "--quiet",
        action="store_true",
        help="no progress and no warnings; errors stay",
    )
    add_option(how, "-v", "--verbose", action="store_true", help="where the time went, by input")
    add_option(
        parser,
        "--no-progress",
        action="store_true",
        help="no progress line; there is none where stderr is no terminal",
    )
    add_option(
        parser, "--json-errors", action="store_true", help="stderr in JSON, one object a line"
    )


def run(args: argparse.Namespace) -> int:
    """Do what `avsr transcribe` was asked, and return its exit status."""
    return guarded(lambda: _run(args), partial(report.say, style=_style(args)))


def _style(args: argparse.Namespace) -> report.Style:
    return "json" if args.json_errors else "text"


def _run(args: argparse.Namespace) -> int:
    sources = expand(args.inputs)
    outputs = Outputs(_formats(args), args.output_dir, args.name_template, args.language)
    wrong = _usage(args, sources, outputs)
    if wrong is not None:
        raise AvsrError(wrong, exit_code=USAGE)
    todo = [s for s in sources if not (args.resume and outputs.done(s))]
    if args.resume and len(todo) < len(sources) and not args.quiet:
        already = f"{len(sources) - len(todo)} of {len(sources)} inputs are done already"
        print(report.line("info", already, style=_style(args)), file=sys.stderr)
    for folder in outputs.folders(todo):
        _make_folder(folder)
        sweep(folder)
    if not todo:
        return OK
    show = args.quiet or args.no_progress
    with (
        spooled(todo) as ready,
        Progress(len(todo), show="never" if show else "auto") as progress,
    ):
        call = _Call(args, outputs, progress, several=len(sources) > 1)
        return call.run(ready)


def _formats(args: argparse.Namespace) -> tuple[str, ...]:
    """Formats to write; none where the text is only printed."""
    if args.output_format is None:
        return () if args.output_dir is None else _FILES
    return tuple(FORMATS) if "all" in args.output_format else args.output_format


def _usage(args: argparse.Namespace, sources: Sequence[Source], outputs: Outputs) -> str | None:
    """What is wrong with the command line, or None."""
    contrary_rates = contrary(args)
    if contrary_rates is not None:
        return contrary_rates
    if args.save_roi is not None and (len(sources) > 1 or args.modality == "a"):
        return "--save-roi films the mouth of one input, where lips are read"
    check_film(args.save_roi, sources[0].name)
    idle_option = meaningless(args)
    if idle_option is not None:
        return idle_option
    try:
        cutting(args)
    except AvsrError as error:
        return str(error)
    if sum(source.name == STDIN for source in sources) > 1:
        return "standard input can be read once"
    if any(source.name == STDIN for source in sources) and sys.stdin.isatty():
        return "standard input is a terminal; pipe a media file into it"
    if args.word_timestamps == "align" and not {"json", "jsonl"} & set(outputs.formats):
        return "--word-timestamps align needs --output-format json or jsonl"
    if not outputs.formats:
        named = {"resume": args.resume, "overwrite": args.overwrite}
        named["name-template"] = args.name_template != _TEMPLATE
        idle = [name for name, given in named.items() if given]
        return f"--{idle[0]} needs --output-format or --output-dir" if idle else None
    if args.print_colors and not args.stdout:
        return "--print-colors needs --stdout where files are written"
    fault = outputs.fault(sources)
    if fault is not None or args.resume or args.overwrite:
        return fault
    found = outputs.there(sources)
    if found is None:
        return None
    return f"{one_line(found)} is there already: --overwrite replaces, --resume does what is left"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"cannot make the output folder: {error.strerror}"
        raise AvsrError(what, where=str(folder), todo="Choose another --output-dir.") from error


class _Call:
    """One run over the sources that are left to do."""

    def __init__(
        self, args: argparse.Namespace, outputs: Outputs, progress: Progress, *, several: bool
    ) -> None:
        self.args, self.outputs, self.progress, self.several = args, outputs, progress, several

    def run(self, sources: Sequence[Source]) -> int:
        """Recognise and deliver each source; return the worst exit status."""
        worst = OK
        able = [source for source in sources if source.fault is None]
        for source in sources:
            if source.fault is not None:  # told before the model is loaded
                worst = max(worst, self._deliver(source, source.fault))
                self.progress.advance()
        if not able:
            return worst
        self.progress.show("loading the model")
        rates = asked_rates(self.args)
        recogniser = load(self.args, [] if rates is None else [rates])
        for first in range(0, len(able), self.args.batch_size):
            batch = able[first : first + self.args.batch_size]
            self.progress.show(", ".join(Path(source.name).name for source in batch))
            for source, outcome in zip(batch, self._recognise(recogniser, batch), strict=True):
                worst = max(worst, self._deliver(source, outcome))
            self.progress.advance(len(batch))
        return worst

    def _recognise(
        self, recogniser: Recogniser, batch: Sequence[Source]
    ) -> Sequence[Transcript | AvsrError]:
        args = self.args
        try:
            return recogniser.transcribe(
                [str(source.path) for source in batch],
                modality=args.modality,
                rates=asked_rates(args),
                rate="fine" if args.rate is None else args.rate,
                roi=args.roi,
                clip=clip_options(args),
                beam_size=args.beam_size,
                max_new_tokens=args.max_new_tokens,
                ctc_weight=args.ctc_weight,
                batch_size=args.batch_size,
                cutting=cutting(args),
                word_times=args.word_timestamps,
                stage=self.progress.show,
            )
        except AvsrError as error:
            error.exit_code = USAGE  # an input's own error is returned; this is about the options
            raise

    def _deliver(self, source: Source, outcome: Transcript | AvsrError) -> int:
        """Print and write one result, and return its exit status."""
        if isinstance(outcome, AvsrError):
            if outcome.where == str(source.path):  # the line begins with the name
                outcome.where = source.name
            self._tell("error", in_options(outcome), source)
            return outcome.exit_code
        if source.name == STDIN:
            outcome = replace(outcome, input={**outcome.input, "path": STDIN})
        self._comment(source, outcome)
        if self.args.stdout or not self.outputs.formats:
            text = _coloured(outcome) if self.args.print_colors else one_line(outcome.text)
            self.progress.print(f"{one_line(source.name)}: {text}" if self.several else text)
        if self.args.save_roi is not None:
            try:
                save_view(self.args.save_roi, *track(source.path, self.args))
            except AvsrError as error:
                self._tell("error", in_options(error), source)
                return error.exit_code
        for form, path in self.outputs.of(source):
            try:
                write_atomic(path, render(outcome, form))
            except OSError as error:
                what = f"cannot write {one_line(path)}: {error.strerror or error}"
                self._tell("error", AvsrError(what, exit_code=FAILED), source)
                return FAILED
        return OK

    def _comment(self, source: Source, made: Transcript) -> None:
        """Warnings, and with --verbose the time of each stage."""
        timing = dict(made.timing)
        rtf = timing.pop("rtf", None)
        total = timing.pop("total", 0.0)
        if self.args.verbose:
            stages = ", ".join(f"{name} {spent:.2f}" for name, spent in timing.items())
            speed = "" if rtf is None else f", RTF {rtf:.2f}"
            self._tell("info", f"{total:.2f} s ({stages}){speed}", source)
        self.progress.spent(total, float(made.input.get("duration") or 0.0))
        if not self.args.quiet:
            for warning in made.warnings:
                self._tell("warning", warning, source)

    def _tell(self, level: report.Level, told: AvsrError | str, source: Source) -> None:
        line = report.line(level, told, name=source.name, style=_style(self.args))
        self.progress.print(line, sys.stderr)


_COLOURS = ((0.9, 32), (0.6, 33), (0.0, 31))  # least confidence -> ANSI colour


def _coloured(made: Transcript) -> str:
    """The text with each word in the colour of its confidence; words without one stay plain."""
    if os.environ.get("NO_COLOR"):
        return one_line(made.text)
    words = []
    for segment in made.segments:
        for word in segment.words or tuple(map(Word, segment.text.split())):
            text, sure = one_line(word.text), word.confidence
            code = None if sure is None else next(c for least, c in _COLOURS if sure >= least)
            words.append(text if code is None else f"\x1b[{code}m{text}\x1b[0m")
    return " ".join(words)
