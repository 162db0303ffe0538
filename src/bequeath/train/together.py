"""The fits of several seeds as one batched model, where that is the same and quicker.

Each run asks for its fit as it would alone (`Asked`). `decide` tries: from the same weights and
batches the gradients, terms and buffers of every run must agree with those it has alone, at the
beginning, in the middle and at the end of the schedule, and the whole training, with what it costs
besides its steps, must take less time than one by one. `train` then trains them as one and leaves
each run's finished checkpoint in that run's folder, so that the run, made as ever, finds its fit
done.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from bequeath.kernel.errors import BequeathError
from bequeath.train import checkpoint, resume, seeds
from bequeath.train.agreement import TOLERANCE, compare, race, seconds_of, trial_seconds
from bequeath.train.batches import Batches, BesideOneAnother
from bequeath.train.budget import cpu_seconds, peak_memory, resident
from bequeath.train.config import Train
from bequeath.train.context import Context, settled
from bequeath.train.fit import Container, Fit, Step, Until, fit
from bequeath.train.stack import stacked, step_of_all, tensors_of, unstack
from bequeath.train.terms import Term

GAIN = 0.9  # of the time one by one: less is not worth another rounding
MADE = 0.05  # seconds: the first call of a batched step, two fits made, checkpoints written
SLOWEST = 0.1  # seconds of one step alone; a larger model keeps the processor busy by itself
MOST_VALUES = 50_000_000  # numbers in all parameters


@dataclass
class Asked:
    """What one run asks of `ctx.fit`, and the tensors that it would begin with."""

    ctx: Context
    parts: dict[str, nn.Module]
    data: Any
    step: Step
    until: Until
    name: str
    train: Train
    start: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start = {n: t.detach().clone() for n, t in tensors_of(Container(self.parts)).items()}

    @torch.no_grad()
    def restore(self) -> None:
        for name, tensor in tensors_of(Container(self.parts)).items():
            tensor.copy_(self.start[name])

    def alone(self) -> Fit:
        return Fit(self.ctx, self.parts, self.data, self.step, self.until, self.name, self.train)


def asked(
    ctx: Context,
    trainables: nn.Module | dict[str, nn.Module],
    data: Any,
    step: Step,
    *,
    until: Until | None = None,
    name: str = "fit",
    train: Train | None = None,
) -> Asked:
    """The arguments of `ctx.fit`, kept."""
    parts = {"model": trainables} if isinstance(trainables, nn.Module) else dict(trainables)
    chosen = settled(train or ctx.train, ctx.device)
    return Asked(ctx, parts, data, step, until or Until(), name, chosen)


def usual(runs: int) -> float:
    """What a batched step of so many small models takes, in steps of one: where it works well.

    benchmarks/batched_seeds.py has measurements; nothing is trained as one on this alone.
    """
    return min(float(runs), 1.5 + 0.25 * runs)


@dataclass(frozen=True)
class Verdict:
    """why: in words, where it is one by one. difference: the largest found, as TOLERANCE is meant.

    alone_s, together_s: seconds of one step of every run, one by one and batched; None where the
    trial did not come to it.
    """

    batched: bool
    why: str = ""
    difference: float | None = None
    tolerance: float | None = None
    alone_s: float | None = None
    together_s: float | None = None

    @property
    def faster(self) -> float | None:
        """How many times as fast as one by one."""
        return self.alone_s / self.together_s if self.alone_s and self.together_s else None


def unpromising(one: Asked, runs: int, prelude: float, insist: bool = False) -> str:
    """Why a trial with `runs` such fits is not worth it; empty where it is.

    prelude: seconds that a run took until it asked, which each does twice. insist: whether it is
    possible is all that counts. Trains a few steps; `restore` before anything else.
    """
    if why := _obstacle(one):
        return why
    try:
        with _closing([one.alone()]) as (alone,):
            alone.model.train()
            if insist:
                return ""
            if usual(runs) > GAIN * runs:
                return f"{runs} seeds are too few to gain by it"
            if runs * sum(p.numel() for p in alone.params) > MOST_VALUES:
                return "the models are too large"
            steps = alone.steps()
            next(steps)
            seconds = min(seconds_of(one.ctx.device, steps, 2) for _ in range(2))
            if seconds > SLOWEST:
                return "a step of one model is slow enough to keep the processor busy"
            whole = runs * seconds * alone.total
            trial = MADE + (runs + 1) * prelude + trial_seconds(runs, seconds, alone.total)
            if trial + usual(runs) / runs * whole > GAIN * whole:
                return f"{alone.total} steps are over before a trial has paid"
    except BequeathError:
        raise
    except Exception as error:
        return _told(error)
    finally:
        one.restore()
    return ""


def decide(
    group: Sequence[Asked], ctx: Context, again: float = 0.0, *, insist: bool = False
) -> Verdict:
    """Whether `group` trains as one. ctx: of the group. insist: also where it is not quicker.

    again: seconds that training as one costs besides, before it begins. What the trial itself has
    cost is spent either way.
    Everything asked for is as it was afterwards, but for what the steps keep elsewhere.
    """
    first = group[0]
    if why := _obstacle(first) or _unequal(group):
        return Verdict(False, why)
    dtype = next(t.dtype for t in first.start.values() if t.is_floating_point())
    tolerance = TOLERANCE.get(dtype)
    if tolerance is None:
        return Verdict(False, f"no tolerance is known for {str(dtype).removeprefix('torch.')}")
    try:
        with _closing([one.alone() for one in group]) as singles:
            both = _all(group, ctx)
            with _closing([both]):
                difference = compare(both, singles)
                if not difference <= tolerance:  # not a number is no agreement either
                    text = f"gradients differ by {difference:.1g} of their size, alone and batched"
                    known = difference if math.isfinite(difference) else None
                    return Verdict(False, text, known, tolerance)
                seconds = race(both, singles[0], len(group))
                whole = both.total * seconds[0]
                share = (both.total * seconds[1] + again + MADE) / max(whole, 1e-9)
    except BequeathError:
        raise
    except Exception as error:
        return Verdict(False, _told(error))
    finally:
        for one in group:
            one.restore()
    found = Verdict(True, "", difference, tolerance, *seconds)
    if not insist and share > GAIN:
        text = f"as one model they would take {share:.2f} of the time"
        return replace(found, batched=False, why=text)
    if ctx.memory is not None and resident() > 0.8 * ctx.memory:
        text = "together they come near the budget of memory"
        return replace(found, batched=False, why=text)
    return found


def train(
    group: Sequence[Asked], ctx: Context, verdict: Verdict, spent: tuple[float, float] = (0, 0)
) -> None:
    """Train `group` as one; then every run finds its fit finished when it asks for it again.

    ctx: of the group; its checkpoint, its budget. spent: seconds of wall and processor that went
    into the trial; each run bears its share. Raises what `fit` raises.
    """
    began, cpu, first = time.perf_counter(), cpu_seconds(), group[0]
    saved = _saved_by_cache(first)
    parts, source, step = _whole(group, ctx)
    how: dict[str, Any] = {"until": first.until, "name": first.name, "train": first.train}
    with peak_memory(ctx.device) as peak:
        result = fit(ctx, parts, source, step, runs=len(group), **how)
    busy = (cpu_seconds() - cpu) / max(time.perf_counter() - began, 1e-9)
    share = {
        "runs": len(group),
        "difference": verdict.difference,
        "tolerance": verdict.tolerance,
        "faster": verdict.faster,
        "alone_s": verdict.alone_s,
        "together_s": verdict.together_s,
        "wall_s": (spent[0] + result.seconds) / len(group),
        "cpu_s": (spent[1] + busy * result.seconds) / len(group),
        "peak_rss_bytes": peak.resident,
        "peak_device_bytes": peak.device,
        "cache_s": (_saved_by_cache(first) - saved) / len(group),
    }
    state = checkpoint.load(resume.place(ctx.store, first.name))
    lines = [json.loads(line) for line in ctx.log_text.splitlines()]
    both = Container(parts)
    for run, one in enumerate(group):
        unstack(both, run, Container(one.parts))
        seeds.seed_everything(seeds.derive(one.ctx.seed, f"fit/{one.name}", 0))
        about = (one.ctx.seed, one.name, one.train, ctx.now.total, one.parts, one.data)
        own = {
            "fingerprint": resume.fingerprint(*about),
            "seconds": result.seconds / len(group),
            "log": one.ctx.log_text + "".join(_own_lines(lines, run)),
            "rng": [seeds.capture()],
            "trainables": {name: part.state_dict() for name, part in one.parts.items()},
            "together": share,
        }
        checkpoint.save(resume.place(one.ctx.store, one.name), state | own)


def _own_lines(lines: Sequence[dict[str, Any]], run: int) -> Iterator[str]:
    for line in lines:
        if line["run"] == run:
            kept = {key: value for key, value in line.items() if key != "run"}
            yield json.dumps(kept, ensure_ascii=False, allow_nan=False) + "\n"


def _obstacle(one: Asked) -> str:
    """What one run shows that cannot be batched."""
    train, data = one.train, one.data
    if hasattr(data, "epoch"):
        return "the method makes its own batches"
    if getattr(data, "lazy", False) or getattr(data, "kind", "") == "text":
        return "texts, and images that stay in their files, are not batched"
    if train.precision != "fp32":
        return f"in {train.precision} agreement could not be told from rounding"
    if train.compile:
        return "compiled models are trained one by one"
    if one.ctx.processes.world > 1:
        return "several processes train each model already"
    return ""


def _unequal(group: Sequence[Asked]) -> str:
    """What is not the same in all."""
    first = group[0]
    for one in group[1:]:
        if (one.name, one.until, one.train) != (first.name, first.until, first.train):
            return "the runs ask for different fits"
        if list(one.parts) != list(first.parts) or len(one.data) != len(first.data):
            return "the runs train different things, or on different numbers of samples"
    return ""


def _whole(group: Sequence[Asked], ctx: Context) -> tuple[dict[str, nn.Module], Any, Step]:
    """The stacked parts of all, their batches, and the step that computes on all of them."""
    first = group[0]
    parts = stacked([one.parts for one in group])
    compute = step_of_all(first.step, Container(first.parts), Container(parts))

    def step(batch: dict[str, Any]) -> dict[str, Term]:
        first.ctx.now = ctx.now  # where the step looks
        return dict(compute(batch))

    size, augment = first.train.batch_size, first.train.augment
    sources = [Batches(one.data, size, one.ctx.seed, augment, one.ctx.device) for one in group]
    return parts, BesideOneAnother(sources), step


def _all(group: Sequence[Asked], ctx: Context) -> Fit:
    parts, source, step = _whole(group, ctx)
    first = group[0]
    return Fit(ctx, parts, source, step, first.until, first.name, first.train, len(group))


@contextmanager
def _closing(fits: list[Fit]) -> Iterator[list[Fit]]:
    try:
        yield fits
    finally:
        for one in fits:
            one.close()


def _saved_by_cache(one: Asked) -> float:
    """Seconds of teacher time that the run's cache has saved so far."""
    return float(one.ctx.notes.get("cache", {}).get("saved_s", 0.0))


def _told(error: Exception) -> str:
    """Why a step cannot be batched, from what torch said of it."""
    if "random operation" in str(error):
        return "its training step draws random numbers, and each seed has its own"
    said = str(error).strip().splitlines()
    short = said[0][:120] if said else type(error).__name__
    return f"its training step cannot be batched ({short})"
