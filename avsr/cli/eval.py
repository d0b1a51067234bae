"""`avsr eval`: error rates over a manifest, by task, rate pair and noise level."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsr.cautions import untrained
from avsr.cli.eval_files import add_files, homeless, peak, write_files
from avsr.cli.eval_table import listing, title
from avsr.cli.model import add_compress, add_ctc_weight, add_hotwords, add_model, load, offline
from avsr.cli.options import add_option, commas, count, whole
from avsr.cli.outcome import FAILED, OK, USAGE, guarded, one_line
from avsr.cli.progress import Progress
from avsr.cli.score import add_gate, gate
from avsr.errors import AvsrError
from avsr.manifest import Item, read_manifest
from avsr.normalize import NORMALIZERS
from avsr.rates import Rates

if TYPE_CHECKING:
    from avsr.api import Recogniser
    from avsr.bootstrap import Comparison
    from avsr.evaluate import Condition, EvalOptions, Row
    from avsr.takes import Wave

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "evaluate a model on a manifest: WER, CER, speed, by rate and noise"

_EPILOG = """\
A manifest has one JSON object a line: audio_filepath and/or video_filepath (relative to the
manifest's folder), duration, text, and perhaps id, corpus, split and speaker. Clips without a
picture are left out of tasks that read lips. A clip that fails counts as one in which nothing was
heard.

exit status: 0 all clips read; 1 some failed (each named on stderr); 2 wrong usage; 3 model or part
of the installation missing; 130 interrupted.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `avsr eval`."""
    parser.description = "Error rates of a model over a manifest."
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="JSON-lines file")
    add_model(parser)
    chosen = parser.add_argument_group("clips")
    add_option(chosen, "--split", type=commas(), metavar="LIST", help="such as test")
    add_option(chosen, "--corpus", type=commas(), metavar="LIST", help="such as grid")
    add_option(chosen, "--speaker", type=commas(), metavar="LIST", help="such as grid-s1")
    add_option(chosen, "--limit", type=count, metavar="N", help="the first N of them")
    table = parser.add_argument_group("rows of the table")
    add_option(
        table,
        "--tasks",
        type=commas("a", "v", "av"),
        default=("a", "v", "av"),
        metavar="LIST",
        help="a sound, v lips, av both (default: a,v,av)",
    )
    add_option(
        table,
        "--rates",
        type=_rates,
        metavar="A,V/A,V",
        help="pairs such as 4,2/16,5 (default: all trained)",
    )
    add_option(
        table,
        "--snr",
        type=_snrs,
        metavar="LIST",
        help="dB or clean, as in --snr=-5,0,clean (default: clean)",
    )
    add_option(table, "--noise", type=Path, metavar="FILE", help="sound mixed in for --snr")
    add_option(
        table,
        "--damage",
        type=commas(),
        metavar="LIST",
        help="files of what sound and lips meet, each a YAML list (frontends/damage.py), or none "
        "for rows without: none,rain.yaml,blur.yaml is a sweep",
    )
    add_option(
        table,
        "--baseline",
        choices=["whisper"],
        help="add rows of the decoder that belongs to the model's own Whisper encoder",
    )
    how = parser.add_argument_group("how")
    add_compress(how)
    add_hotwords(how)
    add_option(how, "--roi", default="auto", choices=["auto", "given"], help="default: auto")
    add_option(
        how,
        "--normalizer",
        default="lrs3",
        choices=NORMALIZERS,
        help="how texts are made comparable (default: %(default)s)",
    )
    add_option(how, "--batch-size", type=count, default=8, metavar="N", help="default: 8")
    add_option(how, "--beam-size", type=count, default=1, metavar="K", help="1 is greedy (default)")
    add_option(how, "--max-new-tokens", type=count, metavar="N", help="default: from the length")
    add_ctc_weight(how)
    add_option(
        how, "--samples", type=whole, default=10_000, metavar="N", help="bootstrap draws (10000)"
    )
    add_option(
        how, "--seed", type=whole, default=0, metavar="N", help="of draws and noise (default: 0)"
    )
    add_files(parser.add_argument_group("reports"))
    add_option(
        how, "--against", type=Path, metavar="FILE", help="an earlier --output-json to compare with"
    )
    add_option(
        how,
        "--bootstrap-by",
        default="utterance",
        choices=["utterance", "speaker"],
        help="what the bootstrap draws (default: %(default)s)",
    )
    add_gate(how)
    add_option(how, "-q", "--quiet", action="store_true", help="no progress")


def run(args: argparse.Namespace) -> int:
    """Do what `avsr eval` was asked, and return its exit status."""
    return guarded(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    wrong = _usage(args)
    if wrong is not None:
        print(f"avsr eval: error: {wrong}", file=sys.stderr)
        return USAGE
    items = _items(args)
    older = None if args.against is None else _older(args)
    options = _options(args)  # before the model: a wrong file of damage or noise is told at once
    noise = None if args.noise is None else _noise(args.noise)
    recogniser = load(args, args.rates or ())
    if args.compress is not None and recogniser.compression_note is not None and not args.quiet:
        print(f"avsr eval: {recogniser.compression_note}", file=sys.stderr)
    for note in dict.fromkeys(untrained(recogniser.facts, task) for task in args.tasks):
        if note is not None and not args.quiet:
            print(f"avsr eval: {note}", file=sys.stderr)
    rows = _rows(recogniser, items, args, options, noise)
    print(listing(rows))
    print(f"peak memory {peak() / 1e6:.0f} MB")
    against = [] if older is None else _compared(rows, older, args)
    write_files(args, rows, recogniser, options, against)
    failed = {one.item.id: one.error for row in rows for one in row.failed}
    for name, error in failed.items():
        print(f"{one_line(name)}: error: {one_line(error)}", file=sys.stderr)
    highest = max((row.score.wer for row in rows), default=0.0)
    return max(FAILED if failed else OK, gate(highest, args.max_wer, "avsr eval"))


def _older(args: argparse.Namespace) -> Any:
    from avsr.eval_report import read_report

    return read_report(args.against)


def _compared(
    rows: Sequence[Row], older: Any, args: argparse.Namespace
) -> Sequence[Comparison | None]:
    """Compare with the earlier report, a line each."""
    from avsr.eval_report import compared

    how = {"samples": args.samples, "seed": args.seed, "by": args.bootstrap_by}
    found = compared(rows, older, **how)
    for row, one in zip(rows, found, strict=True):
        name = title(row.condition)
        told = "not in the earlier report" if one is None else _sentence(one)
        print(f"{name}: {told}")
    return found


def _sentence(one: Comparison) -> str:
    from avsr.score_report import sentence

    return sentence(one, "the earlier report")


def _usage(args: argparse.Namespace) -> str | None:
    noisy = args.snr is not None and any(snr is not None for snr in args.snr)
    if noisy and args.noise is None:
        return "--snr needs --noise"
    if args.noise is not None and not noisy:
        return "--noise needs --snr"
    if noisy and set(args.tasks) == {"v"} and args.baseline is None:
        return "--snr has no meaning with --tasks v: lips hear no noise"
    return homeless(args)


def _items(args: argparse.Namespace) -> list[Item]:
    def keep(item: Item) -> bool:
        filters = (("split", args.split), ("corpus", args.corpus), ("speaker", args.speaker))
        return all(wanted is None or getattr(item, name) in wanted for name, wanted in filters)

    items = read_manifest(args.manifest, keep)[: args.limit]
    if not items:
        raise AvsrError(
            "no clip of the manifest is left",
            where=str(args.manifest),
            todo="Check --split, --corpus and --speaker.",
        )
    if args.bootstrap_by == "speaker" and not all(item.speaker for item in items):
        todo = "Give each line of the manifest its speaker."
        raise AvsrError("the speakers are not known", where=str(args.manifest), todo=todo)
    return items


def _rows(
    recogniser: Recogniser,
    items: Sequence[Item],
    args: argparse.Namespace,
    options: EvalOptions,
    noise: Wave | None,
) -> list[Row]:
    from avsr.evaluate import evaluate

    wanted = _conditions(recogniser, items, args)
    baseline = None
    if args.baseline is not None:
        from avsr.baseline import WhisperBaseline
        from avsr.weights import resolve

        folder = resolve(
            recogniser.model.config.audio_tower, local_files_only=args.local_files_only or offline()
        )
        baseline = WhisperBaseline(folder, device=recogniser.model.device)
    with Progress(len(items), show="never" if args.quiet else "auto") as progress:

        def step(clips: int) -> None:
            progress.advance(clips)
            progress.show("clips")

        step(0)
        return evaluate(
            recogniser,
            items,
            wanted,
            options=options,
            noise=noise,
            baseline=baseline,
            progress=step,
        )


def _noise(path: Path) -> Wave:
    from avsr.evaluate import read_noise

    return read_noise(path)


def _conditions(
    recogniser: Recogniser, items: Sequence[Item], args: argparse.Namespace
) -> list[Condition]:
    from avsr.evaluate import conditions

    pictures = sum(item.has_video for item in items)
    tasks = [task for task in args.tasks if pictures > 0 or "v" not in task]
    if pictures < len(items) and set(args.tasks) != {"a"}:
        print(
            f"avsr eval: {len(items) - pictures} of {len(items)} clips have no picture: "
            "they take part in task a only",
            file=sys.stderr,
        )
    try:
        return conditions(
            {task: recogniser.pairs(task) for task in tasks},
            tasks,
            rates=args.rates,
            snrs=(None,) if args.snr is None else args.snr,
            damages=[None if path is None else name for name, path in _damages(args).items()],
            baseline=args.baseline is not None,
        )
    except AvsrError as error:
        error.exit_code = USAGE
        raise


def _options(args: argparse.Namespace) -> EvalOptions:
    import avsr.torchaudio_guard  # noqa: F401  # before anything asks for transformers
    from avsr.decode import DecodeOptions
    from avsr.evaluate import EvalOptions
    from frontends.damage import Damage

    return EvalOptions(
        decode=DecodeOptions(args.beam_size, args.max_new_tokens, args.ctc_weight),
        roi=args.roi,
        normalizer=args.normalizer,
        batch_size=args.batch_size,
        samples=args.samples,
        seed=args.seed,
        bootstrap_by=args.bootstrap_by,
        damages={
            name: Damage.from_file(path, seed=args.seed)
            for name, path in _damages(args).items()
            if path is not None
        },
    )


def _damages(args: argparse.Namespace) -> dict[str, Path | None]:
    """Name of each damage -> its file; "none" has none."""
    words = args.damage or ("none",)
    stems = [Path(word).stem for word in words]
    return {
        stem if stems.count(stem) == 1 else word: None if word == "none" else Path(word)
        for word, stem in zip(words, stems, strict=True)
    }


def _rates(text: str) -> tuple[Rates, ...]:
    try:
        return tuple(Rates.parse(pair) for pair in text.split("/"))
    except AvsrError as error:
        raise argparse.ArgumentTypeError(one_line(error)) from error


def _snrs(text: str) -> tuple[float | None, ...]:
    levels: list[float | None] = []
    for word in (word.strip() for word in text.split(",")):
        try:
            level = None if word == "clean" else float(word)
        except ValueError:
            level = float("nan")
        if level is not None and not abs(level) <= 100:
            raise argparse.ArgumentTypeError(f"{word!r} is neither a level in dB nor clean")
        levels.append(level)
    return tuple(dict.fromkeys(levels))
