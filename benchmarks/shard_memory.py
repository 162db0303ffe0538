"""What `train.shard` saves in memory and costs in time: a GPT of 49 million weights, on the CPU.

    python benchmarks/shard_memory.py [--world 1 2 4] [--rounds 2] [--out shard_memory.json]
    python benchmarks/shard_memory.py --short           # a small model, two processes: does it run

Every number is of one process of `world`, the worst of them, with AdamW in float32 and a batch of
one text of 64 words in each. `held` is what it has of weights, gradients and moments between the
backward pass and the optimizer's step; `peak` how much resident memory grew at most over the steps,
from before the model was made (activations and the exchanges' buffers included). Times are
processor seconds of a process and a step, waiting for the others included where gloo spins: other
work on the machine disturbs wall time more. The three ways alternate.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

KINDS = ("off", "gradients", "full")
SIZES = {"long": (8192, 13, 512, 8, 64), "short": (256, 2, 64, 2, 64)}
STEPS = 3
# What torch frees goes back to the system at once; else glibc keeps it, and no peak is seen.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
ENVIRONMENT |= {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def child(kind: str, size: str) -> dict[str, Any]:
    """One process of several: its share, its peak and its time, after a step that warms up."""
    import torch
    from torch.nn import functional as F

    from bequeath.given.zoo.gpt import GPT
    from bequeath.train.budget import cpu_seconds, peak_memory
    from bequeath.train.config import Train
    from bequeath.train.context import Context
    from bequeath.train.fit import Fit, Until
    from bequeath.train.processes import join
    from bequeath.train.terms import mean_over

    words, layers, width, heads, length = SIZES[size]
    texts = torch.randint(words, (256, length + 1), generator=torch.Generator().manual_seed(0))

    class Texts:
        def __len__(self) -> int:
            return len(texts)

        def fetch(self, idx: torch.Tensor) -> dict[str, Any]:
            return {"idx": idx, "words": texts[idx]}

    processes = join("cpu")
    torch.set_num_threads(1)
    train = Train(steps=STEPS + 1, batch_size=1, device="cpu", shard=kind, checkpoint_every=1e6)

    def made(folder: str, name: str, layers: int, width: int) -> Fit:
        ctx = Context(0, train, Path(folder), processes=processes, show=False)
        model = GPT(words, layers, width, heads, length, 0.0)

        def step(batch: dict[str, Any]) -> dict[str, Any]:
            z = model(batch["words"][:, :-1]).flatten(0, 1)
            loss = F.cross_entropy(z, batch["words"][:, 1:].flatten(), reduction="none")
            return {"ce": mean_over(loss)}

        return Fit(ctx, {"model": model}, Texts(), step, Until(), name, train)

    with tempfile.TemporaryDirectory() as store:  # loads what torch loads late: 100 MB of code
        first = made(store, "first", 1, heads)
        next(first.steps())
        first.close()
    with tempfile.TemporaryDirectory() as store, peak_memory() as peak:
        run = made(store, "fit", layers, width)
        held = 0
        forget = run._forget_gradients

        def look() -> None:
            nonlocal held
            held = share_of(run)
            forget()

        run._forget_gradients = look  # type: ignore[method-assign]
        steps = run.steps()
        next(steps)
        before = cpu_seconds()
        for _ in range(STEPS):
            next(steps)
        spent = (cpu_seconds() - before) / STEPS
        numbers = sum(p.numel() for p in run.params)
    run._forget_gradients = forget  # type: ignore[method-assign]
    run.close()
    return {
        "weights": numbers,
        "held": held,
        "peak": peak.resident - peak.before,
        "cpu_s": spent,
    }


def share_of(run: Any) -> int:
    """Bytes of weights, gradients and moments that this process has."""
    moments = [run.raw_optimizer.state[p] for p in run.params]
    every = [
        *run.params,
        *(p.grad for p in run.params),
        *(m[key] for m in moments for key in ("exp_avg", "exp_avg_sq")),
    ]
    local = [t.to_local() if hasattr(t, "to_local") else t for t in every]
    memory = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in local}
    return sum(memory.values())


def launch(world: int, kind: str, size: str) -> dict[str, Any]:
    """The worst process of `world` that train in this way."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        free.close()
        more = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [sys.executable, __file__, "--child", kind, "--size", size, "--out"]
        children = [
            subprocess.Popen(
                [*command, f"{folder}/{rank}.json"],
                env={**os.environ, **ENVIRONMENT, **more}
                | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(world)
        ]
        codes = [child.wait() for child in children]
        if any(codes):
            raise SystemExit(f"a process of {world} with `{kind}` failed")
        found = [json.loads(Path(f"{folder}/{r}.json").read_text()) for r in range(world)]
    return {key: max(one[key] for one in found) for key in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--size", choices=SIZES, default="long")
    parser.add_argument("--child", choices=KINDS)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if asked.child:
        asked.out.write_text(json.dumps(child(asked.child, asked.size)))
        return
    size = "short" if asked.short else asked.size
    rows = []
    for world in [2] if asked.short else asked.world:
        kinds = KINDS if world > 1 else KINDS[:1]
        runs = [
            (kind, launch(world, kind, size))
            for _ in range(1 if asked.short else asked.rounds)
            for kind in kinds
        ]
        for kind in kinds:
            mine = [found for name, found in runs if name == kind]
            n = mine[0]["weights"]
            row = {
                "world": world,
                "shard": kind,
                "weights": n,
                "held_bytes_per_weight": round(max(m["held"] for m in mine) / n, 2),
                "peak_bytes_per_weight": round(max(m["peak"] for m in mine) / n, 2),
                "cpu_s_per_step": round(statistics.median(m["cpu_s"] for m in mine), 3),
            }
            rows.append(row)
            print(json.dumps(row), flush=True)
    if asked.out:
        asked.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
