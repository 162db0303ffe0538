"""Seeds one after the other against one batched model, in one process, in alternation.

    python benchmarks/batched_seeds.py [--short] [--rounds 3] [--threads 1] [--out FILE.json]

For each size: the fits of S seeds as `ctx.fit` makes them, and as `train.batch_seeds` does, both
with their checkpoints and logs. `auto` is what the trial decided, and whether that was right: it is
wrong where its choice took over 10 % longer than the other. Times are processor seconds on one
thread (others may use the machine), wall seconds on several. The last row is a whole job, `kd` with
five seeds: gates, teacher, trial, evaluation and report included.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bequeath.given.models import model_handle
from bequeath.given.samples import ArraySamples
from bequeath.kernel.files import write_json
from bequeath.train import together
from bequeath.train.config import Train
from bequeath.train.context import Context
from bequeath.train.many import cross_entropy_step

CLASSES = tuple("abcdefghij")
MLPS = (16, 64, 256, 1024)
LONG = 2000  # steps of the fits that `auto` is asked about
SECONDS = 1.0  # of a measured fit of all seeds, about


def samples(image: bool, n: int = 1024) -> ArraySamples:
    """64 numbers, or 16 x 16 grey pixels, and ten classes."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, 64, generator=g)
    if image:
        x = torch.randint(0, 256, (n, 16, 16, 1), generator=g, dtype=torch.uint8)
    kind = "image" if image else "vector"
    return ArraySamples(kind, x, torch.randint(10, (n,), generator=g), CLASSES)


def ask(ref: str, seeds: int, steps: int, folder: Path, data: ArraySamples) -> list[Any]:
    train = Train(steps=steps, batch_size=64, device="cpu")
    found = []
    for seed in range(seeds):
        model = model_handle("student", ref).load(n_classes=10, data=data, seed=seed)
        ctx = Context(seed, train, folder / f"seed-{seed}", show=False)
        found.append(together.asked(ctx, model, data, cross_entropy_step(model)))
    return found


def group_context(group: list[Any], folder: Path) -> Context:
    return Context(99, group[0].train, folder / "together", show=False)


def measured(clock: Callable[[], float], do: Callable[[], Any]) -> float:
    began = clock()
    do()
    return clock() - began


def size(
    ref: str, seeds: int, rounds: int, clock: Callable[[], float], seconds: float
) -> dict[str, Any]:
    """Both ways of one size, and what `auto` chose."""
    data = samples(image=not ref.startswith("zoo:mlp"))
    with tempfile.TemporaryDirectory() as place:
        group = ask(ref, seeds, LONG, Path(place), data)
        why = together.unpromising(group[0], seeds, 0.0)
        ctx = group_context(group, Path(place))
        auto = together.Verdict(False, why) if why else together.decide(group, ctx)
        tried = auto if auto.alone_s else together.decide(group, ctx, insist=True)
    steps = max(4, min(LONG, int(seconds / (tried.alone_s or 1.0))))
    pairs = []
    for number in range(rounds):
        pair = {}
        for way in ("alone", "together") if number % 2 else ("together", "alone"):
            with tempfile.TemporaryDirectory() as place:
                group = ask(ref, seeds, steps, Path(place), data)
                ctx = group_context(group, Path(place))

                def alone(group: list[Any] = group) -> None:
                    for one in group:
                        one.ctx.fit(one.parts["model"], one.data, one.step)

                def batched(group: list[Any] = group, ctx: Context = ctx) -> None:
                    together.train(group, ctx, tried)

                pair[way] = measured(clock, alone if way == "alone" else batched)
        pairs.append(pair)
    faster = statistics.median(p["alone"] / p["together"] for p in pairs)
    chosen = 1.0 if not auto.batched else faster
    return {
        "model": ref.removeprefix("zoo:"),
        "seeds": seeds,
        "steps": steps,
        "alone_ms_a_step": min(p["alone"] for p in pairs) / steps * 1e3,
        "together_ms_a_step": min(p["together"] for p in pairs) / steps * 1e3,
        "faster": faster,
        "faster_span": [f(p["alone"] / p["together"] for p in pairs) for f in (min, max)],
        "difference": tried.difference,
        "auto": "together" if auto.batched else "alone",
        "auto_why": auto.why,
        "auto_right": chosen >= 0.9 * max(1.0, faster),
    }


def whole_job(rounds: int, clock: Callable[[], float], epochs: int) -> dict[str, Any]:
    """Processor seconds of `kd` and `ce` with five seeds on the digits, without and with `auto`."""
    from bequeath.evidence.record import find_runs, load_record
    from bequeath.fleet import run_job
    from bequeath.job.api import load_job

    pairs = []
    how: dict[str, Any] = {}
    for number in range(rounds):
        pair = {}
        for way in ("off", "auto") if number % 2 else ("auto", "off"):
            with tempfile.TemporaryDirectory() as place:
                out = Path(place) / "out"
                job = {
                    "want": "distill",
                    "method": "kd",
                    "models": {
                        "teacher": "zoo:mlp?hidden=256",
                        "student": "zoo:mlp?hidden=32",
                    },
                    "data": {
                        "train": "sklearn:digits?split=train",
                        "test": "sklearn:digits?split=test",
                    },
                    "seeds": 5,
                    "train": {
                        "epochs": epochs,
                        "batch_size": 64,
                        "device": "cpu",
                        "threads": torch.get_num_threads(),
                        "cache": "off",
                        "batch_seeds": way,
                    },
                }
                loaded = load_job(job, [f"out={out}"])
                pair[way] = measured(clock, lambda loaded=loaded: run_job(loaded, quiet=True))
                if way == "auto":
                    records = [load_record(folder) for folder in find_runs(out)]
                    how = {
                        r.run.arm: "together" if r.train and r.train.together else "alone"
                        for r in records
                    }
        pairs.append(pair)
    return {
        "off_s": min(p["off"] for p in pairs),
        "auto_s": min(p["auto"] for p in pairs),
        "faster": statistics.median(p["off"] / p["auto"] for p in pairs),
        "auto": how,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="three sizes, five seeds, one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.threads == 1 else time.perf_counter
    rounds = 1 if args.short else args.rounds
    names = [f"zoo:mlp?hidden={h},{h}" for h in (MLPS[:2] if args.short else MLPS)]
    names += ["zoo:lenet"] + ([] if args.short else ["zoo:resnet8"])
    rows = []
    for ref in names:
        for seeds in (5,) if args.short else (5, 10):
            row = size(ref, seeds, rounds, clock, SECONDS / (4 if args.short else 1))
            rows.append(row)
            right = "right" if row["auto_right"] else "WRONG"
            print(
                f"{row['model']:18} {seeds:2} seeds: {row['alone_ms_a_step']:8.2f} ms a step one "
                f"by one, {row['together_ms_a_step']:8.2f} as one, {row['faster']:5.2f} times as "
                f"fast; auto: {row['auto']} ({right}); differ by {row['difference']:.0e}",
                flush=True,
            )
    job = whole_job(rounds, clock, 20 if args.short else 60)
    print(f"a whole job: {job['off_s']:.1f} s, with auto {job['auto_s']:.1f} s; {job['auto']}")
    if args.out:
        about = {
            "torch": torch.__version__,
            "machine": platform.machine(),
            "threads": args.threads,
            "clock": clock.__name__,
            "rounds": rounds,
        }
        write_json(args.out, about | {"sizes": rows, "job": job})


if __name__ == "__main__":
    main()
