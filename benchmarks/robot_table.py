"""Searches of the whole NAS-Bench-201 table: seconds, without training a network.

    python benchmarks/robot_table.py [--table FILE] [--budget 20] [--seeds 10] [--json FILE]

All 15,625 cells with six scores counted off them, as in `recipes/nas-search.yaml`. Timed is what a
method does from the pool to its answer, queries of the table included; reading the table and
counting the scores, which every method shares, stand beside it. Without a table (by default the one
in the folder BEQUEATH_DATA names) the answers are random numbers: the work is the same.

Exit code 1 where a search by RoBoT takes 60 seconds or more.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from bequeath.blocks.cells import cell_text
from bequeath.blocks.pool import Oracle
from bequeath.fleet.protocols._pools import objective_of, prepared, public
from bequeath.given.data import data_handle
from bequeath.given.pool import PoolSamples
from bequeath.methods.catalog import methods_of
from bequeath.methods.search import Protocol
from bequeath.train.seeds import generator

LIMIT = 60.0
FILE = "nats_tss_nasbench201.tsv.gz"
METHODS = ("robot", "greedy", "regularized_evolution", "random_search")


def opened(table: Path | None) -> PoolSamples:
    if table is not None:
        options = {"objective": "cf10_valacc_hp12", "space": "nas201", "percent": True}
        held: Any = data_handle("pool", f"pool:{table}", options).load()
        return held
    ids = tuple(cell_text(row) for row in product(range(5), repeat=6))
    worth = np.random.default_rng(0).random(len(ids))
    return PoolSamples(ids, (), np.empty((len(ids), 0)), np.empty(0), worth, {}, space="nas201")


def search(name: str, pool: PoolSamples, budget: int, seed: int) -> tuple[float, float]:
    """(seconds, regret) of one search."""
    method = methods_of("search")[name]
    started = time.perf_counter()
    oracle = Oracle(public(pool), budget, objective_of(pool))
    ctx = SimpleNamespace(rng=lambda stream, *counters: generator(seed, stream, *counters))
    found = method(ctx, SimpleNamespace(protocol=oracle), method.Config()).answer
    seconds = time.perf_counter() - started
    objective: Any = pool.objective
    return seconds, float(objective.max() - objective[found.best])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    usual = Path(os.environ.get("BEQUEATH_DATA", "")) / FILE
    parser.add_argument("--table", type=Path, default=usual if usual.is_file() else None)
    parser.add_argument("--budget", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)

    started = time.perf_counter()
    pool = opened(given.table)
    read_s = time.perf_counter() - started
    settings = Protocol(metrics="counts", budget=given.budget)
    pool = prepared(pool, None, settings, 0, torch.device("cpu"))
    public(pool)
    prepared_s = time.perf_counter() - started - read_s
    search("robot", pool, 2, 0)  # the first pass through any code is slower

    asked: dict[str, Any] = {"candidates": len(pool), "budget": given.budget}
    asked |= {"seeds": given.seeds, "threads": given.threads, "table": given.table is not None}
    found: dict[str, Any] = {**asked, "read_s": read_s, "prepared_s": prepared_s, "searches": {}}
    print(f"{len(pool):,} candidates: read in {read_s:.2f} s, scores counted in {prepared_s:.2f} s")
    for name in METHODS:
        runs = [search(name, pool, given.budget, seed) for seed in range(given.seeds)]
        seconds, regrets = zip(*runs)
        found["searches"][name] = {
            "seconds": statistics.median(seconds),
            "slowest": max(seconds),
            "regret": statistics.mean(regrets),
            "worst_regret": max(regrets),
        }
        told = f"{statistics.median(seconds):7.3f} s, at most {max(seconds):.3f}"
        print(f"{name:22} {told}; regret {statistics.mean(regrets):.4f}, worst {max(regrets):.4f}")
    found["met"] = found["searches"]["robot"]["slowest"] < LIMIT
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0 if found["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
