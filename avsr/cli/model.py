"""The options that choose a model and where it runs, and its loading."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from avsr.cli.options import add_option, commas, count
from avsr.cli.outcome import SETUP, USAGE
from avsr.errors import AvsrError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from avsr.api import Recogniser
    from avsr.rates import Rates

__all__ = ["add_compress", "add_ctc_weight", "add_hotwords", "add_model", "load", "offline"]


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a model and where it runs."""
    add_option(
        parser,
        "-m",
        "--model",
        default=os.environ.get("AVSR_MODEL") or "default",
        help="'default', a folder with a checkpoint, or a hub id; AVSR_MODEL names another default "
        "(default: %(default)s)",
    )
    add_option(
        parser,
        "--device",
        default=os.environ.get("AVSR_DEVICE") or "auto",
        help="auto, cpu, cuda, cuda:N or mps; AVSR_DEVICE names another default "
        "(default: %(default)s)",
    )
    add_option(
        parser,
        "--dtype",
        "--compute-type",
        default="auto",
        choices=["auto", "float32", "bfloat16", "float16"],
        help="numbers of the frozen parts (default: %(default)s)",
    )
    add_option(
        parser,
        "--local-files-only",
        action="store_true",
        help="never touch the network; fail if something is not in the cache; HF_HUB_OFFLINE=1 "
        "says the same",
    )
    add_option(parser, "--threads", type=count, metavar="N", help="processor threads of the models")


def offline() -> bool:
    """Whether the environment forbids the network, in the words of Hugging Face's libraries."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "TRUE", "YES"}


def add_compress(parser: argparse._ActionsContainer) -> None:
    """Add the option that compresses by another method than the model's own."""
    add_option(
        parser,
        "--compress",
        action="append",
        metavar="NAME",
        help="cut the streams by another method, as cluster or keyframe,fine=1, at the rates or at "
        "a budget of its own, as affinity,budget=threshold:0.9; audio=NAME or video=NAME, twice "
        "perhaps, for one stream alone; mine.py:name runs a file that registers one; a model that "
        "was not trained with it warns or refuses (default: the model's own)",
    )


def add_hotwords(parser: argparse._ActionsContainer) -> None:
    """Add the option that names expected words."""
    add_option(
        parser,
        "--hotwords",
        type=commas(),
        metavar="WORD,...",
        help="words to expect, for a model whose compressor is guided by phrases",
    )


def add_ctc_weight(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the option of the joint search."""
    add_option(
        parser,
        "--ctc-weight",
        type=_share,
        metavar="W",
        help="share of the projectors' own reading in the search, 0 for the language model alone, "
        "below 0.5 (default: the model's)",
    )


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = float("nan")
    if not 0 <= share < 0.5:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 0.5")
    return share


def _check_rates(model: str, local: bool, rates: Iterable[Rates]) -> None:
    """Refuse rates that were not trained, as the usage error that they are."""
    from avsr.checkpoint import read_config
    from avsr.loading import model_folder

    config, _ = read_config(model_folder(model, local))
    try:
        for pair in rates:
            config.check_rates(pair)
    except AvsrError as error:
        error.exit_code = USAGE
        raise


def load(args: argparse.Namespace, rates: Sequence[Rates] = ()) -> Recogniser:
    """Load the model that `add_model`'s options name.

    Args:
        args: options of `add_model`, `add_compress`, `add_hotwords`.
        rates: that will be asked for; one that was not trained is refused before weights are read.

    Raises:
        AvsrError: it cannot be had; with exit code 3, as no input could be read without it.
    """
    # First: it hides a torchaudio that would break transformers.
    from avsr.loading import load_model

    from transformers.utils import logging  # isort: skip

    if getattr(args, "threads", None) is not None:
        import torch

        torch.set_num_threads(args.threads)

    logging.disable_progress_bar()  # ours is the only one, and warnings go into the transcript
    logging.set_verbosity_error()
    local = args.local_files_only or offline()
    try:
        if rates:
            _check_rates(args.model, local, rates)
        recogniser = load_model(
            args.model, device=args.device, dtype=args.dtype, local_files_only=local
        )
    except AvsrError as error:
        if error.exit_code != USAGE:
            error.exit_code = SETUP
        raise
    if getattr(args, "ctc_weight", None) and recogniser.alignment is None:
        what = f"{args.model} has no CTC of its projectors, so --ctc-weight would do nothing"
        raise AvsrError(what, todo="Leave it out.", exit_code=USAGE)
    try:
        if getattr(args, "compress", None) is not None:
            from avsr.compress.outside import named

            recogniser.use_compressor(named(args.compress))
        if getattr(args, "hotwords", None):
            from avsr.hotwords import expect

            expect(recogniser.model, args.hotwords)
    except AvsrError as error:
        error.exit_code = USAGE
        raise
    return recogniser
