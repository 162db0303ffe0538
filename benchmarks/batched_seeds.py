"""Seeds one after the other against one batched model, in one process, in alternation.

    python benchmarks/batched_seeds.py [--short] [--jobs-only] [--rounds 3] [--out FILE.json]

For each size: the fits of S seeds as `ctx.fit` makes them, and as `train.batch_seeds` does, both
with their checkpoints and logs. `auto` is what the trial decided, and whether that was right: it is
wrong where its choice took over 10 % longer than the other. Times are processor seconds on one
thread (others may use the machine), wall seconds on several. Then whole jobs of several lengths,
`kd` and `ce` with five seeds: gates, teacher, trial, evaluation and report included; `auto` is
right where it took at most 10 % longer than the better of both. Then one arm in one process and in
two workers. `--jobs-only` leaves the sizes out.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from bequeath.evidence.record import find_runs, load_record
from bequeath.fleet import run_job
from bequeath.given.models import model_handle
from bequeath.given.samples import ArraySamples
from bequeath.job.api import load_job
from bequeath.kernel.files import write_json
from bequeath.train import together
from bequeath.train.config import Train
from bequeath.train.context import Context
from bequeath.train.many import cross_entropy_step

CLASSES = tuple("abcdefghij")
MLPS = (16, 64, 256, 1024)
LENGTHS = (3, 5, 8, 12, 20, 40, 80)  # epochs of a whole job, of 20 steps each
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


def job_of(epochs: int, way: str, out: Path, hidden: int, **more: Any) -> dict[str, Any]:
    """`kd` with five seeds on the digits, and `ce` beside it."""
    split = "sklearn:digits?split="
    train = {
        "epochs": epochs,
        "batch_size": 64,
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "cache": "off",
        "batch_seeds": way,
    }
    models = {"teacher": "zoo:mlp?hidden=256", "student": f"zoo:mlp?hidden={hidden}"}
    data = {"train": f"{split}train", "test": f"{split}test"}
    about = {"want": "distill", "method": "kd", "seeds": 5, "models": models, "data": data}
    return {**about, "train": train, "out": str(out), **more}


def run_whole(jobs: int, *about: Any, **more: Any) -> dict[str, Any]:
    """Wall and processor seconds of a job, of its workers too, and what trained as one."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "out"
        job = load_job(job_of(*about[:2], out, *about[2:], **more))
        began, cpu = time.perf_counter(), processor()
        run_job(job, jobs=jobs, quiet=True)
        found = {"wall_s": time.perf_counter() - began, "cpu_s": processor() - cpu}
        how: dict[str, int] = {}  # how many seeds of each arm trained with others as one
        for record in map(load_record, find_runs(out)):
            batched = record.train is not None and record.train.together is not None
            how[record.run.arm] = how.get(record.run.arm, 0) + batched
        return {**found, "how": how}


def processor() -> float:
    """Processor seconds of this process and of those it has waited for."""
    every = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in every)


def lengths(rounds: int, hidden: int, epochs: Sequence[int]) -> list[dict[str, Any]]:
    """A whole job in one process: without, with `auto`, and with batching insisted on."""
    rows = []
    for n in epochs:
        ways: dict[str, list[dict[str, Any]]] = {"off": [], "auto": [], "on": []}
        for _ in range(rounds):
            for way, found in ways.items():
                found.append(run_whole(1, n, way, hidden))
        best = {way: min(one["cpu_s"] for one in found) for way, found in ways.items()}
        row = {"epochs": n, "hidden": hidden, **{f"{way}_s": s for way, s in best.items()}}
        row["auto"] = [one["how"] for one in ways["auto"]]
        row["auto_right"] = best["auto"] <= 1.1 * min(best.values())
        rows.append(row)
        print(
            f"kd, ce, {hidden} units, {n:3} epochs: {best['off']:6.2f} s one by one, "
            f"{best['on']:6.2f} as one; auto {best['auto']:6.2f} "
            f"({'right' if row['auto_right'] else 'WRONG'}), as one: {row['auto'][-1]}",
            flush=True,
        )
    return rows


def side_by_side(rounds: int, epochs: int) -> list[dict[str, Any]]:
    """One arm of five seeds: one by one, batched, and both in two workers."""
    rows = []
    for jobs in (1, 2):
        for way in ("off", "auto"):
            tries = [run_whole(jobs, epochs, way, 32, baselines=False) for _ in range(rounds)]
            best = {key: min(one[key] for one in tries) for key in ("wall_s", "cpu_s")}
            rows.append({"jobs": jobs, "batch_seeds": way, "epochs": epochs, **best})
            print(
                f"kd, {epochs} epochs, --jobs {jobs}, {way:4}: {best['wall_s']:6.2f} s, "
                f"{best['cpu_s']:6.2f} s of processor; as one: {tries[-1]['how']}",
                flush=True,
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="three sizes, five seeds, one round")
    parser.add_argument("--jobs-only", action="store_true", help="whole jobs, and no sizes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.threads == 1 else time.perf_counter
    rounds = 1 if args.short else args.rounds
    names = [f"zoo:mlp?hidden={h},{h}" for h in (MLPS[:2] if args.short else MLPS)]
    names += ["zoo:lenet"] + ([] if args.short else ["zoo:resnet8"])
    names = [] if args.jobs_only else names
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
    run_whole(1, 1, "off", 32)  # what only the first job costs: libraries loaded
    jobs = lengths(rounds, 32, LENGTHS[:3] if args.short else LENGTHS)
    workers = [] if args.short else side_by_side(rounds, 300)
    if args.out:
        about = {
            "torch": torch.__version__,
            "machine": platform.machine(),
            "threads": args.threads,
            "clock": clock.__name__,
            "rounds": rounds,
        }
        write_json(args.out, about | {"sizes": rows, "jobs": jobs, "workers": workers})


if __name__ == "__main__":
    main()
