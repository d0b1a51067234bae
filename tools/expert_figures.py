"""Figures and a summary of what `expert_study.study` found.

Data: its dictionary -> SVG documents by name, and Markdown lines.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from avsr import svg

TASKS = {"a": "ASR", "v": "VSR", "av": "AVSR"}


def figures(found: Mapping[str, Any]) -> dict[str, str]:
    """SVG documents by file name.

    Args:
        found: from `expert_study.study`.
    """
    out = _cosines(found)
    if "usage" in found:
        out |= _usage(found) | _effective(found) | _agreement(found)
    return out


def _usage(found: Mapping[str, Any]) -> dict[str, str]:
    """One heat map for each rate pair and router: layers down, experts across."""
    return {
        f"use_{row['task']}_{_file(row['rates'])}_{row['router']}.svg": svg.heat_map(
            row["count"],
            title=f"{TASKS[row['task']]} ({row['rates']}), {row['router']} router: "
            "share of tokens that choose each expert",
            rows="layer",
            columns="routed expert",
            high=1.0,
        )
        for row in found["usage"]
        if row["kind"] == "all"
    }


def _effective(found: Mapping[str, Any]) -> dict[str, str]:
    """Effective number of experts over layers, and its mean as bars, by task."""
    series: dict[str, dict[str, list[float]]] = defaultdict(dict)
    for row in found["usage"]:
        if row["kind"] == "all":
            series[row["task"]][f"({row['rates']}) {row['router']}"] = row["effective_count"]
    out = {}
    for task, rows in series.items():
        about = f"{TASKS[task]}: effective number of {found['routed']} experts"
        floor = {f"K = {found['top_k']}: collapse": [found["top_k"]] * found["layers"]}
        out[f"effective_{task}.svg"] = svg.lines(
            rows | floor,
            title=f"{about} in each layer",
            across="layer",
            up="experts",
            high=found["routed"],
        )
        out[f"effective_{task}_mean.svg"] = svg.bars(
            {name: _mean(row) for name, row in rows.items()},
            title=f"{about}, mean over layers",
            unit="experts",
        )
    return out


def _agreement(found: Mapping[str, Any]) -> dict[str, str]:
    """Jaccard and Jensen-Shannon over layers: one figure for each comparison and measure."""
    series: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(dict)
    for row in found["agreement"]:
        first, second = (f"{s['rates']} {s['kind']}" for s in (row["first"], row["second"]))
        name = f"{row['task']}_{_file(first)}_{_file(second)}"
        for measure in ("jaccard", "shannon"):
            lines = series[f"{measure}_{name}", f"{TASKS[row['task']]}: {first} | {second}"]
            if row[measure] is not None:
                lines[f"{row['router']} router, tokens that belong together"] = row[measure]
            lines[f"{row['router']} router, any two tokens"] = row[f"any_{measure}"]
            if measure == "jaccard":
                lines["uniform choice"] = [found["chance_jaccard"]] * found["layers"]
    words = {"jaccard": "top-k Jaccard", "shannon": "Jensen-Shannon, bits"}
    return {
        f"{name}.svg": svg.lines(
            rows, title=title, across="layer", up=words[name.split("_")[0]], high=1.0
        )
        for (name, title), rows in series.items()
    }


def _cosines(found: Mapping[str, Any]) -> dict[str, str]:
    """The first clip's matrices."""
    return {
        f"cosine_{row['stage']}_{row['first']}_{row['second']}.svg": svg.heat_map(
            row["matrix"],
            title=f"Cosines of {row['stage']} tokens, {found['clips'][0]}",
            rows=row["first"],
            columns=row["second"],
            high=1.0,
        )
        for row in found["cosines"]
    }


def summary(found: Mapping[str, Any]) -> str:
    """Markdown tables of the means over layers; each beside its control."""
    parts = [_cosine_table(found)]
    if "usage" in found:
        parts = [_use_table(found), _agreement_table(found), *parts]
    notes = [f"- {name}: {text}" for name, text in found["controls"].items()]
    return "\n\n".join([*parts, "Controls:\n" + "\n".join(notes)])


def _use_table(found: Mapping[str, Any]) -> str:
    routed, top_k = found["routed"], found["top_k"]
    head = (
        f"Use of {routed} experts, {top_k} a token, means over {found['layers']} layers. Collapse: "
        f"{top_k} effective, top-{top_k} share 1; balance: {routed} and {top_k / routed:.2f}.\n\n"
        f"| task | rates | positions | tokens | router | effective | top-{top_k} share |\n"
        "|---|---|---|---|---|---|---|"
    )
    rows = [
        f"| {TASKS[r['task']]} | {r['rates']} | {r['kind']} | {r['tokens']} | {r['router']} "
        f"| {_mean(r['effective_count']):.1f} | {_mean(r['top_share']):.2f} |"
        for r in found["usage"]
    ]
    return "\n".join([head, *rows])


def _agreement_table(found: Mapping[str, Any]) -> str:
    head = (
        f"Agreement, means over layers and clips with 95 % intervals over clips; "
        f"a uniform choice has Jaccard {found['chance_jaccard']:.3f}.\n\n"
        "| task | first | second | router | Jaccard | any two | JS, bits | any two | loads, JS |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    rows = []
    for r in found["agreement"]:
        measures = ("jaccard_mean", "any_jaccard_mean", "shannon_mean", "any_shannon_mean")
        cells = [
            TASKS[r["task"]],
            *(f"{s['rates']} {s['kind']}" for s in (r["first"], r["second"])),
            r["router"],
            *(_span(r[name]) for name in measures),
            f"{_mean(r['shannon_of_loads']):.3f}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([head, *rows])


def _cosine_table(found: Mapping[str, Any]) -> str:
    head = (
        "Cosines before the LLM, means over clips.\n\n"
        "| tokens | first | second | same time | any two |\n|---|---|---|---|---|"
    )
    rows = [
        f"| {r['stage']} | {r['first']} | {r['second']} | {_span(r['aligned'])} | "
        f"{_span(r['any'])} |"
        for r in found["cosines"]
    ]
    return "\n".join([head, *rows])


def _span(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "-"
    if found["low"] is None:
        return f"{found['mean']:.3f}"
    return f"{found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _file(words: str) -> str:
    return words.replace(",", "-").replace(" ", "-")
