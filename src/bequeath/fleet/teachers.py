"""The teacher speaks once for a whole job: what its runs will ask is asked before they begin."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bequeath.evidence.preparation import add_preparation, load_preparation
from bequeath.evidence.record import load_record
from bequeath.fleet.gates import Opened, reference_role
from bequeath.fleet.one import Planned, sealed
from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.kernel.units import show_seconds, show_size
from bequeath.signals.teacher import Prepared, prepare
from bequeath.train.budget import Deadline
from bequeath.train.context import Context
from bequeath.train.processes import ALONE

# What is left of the time is for the students too.
SHARE = 0.5


def ask_teacher(
    opened: Opened, waiting: Sequence[Planned], deadline: Deadline, console: Console
) -> None:
    """Fill the cache with the union of what the waiting runs will ask, in one pass.

    Nothing is done where the teacher is to be asked live. The pass may take half of the time that
    is left; if it would take longer, the runs ask for themselves.
    """
    role = reference_role(opened.job)
    asking = [p for p in waiting if role is not None and _asks(p, role)]
    if role is None or not asking or role in opened.varying:  # else each run asks its own teacher
        return
    reading = [p for p in asking if _needs(p).models[role].embedding]
    deep = any(_needs(p).models[role].access >= Access.WEIGHTS for p in asking)
    need = ModelNeed(Access.WEIGHTS if deep else Access.LOGITS, embedding=bool(reading))
    train = next(name for name in _needs(asking[0]).data if name in opened.samples)
    job = opened.job
    ctx = Context(
        seed=asking[0].seed,
        train=job.train,
        store=job.out / "work",
        device=opened.device,
        budget=deadline.part(SHARE),
        memory=job.budget.memory,
        show=False if console.quiet else None,
        processes=ALONE,
    )
    given = sealed(opened, Needs({role: need}, {train: DataNeed(Labels.NONE)}), asking[0].seed)
    started = time.perf_counter()
    found = prepare(
        ctx,
        given.model(role),
        given.data(train),
        ("embedding",) if reading else (),
        runs=len(asking),
        plain=len(reading),
    )
    seconds = time.perf_counter() - started
    if asked := sum(one.asked for one in found):
        add_preparation(job.out, role, seconds, asked)
    for line in _told(found, seconds):
        console.print(line, highlight=False)


def tell_saved(out: Path, planned: Sequence[Planned], console: Console) -> None:
    """One line: what the cache took and what it saved, over all runs of the job."""
    costs = [load_record(p.folder(out)).cost for p in planned]
    caches = [cost.cache for cost in costs if cost.cache is not None]
    if not caches:
        return
    made = load_preparation(out)
    saved = sum(cache.saved_s for cache in caches) - made.seconds
    parts = [show_size(max(cache.bytes for cache in caches))]
    parts.append(f"made in {show_seconds(made.seconds)}" if made.asked else "there before")
    if saved > 0:
        parts.append(f"saved about {show_seconds(saved)} of teacher time")
    else:
        parts.append(f"saved nothing (it cost {show_seconds(-saved)} more than it saved)")
    console.print(f"teacher cache: {', '.join(parts)}", highlight=False)


def _needs(planned: Planned) -> Needs:
    return planned.arm.needs


def _asks(planned: Planned, role: str) -> bool:
    """Whether a run will ask a frozen teacher about a data set. Noise is none: it never returns."""
    needs = _needs(planned)
    need: Any = needs.models.get(role)
    if need is None or needs.answers == "noise" or not needs.data:
        return False
    return not need.trains and not need.asked_anew and need.access >= Access.LOGITS


def _told(found: Sequence[Prepared], seconds: float) -> list[str]:
    lines = [f"the teacher is not asked beforehand: {one.stopped}" for one in found if one.stopped]
    made = [one for one in found if one.asked]
    if made:
        how = [f"in {one.views} views" if one.views else "as they are" for one in made]
        size = show_size(sum(one.bytes for one in made))
        lines.append(
            f"the teacher was asked once: {' and '.join(made[0].outputs)} of "
            f"{made[0].samples:,} samples {' and '.join(how)}, {size}, {show_seconds(seconds)}"
        )
    return lines
