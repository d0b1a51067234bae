"""Speed of the linkage behind `cluster`, for a batch at one rate and for several rates at once.

    python tools/bench_ward.py [--rows 16] [--frames 500] [--width 256] [--threads 2]

Data: random features of a given shape -> medians and quartiles of seconds, on stdout. Meant for an
idle machine: it says so if others are computing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import torch

from avsr.compress import Cluster, Pool
from avsr.streams import Budget, TokenStream


def spent(work: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each of `repeats` calls, three before them not counted."""
    for _ in range(3):
        work()
    out = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        out.append(time.perf_counter() - began)
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, default in (("rows", 16), ("frames", 500), ("width", 256), ("rate", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    if os.getloadavg()[0] > 0.5:
        print("others are computing on this machine: the figures mean little", file=sys.stderr)
    generator = torch.Generator().manual_seed(args.seed)
    x = torch.randn(args.rows, args.frames, args.width, generator=generator)
    s = TokenStream.from_features(x, torch.full((args.rows,), args.frames), 50.0)
    one, several = [Budget.rate(args.rate)], [Budget.rate(r) for r in (2, 4, 8, 16)]
    cluster, pool = Cluster(), Pool()
    works = {
        f"linkage, rate {args.rate}": lambda: cluster.plans(s, one, None),
        f"cluster, rate {args.rate}": lambda: cluster.multi(s, one),
        "cluster, rates 2, 4, 8, 16": lambda: cluster.multi(s, several),
        f"pool, rate {args.rate}": lambda: pool.multi(s, one),
    }
    print(f"{args.rows} x {args.frames} x {args.width}, {args.threads} threads, seed {args.seed}")
    with torch.inference_mode():
        for name, work in works.items():
            low, median, high = statistics.quantiles(spent(work, args.repeats), n=4)
            print(f"{name}: {1e3 * median:.1f} ms ({1e3 * low:.1f} to {1e3 * high:.1f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
