"""Are several fits, batched, what they are alone, and which way is quicker?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bequeath.train.context import Position
from bequeath.train.fit import Container, Fit
from bequeath.train.gradient import check
from bequeath.train.stack import restack
from bequeath.train.terms import Term

# Largest difference allowed between a run's gradient alone and batched, for each tensor as a share
# of its largest entry (or of FLOOR times the largest of all: below that is rounding). Measured are
# 1e-7 to 1e-5 in float32, as sums are added in another order, and 1e-15 in float64.
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-9}
FLOOR = 1e-2
POINTS = 3  # steps that are compared, spread over the schedule
ROUNDS = 3  # timings of each way, in alternation
LONG_ENOUGH, PART = 0.03, 0.01  # seconds of one of them, or this part of the time one by one


def compare(both: Fit, singles: Sequence[Fit]) -> float:
    """The largest difference, over POINTS steps of which each run makes its own."""
    worst = 0.0
    containers = [Container(one.parts) for one in singles]
    for one in [both, *singles]:
        one.model.train()
    for point in range(POINTS):
        restack(Container(both.parts), containers)
        step = point * max(0, both.total - 1) // (POINTS - 1)
        terms, grads = _look(both, Position(step, both.total, point))
        for run, one in enumerate(singles):
            own_terms, own_grads = _look(one, Position(step, both.total, point))
            if list(own_terms) != list(terms):
                return math.inf
            rows = [None if g is None else g[run] for g in grads]
            worst = max(worst, difference(own_grads, rows))
            for of in (_value, _count, _weight):
                mine = [of(t) for t in own_terms.values()]
                theirs = [_row(of(t), run) for t in terms.values()]
                worst = max(worst, difference(mine, theirs))
            one.optimizer.step()
            one.optimizer.zero_grad()
            after = list(containers[run].buffers())
            worst = max(worst, difference(after, [b[run] for b in Container(both.parts).buffers()]))
        both.optimizer.zero_grad()
    return worst


def _look(one: Fit, now: Position) -> tuple[dict[str, Term], list[Tensor | None]]:
    """Terms and gradients of the first batch of an epoch, as they would be at `now`."""
    one.ctx.now = now
    batch = next(iter(one.source.epoch(now.epoch)))
    one.gradient.start(1)
    terms = check(one.model(partial(one.compute, batch)), one.runs)
    one.gradient.add(terms)
    one.gradient.finish()
    one.ctx.now = one.now
    return dict(terms), [p.grad for p in one.params]


def _value(term: Term) -> Any:
    return term.value


def _count(term: Term) -> Any:
    return term.count


def _weight(term: Term) -> Any:
    return term.weight


def _row(value: Any, run: int) -> Any:
    return value[run] if isinstance(value, Tensor) and value.dim() else value


def difference(alone: Sequence[Any], batched: Sequence[Any]) -> float:
    """The largest over the tensors, each as a share of its largest entry; see TOLERANCE."""
    pairs = []
    for a, b in zip(alone, batched):
        if a is None and b is None:
            continue
        a, b = (torch.zeros(()) if x is None else torch.as_tensor(x) for x in (a, b))
        pairs.append((a.detach().double(), b.detach().double()))
    sizes = [float(a.abs().max()) if a.numel() else 0.0 for a, _ in pairs]
    least = FLOOR * max(sizes, default=0.0)
    worst = 0.0
    for (a, b), size in zip(pairs, sizes):
        off = float((a - b).abs().max()) if a.numel() else 0.0
        if not math.isfinite(off):
            return math.inf
        if off:
            scale = max(size, least)
            worst = max(worst, off / scale if scale > 0 else math.inf)
    return worst


def race(both: Fit, single: Fit, runs: int) -> tuple[float, float]:
    """Seconds of a step of every run: one by one, and as one."""
    device = both.ctx.device
    ways = [(single.steps(), runs), (both.steps(), 1)]
    counts: list[int] = []
    long = 0.0
    for steps, _ in ways:
        next(steps)
        once = max(seconds_of(device, steps, 1), 1e-5)
        long = long or _long(runs * single.total * once)
        counts.append(max(1, min(20, int(long / once))))
    best = [math.inf] * 2
    for _ in range(ROUNDS):
        for way, (steps, times) in enumerate(ways):
            best[way] = min(best[way], times * seconds_of(device, steps, counts[way]))
    return best[0], best[1]


def trial_seconds(runs: int, step: float, total: int) -> float:
    """About what `compare` and `race` will take; step: seconds of one of `total` steps alone."""
    looks = POINTS * 2 * runs * step * 1.5  # not the cheapest steps: each is looked at
    return looks + 2 * (ROUNDS + 1) * max(_long(runs * total * step), step)


def _long(whole: float) -> float:
    """How long one timing lasts, of what takes so many seconds one by one."""
    return min(LONG_ENOUGH, PART * whole)


def clock_of(device: torch.device) -> Callable[[], float]:
    """Wall time; on one processor thread its own, whatever else runs there."""
    one_thread = device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time if one_thread else time.perf_counter


def seconds_of(device: torch.device, steps: Iterator[None], n: int) -> float:
    """Seconds of one of n steps."""
    clock = clock_of(device)
    wait: Callable[[], Any] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    began = clock()
    for _ in range(n):
        next(steps)
    wait()
    return (clock() - began) / n
