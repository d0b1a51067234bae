"""`avsr compress ls`: which compressors there are, by what their cards say."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from avsr.cli.outcome import OK, guarded

if TYPE_CHECKING:
    from avsr.compress import Card

__all__ = ["add_arguments", "run"]

# Named here as well as in avsr.compress.base and avsr.budget, too heavy to import for --help.
_MECHANISMS = ("floor", "transformation", "similarity", "attention", "query")
_BUDGETS = ("rate", "keep", "tokens", "per_second", "threshold")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `avsr compress`."""
    parser.add_argument("action", choices=["ls"], help="list the methods")
    parser.add_argument("--mechanism", choices=_MECHANISMS, help="only of this kind")
    parser.add_argument("--budget", choices=_BUDGETS, help="only what takes this")
    parser.add_argument("--streaming", action="store_true", help="only what runs on a live stream")
    parser.add_argument(
        "--untrained", action="store_true", help="only what any model can be asked to read by"
    )
    parser.add_argument("--json", action="store_true", help="whole cards, as JSON")


def run(args: argparse.Namespace) -> int:
    """List the methods."""
    return guarded(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    from avsr.compress.presets import PRESETS
    from avsr.compress.taxonomy import cards

    chosen = [card for card in cards() if _wanted(card, args)]
    if args.json:
        print(json.dumps([_plain(card) for card in chosen], indent=1, ensure_ascii=False))
        return OK
    for card in chosen:
        budgets = ", ".join(sorted(card.budgets))
        print(f"{card.name:<13} {card.mechanism:<14} {card.about} [{budgets}]")
        for name, settings in PRESETS.items():
            if settings["name"] == card.name:
                own = ", ".join(f"{k}={v}" for k, v in settings.items() if k != "name")
                print(f"  {name:<18} {own or 'as it is'}")
    return OK


def _wanted(card: Card, args: argparse.Namespace) -> bool:
    """Whether a card says what was asked for."""
    return (
        args.mechanism in (None, card.mechanism)
        and (args.budget is None or args.budget in card.budgets)
        and (card.causal or not args.streaming)
        and (card.foreign == "warns" or not args.untrained)
    )


def _plain(card: Card) -> dict[str, Any]:
    """A card as JSON holds it."""
    told = {**asdict(card), "foreign": card.foreign}
    return {k: sorted(v) if isinstance(v, frozenset) else v for k, v in told.items()}
