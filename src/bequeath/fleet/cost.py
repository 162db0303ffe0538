"""The third gate: what a job will cost here, measured on a few real steps, against its budget."""

from __future__ import annotations

import gc
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch
from torch import Tensor

from bequeath.fleet.protocols import protocol_of
from bequeath.kernel.errors import Problem
from bequeath.kernel.units import show_seconds, show_size
from bequeath.methods.catalog import family_of
from bequeath.train.budget import peak_memory
from bequeath.train.context import Context
from bequeath.train.seeds import seed_everything

if TYPE_CHECKING:
    from bequeath.fleet.gates import Opened
    from bequeath.job.job import Arm

# An estimate from a handful of steps, with the teacher asked live at each of them, is refused only
# when it is this many times the budget; below that the run starts and stops at its deadline.
SURE = 2.0
SHORT, LONG = 2, 6


@dataclass(frozen=True)
class Estimate:
    """seconds of one run; peak resident memory in bytes; steps of one run."""

    seconds: float
    memory: int
    steps: int


def problems(opened: Opened) -> Iterator[Problem]:
    """R502 (memory), R503 (disk), R504, R505, R506 (budgets of disk, memory, time)."""
    job = opened.job
    yield from _disk(opened)
    too_large = list(_memory(opened))
    yield from too_large
    if too_large:  # a trial would fail as the job would
        return
    if not family_of(job.want).trial or (job.budget.time is None and job.budget.memory is None):
        return
    estimates = {arm.label: estimate(opened, arm) for arm in job.arms}
    total = len(job.seeds) * sum(e.seconds for e in estimates.values())
    memory = max(e.memory for e in estimates.values())
    opened.peak = memory
    costly = max(estimates, key=lambda label: estimates[label].seconds)
    opened.notes.append(
        f"about {show_seconds(total)} for {len(job.seeds) * len(job.arms)} runs, "
        f"{show_size(memory)} of memory (measured on {LONG} steps of each method)"
    )
    if job.budget.time is not None and total > SURE * job.budget.time:
        yield Problem(
            "R506",
            f"this takes about {show_seconds(total)}; the budget is "
            f"{show_seconds(job.budget.time)}",
            at=("budget", "time"),
            notes=(
                f"{len(job.seeds)} seeds of {len(job.arms)} methods; one run of `{costly}` is "
                f"{estimates[costly].steps} steps and {show_seconds(estimates[costly].seconds)}",
            ),
            remedies=(
                "lower `train.epochs`, `seeds` or the number of methods",
                "take fewer samples: `?take=2000` behind the data's reference",
                "raise the budget",
            ),
        )
    if job.budget.memory is not None and memory > job.budget.memory:
        yield Problem(
            "R505",
            f"this needs about {show_size(memory)} of memory; the budget is "
            f"{show_size(job.budget.memory)}",
            at=("budget", "memory"),
            remedies=(
                "lower `train.batch_size` and raise `train.accumulate` by as much",
                "raise the budget",
            ),
        )


def estimate(opened: Opened, arm: Arm) -> Estimate:
    """Time and memory of one run of an arm, from a short and a longer trial on its own data.

    The trials leave nothing behind: their folder is temporary, and every run seeds itself anew.
    """
    steps = steps_of(opened, arm)
    with peak_memory(opened.device) as peak:
        _trial(opened, arm, 1)  # what only the first step costs: libraries loaded, memory taken
        short, long = _trial(opened, arm, SHORT), _trial(opened, arm, LONG)
    gc.collect()
    each = (long - short) / (LONG - SHORT)
    if each <= 0:  # steps too short to be told from the rest
        each = long / LONG
    return Estimate(short + each * max(0, steps - SHORT), peak.resident, steps)


