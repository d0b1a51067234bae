"""The paper's claims (arXiv 2510.04136), each with its figure, ours, and a verdict by rule.

Methods -> `Finding`, one a claim. The rule: a claim says that some figures are below zero. It holds
if all their 95 % intervals lie below zero, does not hold if one lies above, and is undecided else.
Where runaway clips or the seeds that only one of both has turn a verdict, that stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from compare_figures import Condition, Count, Figure, Method, Seeds, difference, error, growth

FINE, MIDDLE, LATER, COARSE = (Condition("av", a, v) for a in (4, 16) for v in (2, 5))
PAIRS = (FINE, MIDDLE, LATER, COARSE)
LIPS = (Condition("v", 0, 2), Condition("v", 0, 5))
NOISY = tuple(Condition("av", 4, 2, snr) for snr in (5.0, -5.0))
MISSING = "not run yet"
Kind = Literal["lower", "growth", "fewer", "elsewhere"]


@dataclass(frozen=True)
class Claim:
    """Something that the paper says.

    Args:
        says: in one sentence.
        theirs: their figures.
        source: table or figure of theirs.
        ours: the method that it is about.
        rival: the method that it is compared with.
        kind: "lower": its error is below the rival's under each of `keys`; "growth": it grows less
            from the first of `keys` to the last; "fewer": it has fewer active parameters;
            "elsewhere": another tool measures it.
        keys: conditions.
    """

    says: str
    theirs: str
    source: str
    ours: str = "mome-layer"
    rival: str = ""
    kind: Kind = "lower"
    keys: tuple[Condition, ...] = PAIRS


@dataclass(frozen=True)
class Finding:
    """What came of a claim: our figures as text, and the verdict."""

    claim: Claim
    figures: tuple[str, ...]
    verdict: str


CLAIMS = (
    Claim(
        "MoME-LAYER has fewer errors than fixed-rate Llama-AVSR at every rate pair.",
        "1.5 1.8 3.1 3.2 against 2.4 2.8 3.3 4.1",
        "Table 1, LRS3",
        rival="lora",
    ),
    Claim(
        "So has MoME-LAYER that reads every rate pair in every step, as the paper trains it.",
        "1.5 1.8 3.1 3.2 against 2.4 2.8 3.3 4.1",
        "Table 1, LRS3",
        ours="mome-all",
        rival="lora",
    ),
    Claim(
        "MoME-LAYER has fewer errors than Llama-MTSK MS at every rate pair.",
        "1.5 1.8 3.1 3.2 against 2.6 2.7 3.7 4.1",
        "Table 1, LRS3",
        rival="mtsk-ms",
    ),
    Claim(
        "MoME-LAYER has fewer errors than Llama-MTSK SS at every rate pair.",
        "1.5 1.8 3.1 3.2 against 2.3 2.2 3.3 3.6",
        "Table 1, LRS3",
        rival="mtsk-ss",
    ),
    Claim(
        "MoME-LAYER has fewer errors than Llama-MTSK MSS at every rate pair.",
        "1.5 1.8 3.1 3.2 against 2.4 2.4 3.2 3.5",
        "Table 1, LRS3",
        rival="mtsk-mss",
    ),
    Claim(
        "It has fewer active parameters than low-rank layers.",
        "3.5M against 6.8M",
        "Table 1, LRS3",
        rival="mtsk-ss",
        kind="fewer",
        keys=(),
    ),
    Claim(
        "One model for all rates has fewer errors than one model a rate pair.",
        "MHSA 1.8 1.7 2.9 2.9 against 2.1 1.9 3.3 3.7 (ours: LAYER)",
        "Table 1, LRS3",
        rival="mome-i",
    ),
    Claim(
        "So has one model that reads every rate pair in every step, as the paper trains it.",
        "MHSA 1.8 1.7 2.9 2.9 against 2.1 1.9 3.3 3.7 (ours: LAYER)",
        "Table 1, LRS3",
        ours="mome-all",
        rival="mome-i",
    ),
    Claim(
        "Many small experts have fewer errors than one bottleneck (ours: of equal active size).",
        "MHSA 2.9 3.0 4.2 4.3 against 3.4 3.4 4.9 5.1 (ours: LAYER)",
        "Table 3, LRS2",
        rival="dense",
    ),
    Claim(
        "Compression costs MoME less than it costs fixed-rate Llama-AVSR: growth from (4,2) to "
        "(16,5).",
        "1.5 against 4.0 points on LRS2 (1.7 against 1.7 on LRS3)",
        "Table 1",
        rival="lora",
        kind="growth",
        keys=(FINE, COARSE),
    ),
    Claim(
        "So does compression cost MoME-LAYER that reads every rate pair in every step.",
        "1.5 against 4.0 points on LRS2 (1.7 against 1.7 on LRS3)",
        "Table 1",
        ours="mome-all",
        rival="lora",
        kind="growth",
        keys=(FINE, COARSE),
    ),
    Claim(
        "Under babble MoME-LAYER has fewer errors than Llama-AVSR, at 5 and -5 dB.",
        "6.4 32.6 against 7.1 41.8 (rate pair not told; ours: 4,2)",
        "Table 2, LRS2; its 0 dB column is not comparable",
        rival="lora",
        keys=NOISY,
    ),
    Claim(
        "Under babble MoME-LAYER has fewer errors than Llama-MTSK MS, at 5 and -5 dB.",
        "6.4 32.6 against 8.0 44.9 (rate pair not told; ours: 4,2)",
        "Table 2, LRS2; its 0 dB column is not comparable",
        rival="mtsk-ms",
        keys=NOISY,
    ),
    Claim(
        "With sound and lips LAYER has fewer errors than FFN.",
        "1.5 1.8 3.1 3.2 against 2.1 2.2 4.0 4.0",
        "Table 1, LRS3",
        rival="mome-ffn",
    ),
    Claim(
        "With lips alone FFN has fewer errors than LAYER.",
        "30.0 33.5 against 33.1 37.1 at video rates 2, 5",
        "Figure 3, read off the plot",
        ours="mome-ffn",
        rival="mome-layer",
        keys=LIPS,
    ),
    Claim(
        "A shared router has fewer errors than a router for each rate pair.",
        "1.8 1.9 3.0 3.4 against 1.9 2.0 3.2 3.7",
        "Table 7, LRS3, MoME-15/3",
        rival="mome-disjoint",
    ),
    Claim(
        "Equal weights of the rates have fewer errors than uneven ones.",
        "1.8 1.9 3.0 3.4 against 2.4 2.2 3.5 3.6",
        "Table 7, LRS3, MoME-15/3",
        rival="mome-weights",
    ),
    Claim(
        "A shared router makes the rates use the same experts.",
        "histograms that look alike",
        "Figures 5 and 9",
        kind="elsewhere",
    ),
)


def verdict(figures: Sequence[Figure]) -> str:
    """The rule.

    Args:
        figures: those that the claim says to be below zero.
    """
    if figures and all(figure.high < 0 for figure in figures):
        return "holds"
    return "does not" if any(figure.low > 0 for figure in figures) else "undecided here"


def judge(claim: Claim, found: Mapping[str, Method]) -> Finding:
    """Our figures for a claim, and what follows from them."""
    if claim.kind == "elsewhere":
        return Finding(claim, (), "see [the study of experts](experts/README.md)")
    ours, rival = found.get(claim.ours), found.get(claim.rival)
    if (
        ours is None
        or rival is None
        or any(k not in m.rows for m in (ours, rival) for k in claim.keys)
    ):
        return Finding(claim, (), MISSING)
    if claim.kind == "fewer":
        words = f"{ours.active:,} against {rival.active:,}"
        holds = "holds, by the suite's choice of sizes"
        return Finding(claim, (words,), holds if ours.active < rival.active else "does not")
    readings = {name: _figures(claim, ours, rival, *how) for name, how in _ways(ours, rival)}
    if claim.kind == "growth":
        fine, coarse = claim.keys
        told = [f"{_risen(ours, fine, coarse)} against {_risen(rival, fine, coarse)} points"]
        told.append(f"difference {_told(readings, 0)}")
    else:
        told = [
            f"{key}: {100 * error(ours, key).value:.1f} against "
            f"{100 * error(rival, key).value:.1f}, difference {_told(readings, place)}"
            for place, key in enumerate(claim.keys)
        ]
    verdicts = {name: verdict(figures) for name, figures in readings.items()}
    first = verdicts.pop("")
    other = "; ".join(f"{name}: {found}" for name, found in verdicts.items() if found != first)
    return Finding(claim, tuple(told), f"{first} ({other})" if other else first)


def _ways(ours: Method, rival: Method) -> list[tuple[str, tuple[Count, Seeds | None]]]:
    """By name, how differences are read; the first is what counts."""
    ways: list[tuple[str, tuple[Count, Seeds | None]]] = [
        ("", ("all", None)),
        ("capped", ("capped", None)),
    ]
    shared = ours.seeds & rival.seeds
    if shared and ours.seeds != rival.seeds:
        name = ", ".join(map(str, sorted(shared)))
        ways.append((f"seed{'s' * (len(shared) > 1)} {name} of both", ("all", shared)))
    return ways


def _told(readings: Mapping[str, Sequence[Figure]], place: int) -> str:
    """A figure as each of the readings has it."""
    return ", ".join(f"{name} {figures[place]}".strip() for name, figures in readings.items())


def _figures(
    claim: Claim, ours: Method, rival: Method, count: Count, seeds: Seeds | None
) -> list[Figure]:
    """What the claim says to be below zero."""
    if claim.kind == "growth":
        return [growth(ours, rival, *claim.keys, count, seeds)]
    return [difference(ours, rival, key, count, seeds) for key in claim.keys]


def _risen(method: Method, fine: Condition, coarse: Condition) -> str:
    return f"{100 * (error(method, coarse).value - error(method, fine).value):.1f}"
