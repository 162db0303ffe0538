"""What the teacher cache costs and saves: ResNet-56 -> ResNet-20 on images of 32 x 32, batch 64.

    python benchmarks/cache_speed.py [--images 1024] [--epochs 10] [--rounds 5] [--json FILE]

Three measurements, all with synthetic images and fresh weights (the numbers in a model do not
change its speed):

    epoch    a run with the teacher cached already / a run of the student alone        <= 1.10
    run      the whole run with the live teacher / with a cache that is not there yet  >= 1.60
             (that is: with asking, writing and checking)
    memory   peak resident memory of training with the teacher cached / student alone

A run is of ten epochs: the start of a run, and the gradient shares that fit measures at a few steps
of it where there is more than one term, belong to it but not to one epoch.

Arms alternate in one process and the ratio is the median over the rounds, so that a machine that
is busy with other things slows both. Memory is measured in a process of its own for each arm.
Exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _measure import alternate, ratio
from torch.nn import functional as F

from bequeath.given.access import Access
from bequeath.given.bound import BoundModel
from bequeath.given.models import model_handle
from bequeath.given.samples import ArraySamples
from bequeath.losses.kl import soft_targets
from bequeath.signals.cached import CachedTeacher
from bequeath.signals.teacher import teacher
from bequeath.train.budget import peak_memory
from bequeath.train.config import Train
from bequeath.train.context import Context
from bequeath.train.terms import mean_over

TEACHER, STUDENT = "zoo:resnet56", "zoo:resnet20"
CLASSES, TEMPERATURE, HARD = 10, 4.0, 0.1
EPOCH_LIMIT, RUN_LIMIT, MEMORY_LIMIT = 1.10, 1.60, 1.05


class View:
    """A model as a method sees it."""

    access = Access.WEIGHTS

    def __init__(self, role: str, ref: str, data: ArraySamples):
        self._handle, self._data = model_handle(role, ref), data
        self.facts = self._handle.facts

    def load(self) -> BoundModel:
        return self._handle.load(n_classes=CLASSES, data=self._data, seed=0)


def images(n: int) -> ArraySamples:
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (n, 32, 32, 3), generator=g, dtype=torch.uint8)
    y = torch.randint(0, CLASSES, (n,), generator=g)
    return ArraySamples("image", x, y, tuple(f"class {k}" for k in range(CLASSES)))


def context(store: Path, epochs: int, cache: str) -> Context:
    sgd = {"name": "sgd", "lr": 0.05, "weight_decay": 5e-4}
    settings = {"epochs": epochs, "batch_size": 64, "optimizer": sgd, "device": "cpu"}
    return Context(0, Train.model_validate({**settings, "cache": cache}), store, show=False)


def train(ctx: Context, data: ArraySamples, answers: Any = None) -> float:
    """Seconds that fitting a fresh student takes, with `answers` of a teacher or alone."""
    student = View("student", STUDENT, data).load()

    def step(batch: dict[str, Any]) -> dict[str, Any]:
        z = student(batch)
        hard = F.cross_entropy(z, batch["y"], reduction="none")
        if answers is None:
            return {"ce": mean_over(hard)}
        soft = soft_targets(z, answers(batch).logits, TEMPERATURE)
        return {"ce": mean_over(hard, HARD), "kd": mean_over(soft, 1 - HARD)}

    started = time.perf_counter()
    ctx.fit(student, data, step)
    return time.perf_counter() - started


def fresh(root: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=root))


def measure_epoch(data: ArraySamples, epochs: int, rounds: int, root: Path) -> dict[str, Any]:
    warm = context(fresh(root), epochs, "on")
    answers = teacher(warm, View("teacher", TEACHER, data), data)
    assert isinstance(answers, CachedTeacher)

    def one(asked: Any) -> float:
        return train(context(fresh(root), epochs, "on"), data, asked)

    one(None)  # the first pass through any code is slower
    times = alternate(rounds, {"cached": lambda: one(answers), "alone": lambda: one(None)})
    return ratio(times, "cached", "alone")


def measure_run(data: ArraySamples, epochs: int, rounds: int, root: Path) -> dict[str, Any]:
    def whole(cache: str) -> float:
        os.environ["BEQUEATH_CACHE"] = str(fresh(root))
        started = time.perf_counter()
        ctx = context(fresh(root), epochs, cache)
        train(ctx, data, teacher(ctx, View("teacher", TEACHER, data), data))
        return time.perf_counter() - started

    times = alternate(rounds, {"live": lambda: whole("off"), "cached": lambda: whole("on")})
    return ratio(times, "live", "cached")


def measure_memory(n: int, threads: int, root: Path) -> dict[str, Any]:
    """Peak resident bytes while fitting, in a process of its own for each arm."""
    peaks = {}
    environment = {**os.environ, "BEQUEATH_CACHE": str(fresh(root))}
    for arm in ("cached", "alone", "cached", "live"):  # the first one fills the cache
        command = [sys.executable, __file__, "--arm", arm, "--images", str(n)]
        command += ["--threads", str(threads)]
        done = subprocess.run(
            command, env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
        peaks[arm] = int(done.stdout.split()[-1])
    return {"ratio": peaks["cached"] / peaks["alone"], "peak_bytes": peaks}


def one_arm(arm: str, n: int) -> None:
    """Print the peak of one arm (what `measure_memory` runs)."""
    data = images(n)
    with tempfile.TemporaryDirectory() as store:
        ctx = context(Path(store), 1, "off" if arm == "live" else "on")
        answers = None if arm == "alone" else teacher(ctx, View("teacher", TEACHER, data), data)
        with peak_memory() as peak:
            train(ctx, data, answers)
    print(peak.resident)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.arm:
        one_arm(given.arm, given.images)
        return 0
    data = images(given.images)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["BEQUEATH_CACHE"] = str(root / "cache")
        found: dict[str, Any] = {
            "images": given.images,
            "epochs": given.epochs,
            "threads": given.threads,
        }
        found["epoch"] = measure_epoch(data, given.epochs, given.rounds, root)
        found["run"] = measure_run(data, given.epochs, max(1, given.rounds // 2), root)
        found["memory"] = measure_memory(given.images, given.threads, root)
    e, r, m = found["epoch"], found["run"], found["memory"]
    print(f"epoch, cached / alone   {e['ratio']:.3f}  ({e['low']:.3f} to {e['high']:.3f})")
    print(f"run, live / cached      {r['ratio']:.3f}  ({r['low']:.3f} to {r['high']:.3f})")
    print(f"memory, cached / alone  {m['ratio']:.3f}  {m['peak_bytes']}")
    met = e["ratio"] <= EPOCH_LIMIT and r["ratio"] >= RUN_LIMIT and m["ratio"] <= MEMORY_LIMIT
    found["met"] = met
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
