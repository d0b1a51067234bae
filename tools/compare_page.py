"""The page of a suite's results and its plots, from the runs' JSONs alone.

JSON reports + suite file -> Markdown and SVG. Nothing here trains, evaluates or opens a clip.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from compare_claims import CLAIMS, LIPS, MISSING, PAIRS, Finding, judge
from compare_eval import is_evaluated
from compare_figures import (
    DRAWS,
    Condition,
    Figure,
    Method,
    Speeds,
    difference,
    error,
    methods,
    read_speeds,
    speeds_path,
)
from compare_losses import loss_rows, losses_path, read_losses
from compare_plots import PLOTS, plots
from compare_suite import Line, Suite
from compare_train import Place

from avsr.cautions import TASKS
from avsr.writers import write_atomic

SHOWN = (Condition("a", 4, 0), Condition("a", 16, 0), *LIPS, *PAIRS)


def page(
    suite: Suite,
    reports: Sequence[Mapping[str, Any]],
    speeds: Speeds | None = None,
    losses: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """The page and its plots, by file name.

    Args:
        suite: what was to be run.
        reports: what was.
        speeds: of its methods, as `compare_speed` tells them.
        losses: of its runs on validation clips, as `compare_losses` tells them.
    """
    found = _told_again(suite, methods(reports))
    listed = [line for line in suite.lines if line.name in found]
    chosen = {line.name: found[line.name] for line in listed}
    keys = sorted({key for m in chosen.values() for key in m.rows}, key=_order)
    parts = [
        _head(suite, reports, chosen),
        _sizes(suite, chosen, speeds or {}),
        *(_errors(suite, chosen, [k for k in keys if k.task == task], task) for task in TASKS),
        _runaways(suite, chosen),
        *(_against(chosen, name, keys) for name in suite.data["baselines"]),
        _seeds(chosen),
        _losses(suite, losses or {}),
        _claims(suite, [judge(claim, found) for claim in CLAIMS]),
        _rates(suite),
        _commands(suite, reports),
    ]
    own = [m for n, m in chosen.items() if suite_line(suite, n).same_as is None]
    return {"README.md": "\n\n".join(part for part in parts if part) + "\n", **plots(own)}


def write_page(suite: Suite, reports: Sequence[Mapping[str, Any]], out: Path) -> Path:
    """Write the page and its plots.

    Returns:
        The page's path.
    """
    out.mkdir(parents=True, exist_ok=True)
    speeds = read_speeds(speeds_path(out, suite.name))
    losses = read_losses(losses_path(out, suite.name))
    for name, text in page(suite, reports, speeds, losses).items():
        write_atomic(out / name, text)
    return out / "README.md"


def suite_line(suite: Suite, name: str) -> Line:
    """The suite's line of a method."""
    return next(line for line in suite.lines if line.name == name)


def _told_again(suite: Suite, found: dict[str, Method]) -> dict[str, Method]:
    """With the methods that come to another's models under this suite."""
    again = {x.name: found[x.same_as] for x in suite.lines if x.same_as in found}
    return {**found, **again}


def _order(key: Condition) -> tuple[Any, ...]:
    """Clean first, then from loud noise to soft."""
    snr = -math.inf if key.snr is None else key.snr
    return ("a v av".split().index(key.task), snr, key.audio, key.video)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _head(suite: Suite, reports: Sequence[Mapping[str, Any]], found: Mapping[str, Method]) -> str:
    told = suite.data["evaluation"]
    clips = sorted({r["evaluation"]["clips"] for r in reports})
    several = [
        f"{len(found[line.name].seeds)} of {line.seeds} for {line.title}"
        for line in suite.lines
        if line.seeds > 1 and line.name in found
    ]
    missing = [line.name for line in suite.lines if line.name not in found]
    runs = {run.name: Place(suite, run) for run in suite.runs()}
    made = len(set(runs) & {r["run"] for r in reports})
    as_told = [r["run"] for r in reports if r["run"] in runs and is_evaluated(r, runs[r["run"]])]
    old = sorted({r["run"] for r in reports} - set(as_told))
    longer = [f" (`{line.name}` {suite.steps_of(line)})" for line in suite.lines if line.longer > 1]
    noise = "clean"
    if told.get("noise"):
        noise += f" and under `{Path(told['noise']).name}`, which no training heard"
    lines = [
        f"# Suite `{suite.name}`: MoME and its rivals, side by side",
        "Made by `python tools/compare.py "
        f"--suite {suite.name} --page` from the JSON files beside it.",
        f"{made} of {len(runs)} runs are in; each has {suite.steps} steps{''.join(longer)} of at "
        f"most {suite.data['recipe']['data']['max_clips']} clips, from one aligned start, over "
        "the same clips in the same order. "
        f"Evaluated on the {told['split']} split of `{told['corpus']}` "
        f"({', '.join(map(str, clips)) or 'no'} clips), {noise}; greedy, "
        f"{told['batch_size']} clips at a time.",
        f"Seeds that are in: {', '.join(several) or 'none'}; **one** for all others. Figures of "
        "one seed do not tell how much another would change them.",
        "Intervals are 95 % bootstrap intervals over utterances "
        f"({DRAWS} draws, both systems on the same); they hold seeds fixed. Many are shown, so one "
        "in twenty would miss by chance.",
    ]
    if missing:
        lines.append(f"Not run yet: {', '.join(missing)}.")
    if old:
        lines.append(f"Trained or evaluated otherwise than the suite says now: {', '.join(old)}.")
    lines += [f"Left out: {text}." for text in suite.data.get("left_out", [])]
    lines += list(suite.data.get("notes", []))
    return "\n\n".join(lines)


