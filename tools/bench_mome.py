"""Speed of the MoME layer against a loop over experts and against dense LoRA; of whole decoding.

    python tools/bench_mome.py [--dtype both] [--repeats 30] [--out DIR]
    python tools/bench_mome.py --whole [--out DIR]

Data: random hidden states of given shapes -> DIR/bench_mome.json, and a Markdown table, also on
stdout. `--whole` decodes with the pinned SmolLM2 with MoME and without.
bf16 on a CPU that does not multiply it in hardware is some 30 times slower than float32, and
its figures say nothing of other machines; `--dtype auto` takes what `avsr` itself would.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from paired import Clock, calls_for, ratio, rounds
from rivals import WIDTHS, DenseLora, Loop, Width, awaken, check_equal, lora_rank

from avsr.cli.options import count, whole
from avsr.cli.outcome import guarded
from avsr.precision import choose_dtype
from avsr.writers import write_atomic
from experts import MomeConfig, MomeLayer

TOKENS = (600, 100, 1)
MEASURE = 0.005  # seconds that a measurement should take at least
# On a machine that others use, a wall clock counts their turns too; the processor's own time does
# not, but it is the sum over threads: measure with one.
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
SLOW = "this CPU does not multiply bf16 itself: bf16 runs some 30 times slower than float32 here"


def bench_layer(
    width: Width,
    tokens: int,
    dtype: torch.dtype,
    *,
    repeats: int,
    seed: int,
    calls: int | None = None,
    clock: Clock = time.perf_counter,
) -> dict[str, Any]:
    """Time one decoder layer's MoME, loop and LoRA on the same hidden states.

    Args:
        width: of the decoder layer.
        tokens: N; 1 is a step of decoding.
        dtype: of hidden states.
        repeats: paired rounds.
        seed: of weights, hidden states and the bootstrap.
        calls: calls a measurement, None to fill `MEASURE` seconds.
        clock: seconds.

    Raises:
        ValueError: the layer does not equal the loop.
    """
    config = MomeConfig(rank=width.rank)
    generator = torch.Generator().manual_seed(seed)
    layer = awaken(MomeLayer(width.hidden, config, generator=generator), seed)
    rank = lora_rank(width, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        lora = DenseLora(width, rank, dtype)
    loop = Loop(layer, dtype)
    x, base = (
        torch.randn(1, tokens, width.hidden, generator=generator).to(dtype) for _ in range(2)
    )
    works = {name: _on(module, x, base) for name, module in _named(layer, loop, lora)}
    # Made outside of it: weights made inside have no version, and a layer cannot keep what it laid
    # out of weights that may change unseen.
    with torch.inference_mode():
        apart = check_equal(layer, loop, x, base)
        calls = calls_for(MEASURE, works, clock) if calls is None else calls
        spent = rounds(works, repeats=repeats, calls=calls, clock=clock)
    return {
        "shape": width.name,
        "hidden": width.hidden,
        "tokens": tokens,
        "dtype": str(dtype).removeprefix("torch."),
        "active": {"mome": config.active(width.hidden), "lora": lora.active},
        "lora_rank": rank,
        "difference": apart,
        "calls": calls,
        "seconds": {name: statistics.median(row) for name, row in spent.items()},
        "of_loop": asdict(ratio(spent["mome"], spent["loop"], seed=seed)),
        "of_lora": asdict(ratio(spent["mome"], spent["lora"], seed=seed)),
        "rounds": spent,
    }


def _named(*modules: torch.nn.Module) -> Iterable[tuple[str, torch.nn.Module]]:
    return zip(("mome", "loop", "lora"), modules, strict=True)


def _on(module: torch.nn.Module, x: torch.Tensor, base: torch.Tensor) -> Any:
    return lambda: module(x, base)


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Markdown, a line a shape."""
    head = (
        "| one layer of | tokens | dtype | MoME, ms | loop, ms | LoRA, ms | MoME / loop "
        "| MoME / LoRA |\n|---|---|---|---|---|---|---|---|"
    )
    lines = [
        f"| {r['shape']} | {r['tokens']} | {r['dtype']} | "
        + " | ".join(f"{1e3 * r['seconds'][name]:.3f}" for name in ("mome", "loop", "lora"))
        + f" | {_cell(r['of_loop'])} | {_cell(r['of_lora'])} |"
        for r in rows
    ]
    return "\n".join([head, *lines])


