"""How many runs at a time, and how many CPU threads each of them has.

Both follow from the job and the machine, never from how much is left of a sweep or how busy the
machine happens to be: a sweep that was stopped goes on with the same threads, and so comes to the
same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from bequeath.evidence.provenance import machine
from bequeath.evidence.record import load_record
from bequeath.fleet.cost import steps_of
from bequeath.fleet.folder import missing_or_other
from bequeath.fleet.gates import Opened
from bequeath.fleet.one import Planned
from bequeath.job.job import Arm

Jobs = int | Literal["auto"]

# What `auto` reckons with. A worker takes 3 to 5 seconds until it has imported torch and opened the
# job, so a sweep that is over in WORTH seconds gains nothing from them. A step is taken to last at
# least STEP seconds, and 6 operations for each parameter and sample at FLOPS a second: both are
# lower bounds, so what is short is done one by one and what is long is not.
WORTH = 10.0
STEP, FLOPS = 1e-3, 2e10
# Bytes of a worker that has loaded nothing but libraries, and for each parameter: the weight, its
# gradient, two moments, and as much again. Workers may fill this part of the memory.
BARE, EACH, PART = 1 << 30, 32, 0.5
SPARE = 1.2  # times the memory that was measured, where a budget made the gate measure it


@dataclass(frozen=True)
class Width:
    """runs: at a time. threads: of each. memory: bytes each may hold, None without a budget."""

    runs: int
    threads: int
    memory: int | None = None


def width_here(opened: Opened, planned: Sequence[Planned], jobs: Jobs, cores: int) -> Width:
    """The width of a sweep on this machine, which has so many cores."""
    given = opened.job.train.threads
    most = _side_by_side(opened, planned, cores) if jobs == "auto" else jobs
    runs = max(1, min(most, len(planned)))
    usual = torch.get_num_threads()
    threads = given or (usual if runs == 1 else max(1, min(usual, cores // runs)))
    budget = opened.job.budget.memory
    return Width(runs, threads, None if budget is None or runs == 1 else budget // runs)


def threads_before(opened: Opened, planned: Sequence[Planned]) -> int | None:
    """The threads that this job's complete runs were made with, where they were all the same."""
    out = opened.job.out
    complete = [p for p in planned if not missing_or_other(p.folder(out), p.key)]
    found = {load_record(p.folder(out)).provenance.machine.threads for p in complete}
    return found.pop() if len(found) == 1 else None


def _side_by_side(opened: Opened, planned: Sequence[Planned], cores: int) -> int:
    """What `auto` means here. On a GPU, and under a launcher, one run has everything."""
    if opened.device.type != "cpu" or opened.processes.world > 1:
        return 1
    if sum(seconds_at_least(opened, one.arm) for one in planned) < WORTH:
        return 1
    weights = sum(facts.parameters or 0 for facts in opened.model_facts.values())
    room = int(PART * machine("cpu", 1).memory_bytes) // (BARE + EACH * weights)
    if opened.job.budget.memory is not None:
        room = min(room, int(opened.job.budget.memory // (SPARE * (opened.peak or BARE))))
    return min(room, cores // (opened.job.train.threads or 1))


def seconds_at_least(opened: Opened, arm: Arm) -> float:
    """Seconds a run of an arm trains for at the least; 0 where it trains nothing."""
    trained = [role for role, need in arm.needs.models.items() if need.trains]
    facts = [opened.model_facts[role] for role in trained if role in opened.model_facts]
    if not trained and not arm.needs.graphs:
        return 0.0
    train = opened.job.train
    samples = train.batch_size * train.accumulate
    step = max(STEP, 6 * sum(f.parameters or 0 for f in facts) * samples / FLOPS)
    return steps_of(opened, arm) * step
