"""The options that choose rates, by name or by number."""

from __future__ import annotations

import argparse

from avsr.cli.options import add_option, count
from avsr.rates import Rates

__all__ = ["add_rates", "asked_rates", "contrary"]


def add_rates(parser: argparse._ActionsContainer) -> None:
    """Add --rate, --audio-rate and --video-rate."""
    add_option(
        parser,
        "--rate",
        choices=["fine", "coarse"],
        help="as many tokens as the model was trained for, or as few (default: fine)",
    )
    add_option(parser, "--audio-rate", type=count, metavar="N", help="sound frames a token (50 Hz)")
    add_option(parser, "--video-rate", type=count, metavar="N", help="lip frames a token (25 Hz)")


def contrary(args: argparse.Namespace) -> str | None:
    """What of these options has no meaning, or None."""
    if args.rate is not None and asked_rates(args) is not None:
        return "give --rate, or --audio-rate and --video-rate, not both"
    if args.modality == "a" and args.video_rate is not None:
        return "--video-rate has no meaning with --modality a"
    if args.modality == "v" and args.audio_rate is not None:
        return "--audio-rate has no meaning with --modality v"
    return None


def asked_rates(args: argparse.Namespace) -> Rates | None:
    """The rates that were asked for by number; what is left open is the preset's."""
    if args.audio_rate is None and args.video_rate is None:
        return None
    return Rates(audio=args.audio_rate, video=args.video_rate)