def _sizes(suite: Suite, found: Mapping[str, Method], speeds: Speeds) -> str:
    base = suite.data["baselines"][0]
    head = ["method", "seeds", "active", "stored", "projectors"]
    head += ["train s/step", f"times `{base}`'s", "decode tokens/s", f"seconds, times `{base}`'s"]
    rows = []
    for name, method in found.items():
        same = suite_line(suite, name).same_as
        rows.append(
            [
                suite_line(suite, name).title + (f" (= `{same}`)" if same else ""),
                str(len(method.seeds)),
                f"{method.active:,}",
                *(_stored(suite, name, method, what) for what in ("stored", "projectors")),
                *_times(speeds.get(same or name)),
            ]
        )
    text = (
        "Parameters that widen the LLM: active on a token, and stored for all rate pairs; and "
        "those of all projectors.\n\nTimes are medians of rounds in which every method took its "
        "turn over the same made-up clips of 3 s, ratios medians with 95 % intervals over rounds; "
        "prefill is in the decoding, which is at the finest rates. A method of fixed rates "
        "trains at the finest pair, the others at pairs that they draw. Made by `python "
        f"tools/compare.py --suite {suite.name} --speed N`; the seconds a step of the "
        "trainings themselves, which had other work beside them, are in each run's JSON."
    )
    told = sorted({_machine(times) for times in speeds.values()})
    if told:
        text += f" {'; '.join(told)}."
    return f"## Size and speed\n\n{text}\n\n{_table(head, rows)}"


def _stored(suite: Suite, name: str, method: Method, what: Any) -> str:
    """Parameters of all rate pairs, once all of them were run."""
    fixed = suite_line(suite, name).fixed
    return MISSING if fixed and method.pairs < len(suite.pairs) else f"{method.stored(what):,}"


def _times(found: Mapping[str, Any] | None) -> list[str]:
    """Cells of one method's times."""
    if found is None:
        return ["-"] * 4
    step, token = found["step"], found["token"]
    return [f"{step['seconds']:.2f}", _span(step), f"{1 / token['seconds']:.0f}", _span(token)]


def _span(found: Mapping[str, Any]) -> str:
    told = found["ratio"]
    return f"{told['median']:.2f} ({told['low']:.2f} to {told['high']:.2f})"


def _machine(found: Mapping[str, Any]) -> str:
    return (
        f"{found['rounds']} rounds of {found['clips']} clips on {found['threads']} threads, "
        f"{found['clock']} time"
    )


def _errors(suite: Suite, found: Mapping[str, Method], keys: Sequence[Condition], task: str) -> str:
    if not keys:
        return ""
    head = ["method", *(str(key).removeprefix(f"{task} ") for key in keys)]
    rows = [
        [suite_line(suite, name).title, *(_cell(method, key) for key in keys)]
        for name, method in found.items()
    ]
    tokens = {k: next(iter(found.values())).mean("tokens_per_second", [k]) for k in keys}
    speeds = [f"{tokens[k]:.1f}" for k in keys]
    rows.insert(0, ["*tokens per second of clip*", *speeds])
    return f"## Word error rate, {TASKS[task]}, %\n\n{_table(head, rows)}"


def _cell(method: Method, key: Condition) -> str:
    return str(error(method, key)) if key in method.rows else MISSING


def _runaways(suite: Suite, found: Mapping[str, Method]) -> str:
    """Error rates in which no clip counts for more than its words, and what was cut."""
    rows = [
        [
            suite_line(suite, name).title,
            *(
                f"{error(method, key, 'capped')}, {method.cut(key)} cut"
                if key in method.rows
                else MISSING
                for key in SHOWN
            ),
        ]
        for name, method in found.items()
    ]
    text = (
        "Models that were trained this briefly sometimes repeat themselves until they are cut off, "
        "after 16 tokens and 8 a second. One such clip of 130 can move a rate by four points, and "
        "an interval over clips by more. In this table a clip counts at most as many errors as it "
        "has words; beside it, how many transcripts were cut, over all seeds. Where a difference "
        "of the other tables is not in this one, it is of a few clips that did not end."
    )
    table = _table(["method", *map(str, SHOWN)], rows)
    return f"## Transcripts that do not end\n\n{text}\n\n{table}"