def steps_of(opened: Opened, arm: Arm) -> int:
    """Optimizer steps of one run of an arm, as far as the job says."""
    train = opened.job.train
    batch = train.batch_size * train.accumulate * opened.sharing(arm.needs).world
    data = opened.data_for(arm)
    graphs = [len(opened.graphs[role].train) for role in arm.needs.graphs]
    n = len(data) if data is not None else max(graphs, default=batch)
    return train.steps if train.steps is not None else train.epochs * -(-n // batch)


def _trial(opened: Opened, arm: Arm, steps: int) -> float:
    """Seconds of so many steps on the first samples."""
    from bequeath.fleet.one import sealed

    train = opened.job.train.model_copy(
        update={"steps": steps, "cache": "off", "checkpoint_every": 3600.0}
    )
    processes = opened.sharing(arm.needs)
    n = steps * train.batch_size * train.accumulate * processes.world
    judge = protocol_of(opened.job.want).Run(opened, arm, 0)
    given = judge.data() if hasattr(judge, "data") else None
    few = {r: _First(s, min(n, len(s))) for r, s in {**opened.samples, **(given or {})}.items()}
    with tempfile.TemporaryDirectory(prefix="bequeath-trial-") as store:
        seed_everything(0)
        ctx = Context(
            seed=0,
            train=train,
            store=Path(store),
            device=opened.device,
            show=False,
            processes=processes,
        )
        arm.method(ctx, sealed(opened, arm.needs, 0, judge=judge, data=few), arm.config)
    return sum(f.seconds for f in ctx.fits.values())


class _First:
    """The first n samples of a data set, as a data set."""

    def __init__(self, samples: Any, n: int):
        self._samples, self._n = samples, n
        self.y: Tensor | None = None if samples.y is None else samples.y[:n]
        self.hash = f"{samples.hash}[:{n}]"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._samples, name)

    def __len__(self) -> int:
        return self._n

    def to(self, device: torch.device | str) -> _First:
        return _First(self._samples.to(device), self._n)


def _memory(opened: Opened) -> Iterator[Problem]:
    """Weights of all models at once; of one that trains the gradient and a moment besides."""
    job = opened.job
    needs = [need for arm in job.arms for need in arm.needs.models.items()]
    trained = {role for role, need in needs if need.trains}
    streamed = {role for role, need in needs if need.files}
    facts = [(role, f) for role, f in opened.model_facts.items() if role not in streamed]
    needed = sum(4 * (f.parameters or 0) * (3 if role in trained else 1) for role, f in facts)
    free = psutil.virtual_memory().available
    if opened.device.type == "cpu" and needed > free:
        largest = max(opened.model_facts, key=lambda role: opened.model_facts[role].parameters or 0)
        yield Problem(
            "R502",
            f"the models need at least {show_size(needed)} of memory; {show_size(free)} is free",
            at=("models", largest),
            notes=(f"`{largest}` has {opened.model_facts[largest].parameters:,} parameters",),
            remedies=("choose a smaller model",),
        )


def _disk(opened: Opened) -> Iterator[Problem]:
    """Models and checkpoints of all runs, with room for one checkpoint of the largest."""
    job = opened.job
    runs = len(job.arms) * len(job.seeds)
    weights = max((4 * (f.parameters or 0) for f in opened.model_facts.values()), default=0)
    judged = len(opened.judge) if job.judged else 0
    needed = runs * (weights + 64 * judged) + 4 * weights
    folder = next(p for p in (job.out.absolute(), *job.out.absolute().parents) if p.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        yield Problem(
            "R503",
            f"the results take up to {show_size(needed)}; `{folder}` has {show_size(free)} free",
            at=("out",),
            remedies=("make room, or choose a folder on another disk",),
        )
    if job.budget.disk is not None and needed > job.budget.disk:
        yield Problem(
            "R504",
            f"the results take up to {show_size(needed)}; the budget is "
            f"{show_size(job.budget.disk)}",
            at=("budget", "disk"),
            remedies=("fewer seeds or methods, or a larger budget",),
        )
