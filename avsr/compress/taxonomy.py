"""The table of compressors, made from their cards.

Data: registry -> Markdown, a line a compressor, in the survey's order of mechanisms.
"""

from __future__ import annotations

from typing import get_args

from avsr.compress.base import Card, Mechanism, compressors
from avsr.compress.presets import PRESETS

HEAD = (
    "| name | mechanism | signal | tokens are | budgets | met | streams at | order kept "
    "| trained | foreign | source |\n|---|---|---|---|---|---|---|---|---|---|---|"
)
OPS = {
    "keep": "all frames",
    "merge": "means",
    "weigh": "weighted means",
    "drop": "some frames",
    "concat": "frames side by side",
    "query": "learned readings",
}


def cards() -> list[Card]:
    """Every registered card, by mechanism and then as registered."""
    order = get_args(Mechanism)
    known = [compressors[name].card for name in compressors]
    return sorted(known, key=lambda card: order.index(card.mechanism))


def taxonomy() -> str:
    """Markdown table of all compressors."""
    return "\n".join([HEAD, *map(_line, cards())])


def preset_table() -> str:
    """Markdown table of the presets and the settings behind them."""
    lines = [
        f"| `{name}` | `{config['name']}` | "
        + (", ".join(f"{k}: {v}" for k, v in config.items() if k != "name") or "as it is")
        + " |"
        for name, config in PRESETS.items()
    ]
    return "\n".join(["| preset | compressor | settings |", "|---|---|---|", *lines])


def _line(card: Card) -> str:
    cells = [
        f"`{card.name}`: {card.about}",
        card.mechanism,
        card.signal,
        OPS[card.op],
        ", ".join(sorted(card.budgets)),
        card.meets,
        ", ".join(sorted(card.streams)) or "-",
        "yes" if card.contiguous else "no",
        "yes" if card.trainable else "no",
        card.foreign,
        card.paper,
    ]
    return f"| {' | '.join(cells)} |"
