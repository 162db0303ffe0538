"""The k nearest rows of a bank to each of its own rows, beside a plain matrix product plus top-k.

    python benchmarks/knn_bank.py [--rows 50000] [--queries 50000] [--width 256] [--k 5]
                                  [--rounds 3] [--threads 1] [--out knn_bank.json]

Both are cut in chunks of as many queries, since N x N products would not fit in memory; the plain
way is `(q @ bank.T).topk(k)`. The results are compared. Times are of the processor, so that other
work on the machine does not count. Target: at least half the speed of the plain way.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
from torch import Tensor
from torch.nn import functional as F

from bequeath.blocks import bank


def plain(queries: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    values = queries.new_empty(len(queries), k)
    places = torch.empty(len(queries), k, dtype=torch.int64)
    for part in torch.arange(len(queries)).split(max(1, bank._CELLS // len(rows))):
        low, high = int(part[0]), int(part[-1]) + 1
        values[low:high], places[low:high] = (queries[low:high] @ rows.T).topk(k, dim=1)
    return values, places


def timed(search: Callable[..., tuple[Tensor, Tensor]], *args: object) -> tuple[float, Tensor]:
    began = time.process_time()
    values, _ = search(*args)
    return time.process_time() - began, values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    g = torch.Generator().manual_seed(0)
    rows = F.normalize(torch.randn(args.rows, args.width, generator=g), dim=1)
    queries = rows[: args.queries]
    seconds: dict[str, list[float]] = {"plain": [], "bank": []}
    plain(queries[:200], rows, args.k)
    bank.nearest(queries[:200], rows, args.k)
    before = psutil.Process().memory_info().rss
    held = {"bank": 0, "plain": 0}
    for round_ in range(args.rounds):  # alternating, so that a machine that slows down slows both
        found = {}
        for name in ("plain", "bank") if round_ % 2 else ("bank", "plain"):
            search = plain if name == "plain" else bank.nearest
            took, found[name] = timed(search, queries, rows, args.k)
            seconds[name].append(took)
            held[name] = max(held[name], psutil.Process().memory_info().rss - before)
        torch.testing.assert_close(found["bank"], found["plain"])
    ratios = [p / b for p, b in zip(seconds["plain"], seconds["bank"])]
    result = {
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": args.threads,
        "rows": args.rows,
        "queries": args.queries,
        "width": args.width,
        "k": args.k,
        "plain_s": statistics.median(seconds["plain"]),
        "bank_s": statistics.median(seconds["bank"]),
        "speed_of_plain": statistics.median(ratios),
        "speed_of_plain_min": min(ratios),
        "speed_of_plain_max": max(ratios),
        "memory_growth_mib": {name: grown / 2**20 for name, grown in held.items()},
        "all_products_mib": args.queries * args.rows * 4 / 2**20,
    }
    print(
        f"{args.queries} queries, {args.rows} rows of {args.width}: bank {result['bank_s']:.2f} s, "
        f"plain product plus top-k {result['plain_s']:.2f} s, so {result['speed_of_plain']:.2f} "
        f"times its speed ({min(ratios):.2f} to {max(ratios):.2f}, {args.rounds} rounds)"
    )
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
