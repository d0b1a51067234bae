"""What the page of the compressors' bench says of Whisper's encoder alone.

Data: padding.json, layer_cache.json -> Markdown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress_figures import NONE_YET, Point, against, verdict, wer


def _point(row: Mapping[str, Any], edits: str) -> Point:
    """Errors of a row, as if of equal tokens: all read the same sound."""
    return {"tokens_per_second": 1.0, "edits": row[edits], "words": row["words"]}


def padding(path: Path) -> str:
    """Whisper's own decoder on what it encodes with and without its padding to 30 s."""
    if not path.is_file():
        return f"{NONE_YET} `python tools/bench_padding.py` makes it."
    told = json.loads(path.read_text(encoding="utf-8"))
    lines = [
        "| corpus | clips | WER padded | WER un-padded | un-padded against padded |",
        "|---|---|---|---|---|",
    ]
    for row in told["rows"]:
        two = [_point(row, kind) for kind in ("padded", "unpadded")]
        cells = [f"{100 * wer(point):.1f}" for point in two]
        lines.append(
            f"| {row['corpus']} | {len(row['words'])} | {' | '.join(cells)} "
            f"| {verdict(against(two[1], two[0]))} |"
        )
    return "\n".join([*lines, "", f"`{' '.join(told['command'])}`, {told['model']}."])


def layers(path: Path) -> str:
    """A cache of layers on a growing buffer: how often it hits, what it spares and costs."""
    if not path.is_file():
        return f"{NONE_YET} `python tools/bench_layer_cache.py` makes it."
    told = json.loads(path.read_text(encoding="utf-8"))
    lines = [
        "| encoder | computed again | hop, s | hits by layer, % | work, % of whole passes "
        "| cosine to whole | WER | against whole |",
        "|---|---|---|---|---|---|---|---|",
    ]
    whole = None
    for row in told["rows"]:
        point = _point(row, "edits")
        if row["policy"]["every"] == 1:  # no pass of it is cached
            whole = point
            lines.append(
                f"| {row['reader']} | all | - | - | 100 | 1 | {100 * wer(point):.1f} | - |"
            )
            continue
        hits = [100 * t["reused"] / t["shared"] if t["shared"] else 0.0 for t in row["layers"]]
        work, full = (sum(t[kind] for t in row["layers"]) for kind in ("work", "full"))
        cells = [
            row["reader"],
            row["name"],
            f"{row['hop']:.2f}",
            ", ".join(f"{hit:.0f}" for hit in hits),
            f"{100 * work / full:.0f}",
            f"{row['cosine']:.3f}",
            f"{100 * wer(point):.1f}",
            "-" if whole is None else verdict(against(point, whole)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(
        [
            *lines,
            "",
            f"{len(told['clips'])} clips. `{' '.join(told['command'])}`, seed {told['seed']}.",
        ]
    )