def whole_table(found: Mapping[str, Any]) -> str:
    """Markdown: the ratios of a whole decoding, and where its time goes."""
    per = found["seconds_a_token"]
    share = ", ".join(f"{name} {100 * part:.1f} %" for name, part in found["share"].items())
    return "\n".join(
        [
            f"| {found['model']}, {found['dtype']} | without, ms | with MoME, ms | ratio |",
            "|---|---|---|---|",
            f"| a decoded token | {1e3 * per['without']:.2f} | {1e3 * per['with']:.2f} | "
            f"{_cell(found['decode'])} |",
            *(
                f"| {words} | {1e3 * found['seconds'][f'without{key}']:.1f} | "
                f"{1e3 * found['seconds'][f'with{key}']:.1f} | {_cell(found[name])} |"
                for words, key, name in (
                    (f"prefill of {found['prompt']}", ", prefill", "prefill"),
                    (f"both, {found['tokens']} tokens", "", "total"),
                )
            ),
            "",
            f"Of a decoding with MoME: {share}.",
        ]
    )


def _cell(found: Mapping[str, float]) -> str:
    return f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def dtypes(name: str) -> list[torch.dtype]:
    """The dtypes an option asks for; "both" is float32 and bf16."""
    return [torch.float32, torch.bfloat16] if name == "both" else [choose_dtype(name)]


def _several(text: str) -> int:
    """Read a whole number of at least 2: a token's time is that between two."""
    if count(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not at least 2")
    return int(text)


def options() -> argparse.ArgumentParser:
    """The command line."""
    names = [width.name for width in WIDTHS]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shapes", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--tokens", nargs="+", type=count, default=list(TOKENS), metavar="N")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16", "both"])
    parser.add_argument("--repeats", type=count, default=30, help="paired rounds (default: 30)")
    parser.add_argument("--seed", type=whole, default=0)
    parser.add_argument("--threads", type=count, help="of torch; default: as torch finds them")
    parser.add_argument(
        "--clock", default="wall", choices=list(CLOCKS), help="cpu: on a busy machine, one thread"
    )
    parser.add_argument("--whole", action="store_true", help="decode with a whole LLM instead")
    parser.add_argument("--model", default="smollm2-135m-instruct", help="for --whole")
    parser.add_argument("--prompt", type=count, default=100, help="for --whole: tokens (100)")
    parser.add_argument(
        "--steps", type=_several, default=32, help="for --whole: tokens to write (32)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="JSON and Markdown go there")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table and write it down."""
    args = options().parse_args(argv)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    wanted = dtypes(args.dtype)
    notes = [SLOW] if torch.bfloat16 in wanted and choose_dtype("auto") == torch.float32 else []
    for note in notes:
        print(note, file=sys.stderr)
    facts = {
        "command": ["python", "tools/bench_mome.py", *(sys.argv[1:] if argv is None else argv)],
        "seed": args.seed,
        "threads": torch.get_num_threads(),
        "repeats": args.repeats,
        "clock": args.clock,
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {platform.processor() or platform.system()}",
        "notes": notes,
    }
    runs = _whole(args, wanted) if args.whole else _layers(args, wanted)
    tables = [whole_table(run) for run in runs] if args.whole else [table(runs)]
    text = "\n\n".join(
        [
            *tables,
            f"Medians of {args.repeats} paired rounds and of their ratios, with 95 % intervals; "
            f"{args.clock} clock, {facts['threads']} threads, seed {args.seed}.",
            *notes,
        ]
    )
    print(text)
    if args.out is not None:
        name = "bench_mome_whole" if args.whole else "bench_mome"
        args.out.mkdir(parents=True, exist_ok=True)
        write_atomic(args.out / f"{name}.json", json.dumps({**facts, "rows": runs}) + "\n")
        write_atomic(args.out / f"{name}.md", text + "\n")
    return 0


def _layers(args: argparse.Namespace, wanted: Sequence[torch.dtype]) -> list[dict[str, Any]]:
    return [
        bench_layer(
            width,
            tokens,
            dtype,
            repeats=args.repeats,
            seed=args.seed,
            clock=CLOCKS[args.clock],
        )
        for width in WIDTHS
        if width.name in args.shapes
        for dtype in wanted
        for tokens in args.tokens
    ]


def _whole(args: argparse.Namespace, wanted: Sequence[torch.dtype]) -> list[dict[str, Any]]:
    from whole_decode import measure

    from avsr.language_model import load_llm
    from avsr.weights import resolve

    out = []
    for dtype in wanted:
        llm, _ = load_llm(resolve(args.model), dtype)
        found = measure(
            llm,
            MomeConfig(),
            prompt=args.prompt,
            tokens=args.steps,
            repeats=args.repeats,
            seed=args.seed,
            clock=CLOCKS[args.clock],
        )
        out.append({"model": args.model, **found})
    return out


if __name__ == "__main__":
    sys.exit(guarded(main))
