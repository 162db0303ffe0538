"""What `train.compile` costs and gains on this machine: a small convnet and an MLP, in `fit`.

    python benchmarks/compile_speed.py [--rounds 3] [--threads 1] [--out compile_speed.json]
    python benchmarks/compile_speed.py --short          # one round, few steps: does it run

Each model is compiled in a process of its own with empty caches (`cold`), and again with the caches
that left (`warm`), as a second run of the same job finds them. The first fit of a process pays the
compiling; later ones, in alternation with fits that are not compiled, show the step alone. Times
are processor seconds of the process and of the compilers it starts, which other work on the machine
disturbs less than wall time; both are kept. Break-even: how many steps make up for the compiling.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from fit_overhead import Data, convnet, losses, mlp

from bequeath.train.config import Train
from bequeath.train.context import Context
from bequeath.train.terms import mean_over

# Samples divide the batch: one shape, so that one graph is compiled.
JOBS = {
    "conv": {"build": convnet, "shape": (3, 32, 32), "batch": 64, "steps": 40},
    "mlp": {"build": mlp, "shape": (64,), "batch": 64, "steps": 2000},
}
FEW = 4  # steps of the fit that compiles


def spent() -> tuple[float, float]:
    """(processor seconds of this process and its children, wall seconds)"""
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system, time.perf_counter()


def fit(name: str, steps: int, compiled: bool) -> tuple[float, float]:
    """(processor, wall) seconds of a fit of a fresh model."""
    job = JOBS[name]
    torch.manual_seed(0)
    model, data = job["build"](), Data(job["batch"] * 16, *job["shape"])
    train = Train(
        steps=steps, batch_size=job["batch"], compile=compiled, device="cpu", checkpoint_every=3600
    )
    with tempfile.TemporaryDirectory() as store:
        ctx = Context(0, train, Path(store), show=False)
        before = spent()
        ctx.fit(model, data, lambda batch: {"ce": mean_over(losses(model, batch))})
        after = spent()
    return after[0] - before[0], after[1] - before[1]


def in_this_process(name: str, rounds: int, steps: int) -> dict:
    """The first compiled fit, then pairs of fits compiled and not."""
    fit(name, FEW, False)  # what only the first fit costs: libraries loaded
    first = fit(name, FEW, True)
    pairs = [(fit(name, steps, True), fit(name, steps, False)) for _ in range(rounds)]
    on, off = ([pair[i][0] / steps for pair in pairs] for i in (0, 1))
    return {
        "first_cpu_s": first[0],
        "first_wall_s": first[1],
        "compiled_ms": 1e3 * statistics.median(on),
        "plain_ms": 1e3 * statistics.median(off),
        "ratios": [b / a for a, b in zip(on, off)],
    }


def measure(name: str, args: argparse.Namespace) -> dict:
    steps = 20 if args.short else JOBS[name]["steps"]
    found = {}
    with tempfile.TemporaryDirectory() as caches:
        for kind in ("cold", "warm"):
            command = [sys.executable, __file__, "--only", name, "--steps", str(steps)]
            command += ["--rounds", str(1 if args.short else args.rounds)]
            done = subprocess.run(
                [*command, "--threads", str(args.threads)],
                env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": caches},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            found[kind] = json.loads(done.stdout.splitlines()[-1])
    both = [r for kind in found.values() for r in kind["ratios"]]
    saved = found["warm"]["plain_ms"] - found["warm"]["compiled_ms"]
    summary = {
        "steps_per_cpu_s": {
            "plain": 1e3 / found["warm"]["plain_ms"],
            "compiled": 1e3 / found["warm"]["compiled_ms"],
        },
        "speedup": statistics.median(both),
        "speedup_min": min(both),
        "speedup_max": max(both),
        "steps": steps,
    }
    for kind, one in found.items():
        extra = one["first_cpu_s"] - FEW * one["compiled_ms"] / 1e3
        summary[f"{kind}_compile_cpu_s"] = extra
        summary[f"{kind}_first_fit_wall_s"] = one["first_wall_s"]
        summary[f"{kind}_break_even_steps"] = round(1e3 * extra / saved) if saved > 0 else None
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", choices=JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.only:
        print(json.dumps(in_this_process(args.only, args.rounds, args.steps)))
        return
    result: dict = {
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": args.threads,
        "times": "processor seconds, of the compilers too, but where `wall` is said",
    }
    for name in JOBS:
        result[name] = measure(name, args)
        print(name, json.dumps(result[name], indent=2))
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