def _against(found: Mapping[str, Method], base: str, keys: Sequence[Condition]) -> str:
    """Differences of every method to one: clean over all tasks and rates, in noise with lips."""
    if base not in found:
        return ""
    keys = [key for key in keys if key.snr is None or key.task == "av"]
    rows = [
        [
            f"`{name}`",
            *(
                str(difference(method, found[base], key))
                if key in method.rows and key in found[base].rows
                else MISSING
                for key in keys
            ),
        ]
        for name, method in found.items()
        if method is not found[base]
    ]
    head = ["method", *map(str, keys)]
    return (
        f"## Difference to {found[base].title} (`{base}`), points\n\nBelow zero is better than "
        f"`{base}`.\n\n{_table(head, rows)}"
    )


def _seeds(found: Mapping[str, Method]) -> str:
    rows = [
        [
            f"`{name}`",
            *(
                ", ".join(f"{100 * wer:.1f}" for wer in method.by_seed(key))
                if key in method.rows
                else MISSING
                for key in PAIRS
            ),
        ]
        for name, method in found.items()
        if len(method.seeds) > 1
    ]
    if not rows:
        return ""
    return f"## Seed by seed, %\n\n{_table(['method', *map(str, PAIRS)], rows)}"


def _losses(suite: Suite, found: Mapping[str, Any]) -> str:
    """What a choice may be made by."""
    base = suite.lines[0].name
    told = loss_rows(found, base)
    rows = [
        [
            line.title,
            str(sum(run["method"] == line.name for run in found.values())),
            _nats(told[line.name][0]),
            "-" if (apart := told[line.name][1]) is None else _nats(apart),
        ]
        for line in suite.lines
        if line.name in told
    ]
    if not rows:
        return ""
    text = (
        "Mean cross-entropy of the transcripts' tokens over validation clips and rate pairs, in "
        "nats, with intervals over clips: what a choice between methods may be made by, since "
        "the tables above are of test clips. Made by `python tools/compare.py --suite "
        f"{suite.name} --losses`. It is not the error rate: a model may be surer and no better."
    )
    head = ["method", "seeds", "loss", f"above `{base}`"]
    return f"## Loss on validation clips\n\n{text}\n\n{_table(head, rows)}"


def _nats(figure: Figure) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def _claims(suite: Suite, findings: Sequence[Finding]) -> str:
    fixed = {line.name for line in suite.lines if line.fixed}
    more = f"<br>the rival is {len(suite.pairs)} models of as many steps *each*"
    rows = [
        [
            finding.claim.says,
            finding.claim.theirs,
            finding.claim.source,
            ("<br>".join(finding.figures) or "-") + (more if finding.claim.rival in fixed else ""),
            f"`--only {finding.claim.ours},{finding.claim.rival}`" if finding.claim.rival else "-",
            f"**{finding.verdict}**",
        ]
        for finding in findings
    ]
    head = ["claim", "their figure", "source", "ours, points", "made by", "verdict"]
    text = (
        "A verdict follows from the intervals alone: *holds* if every difference that the claim "
        "says to be below zero has its interval below zero, *does not* if one has it above, "
        "*undecided here* else. A method of several seeds counts as their mean, also beside one "
        "of a single seed; *seed 0 of both* leaves out the seeds that only one has. *Capped* "
        "counts no clip for more errors than it has words. Where either comes to another verdict, "
        "that stands beside it. Theirs are LRS2 and LRS3, hundreds of "
        "hours and LLMs of 1 to 3 thousand million parameters; ours are GRID and 135 million: a "
        "verdict is about this "
        "scale. Counts of parameters have no interval."
    )
    return f"## The paper's claims, one by one\n\n{text}\n\n{_table(head, rows)}"


def _rates(suite: Suite) -> str:
    rows = [
        [kind, f"{told['lr']:g}", told["how"]]
        for kind, told in suite.data["learning_rates"].items()
    ]
    return f"## Learning rates\n\n{_table(['adapter', 'peak', 'chosen'], rows)}"


def _commands(suite: Suite, reports: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [f"[{r['run']}]({r['run']}.json)", f"`{' '.join(r['command'])}`", f"`{r['git_commit']}`"]
        for r in reports
    ]
    shown = "\n\n".join(f"![{name}]({file})" for name, file in PLOTS.items())
    return f"## Plots\n\n{shown}\n\n## Runs\n\n{_table(['run', 'command', 'commit'], rows)}"
