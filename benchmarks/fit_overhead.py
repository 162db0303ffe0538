"""What `fit` costs over a loop written by hand: the same job, in one process, in alternation.

    python benchmarks/fit_overhead.py [--rounds 9] [--threads 1] [--json FILE]

The loop by hand is the shortest one that computes the same weights (that is checked, to the last
bit): no log, no checkpoint, no guard, no progress. Target: at most 1.05 for the convolutional job.
The MLP's step takes a few hundred microseconds and shows what a step of `fit` costs at the least.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _measure import alternate, facts, limits, ratio
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from bequeath.train import seeds
from bequeath.train.config import Train
from bequeath.train.context import Context
from bequeath.train.terms import mean_over


class Data:
    """Samples in memory, indexed."""

    def __init__(self, n: int, *shape: int):
        g = torch.Generator().manual_seed(0)
        self.x = torch.randn(n, *shape, generator=g)
        self.y = torch.randint(10, (n,), generator=g)

    def __len__(self) -> int:
        return len(self.x)

    def fetch(self, idx: Tensor) -> dict[str, Any]:
        return {"idx": idx, "x": self.x[idx], "y": self.y[idx]}


def convnet() -> nn.Module:
    def block(i: int, o: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]

    layers = block(3, 16, 1) + block(16, 32, 2) + block(32, 64, 2)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def losses(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    return F.cross_entropy(model(batch["x"]), batch["y"], reduction="none")


def by_fit(model: nn.Module, data: Data, train: Train) -> None:
    with tempfile.TemporaryDirectory() as store:
        ctx = Context(0, train, Path(store), show=False)
        ctx.fit(model, data, lambda batch: {"ce": mean_over(losses(model, batch))})


def by_hand(model: nn.Module, data: Data, train: Train) -> None:
    model.train()
    cfg, size = train.optimizer, train.batch_size
    optimizer = torch.optim.SGD(
        model.parameters(), cfg.lr, cfg.momentum, weight_decay=cfg.weight_decay, fused=True
    )
    total = train.epochs * math.ceil(len(data) / size)
    cosine = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / total))
    )
    for epoch in range(train.epochs):
        order = torch.randperm(len(data), generator=seeds.generator(0, "order", epoch))
        for idx in order.split(size):
            each = losses(model, data.fetch(idx))
            (each.sum() / len(each)).backward()
            optimizer.step()
            optimizer.zero_grad()
            cosine.step()


def measure(build: Callable[[], nn.Module], data: Data, train: Train, rounds: int) -> dict:
    """Both in turn, one unmeasured round first."""
    loops = {"hand": by_hand, "fit": by_fit}
    ends: dict[str, list[Tensor]] = {}

    def timed(name: str) -> float:
        torch.manual_seed(0)
        model = build()
        began = time.perf_counter()
        loops[name](model, data, train)
        took = time.perf_counter() - began
        ends[name] = list(model.state_dict().values())
        return took

    arms = {"hand": lambda: timed("hand"), "fit": lambda: timed("fit")}
    alternate(1, arms)
    found = ratio(alternate(rounds, arms), "fit", "hand")
    if not all(torch.equal(a, b) for a, b in zip(ends["hand"], ends["fit"])):
        raise SystemExit("the two loops did not compute the same weights: nothing to compare")
    steps = train.epochs * math.ceil(len(data) / train.batch_size)
    model = build()
    with FlopCounterMode(display=False) as counter:
        losses(model, data.fetch(torch.arange(train.batch_size))).sum().backward()
    each = {f"{n}_ms_a_step": s / steps * 1e3 for n, s in found.pop("seconds").items()}
    return {**found, **each, "steps": steps, "flops_a_step": counter.get_total_flops()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sgd = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}
    common = {"optimizer": sgd, "schedule": {"warmup": 0}, "device": "cpu"}
    jobs = {
        "conv": (convnet, Data(2048, 3, 32, 32), Train(epochs=4, batch_size=64, **common)),
        "mlp": (mlp, Data(4096, 64), Train(epochs=40, batch_size=64, **common)),
    }
    result: dict[str, Any] = {
        "facts": facts(),
        "threads": args.threads,
        "limits": limits(args.threads),
    }
    for name, (build, data, train) in jobs.items():
        result[name] = r = measure(build, data, train, args.rounds)
        times = f"{r['fit_ms_a_step']:.2f} ms a step against {r['hand_ms_a_step']:.2f} by hand"
        span = f"{r['low']:.3f} to {r['high']:.3f}"
        print(f"{name:5} fit / hand = {r['ratio']:.3f} ({span}, {args.rounds} rounds); {times}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
