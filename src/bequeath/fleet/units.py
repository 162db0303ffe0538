"""What the runs of a job are, which wait for which, and the one loop that has them all done.

The loop knows no executor. It hands out units in their order, never more at a time than the pool
has room for, and none before those it depends on are complete; it starts again what was lost with
its worker, and lets what is running finish when a run fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Protocol

from bequeath.fleet.gates import Opened
from bequeath.fleet.one import Planned, arm_key
from bequeath.kernel.errors import BequeathError, Interrupted, Problem, RunError
from bequeath.methods.catalog import family_of
from bequeath.train.budget import Deadline
from bequeath.train.interrupt import watch

LIVES = 3  # workers that may be lost with one unit before it is given up
TICK = 0.2  # seconds between two looks at whether somebody wants us to stop


@dataclass(frozen=True)
class Name:
    """A run by what can travel: the label of its arm, its seed, and the key it will be kept by."""

    label: str
    seed: int
    key: str

    def __str__(self) -> str:
        return f"{self.label}, seed {self.seed}"


@dataclass(frozen=True)
class Unit:
    """What a worker does at a time: runs; or, together, what several seeds of an arm train first.

    after: the units that must be done before this begins.
    """

    runs: tuple[Name, ...]
    after: frozenset[Unit] = frozenset()
    together: bool = False

    def __str__(self) -> str:
        return "; ".join(str(name) for name in self.runs)


class Pool(Protocol):
    """Where units are done. width: how many at a time."""

    width: int

    def start(self, unit: Unit, seconds: float | None) -> Future[BaseException | None]:
        """Begin a unit, which may take so long. Its result is what it failed with, or None; an
        exception of the future itself is for `lost` to judge."""

    def lost(self, error: BaseException) -> bool:
        """Whether this exception says that a worker is gone, and not that the run went wrong."""

    def stop(self) -> None:
        """Have what is running leave a checkpoint and end; return when nothing runs any more."""


def plan(opened: Opened) -> list[Planned]:
    """Seeds first, then arms: stopped half way, every arm has had the same seeds.

    Within a seed the family's `first` method comes first: the others are measured against it.
    """
    first = family_of(opened.job.want).first
    arms = sorted(opened.job.arms, key=lambda arm: arm.method.name != first)
    return [
        Planned(arm, seed, arm_key(seeded, arm))
        for seed in opened.job.seeds
        for seeded in [opened.for_seed(seed)]
        for arm in arms
    ]


def name_of(planned: Planned) -> Name:
    return Name(planned.arm.label, planned.seed, planned.key)


def units_of(
    waiting: Sequence[Planned], first: str | None, groups: Iterable[Sequence[Planned]] = ()
) -> list[Unit]:
    """A unit for each waiting run, in their order, and before them one for each of `groups`.

    first: the method the others of a seed are measured against; they wait for its runs. groups:
    runs that train together before they are made; each waits for its own group.
    """
    begun = [Unit(tuple(map(name_of, group)), together=True) for group in groups]
    trained = {name: frozenset({unit}) for unit in begun for name in unit.runs}
    golds: dict[int, set[Unit]] = {}
    made: dict[Name, Unit] = {}
    for one in sorted(waiting, key=lambda one: one.arm.method.name != first):
        name, gold = name_of(one), one.arm.method.name == first
        before = frozenset() if gold else frozenset(golds.get(one.seed, ()))
        made[name] = Unit((name,), before | trained.get(name, frozenset()))
        if gold:
            golds.setdefault(one.seed, set()).add(made[name])
    return [*begun, *(made[name_of(one)] for one in waiting)]


def drive(
    units: Iterable[Unit],
    pool: Pool,
    deadline: Deadline,
    *,
    done: Callable[[Unit], None] = lambda unit: None,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Have every unit done. done: called for each that is complete; say: for what a user should
    know.

    What a run fails with is raised when those that were running beside it have finished; nothing
    new begins after it. A unit whose worker is lost begins again, at its checkpoint; RunError R530
    when that happens LIVES times. Interrupted, or KeyboardInterrupt, after the workers have
    stopped.
    """
    waiting = list(units)
    pending = set(waiting)
    running: dict[Future[BaseException | None], Unit] = {}
    losses: Counter[Unit] = Counter()
    failure: BaseException | None = None
    try:
        while running or (waiting and failure is None):
            while failure is None and len(running) < pool.width:
                unit = next((u for u in waiting if not u.after & pending), None)
                if unit is None:
                    break
                share = _share(unit, [*waiting, *running.values()], pool.width)
                waiting.remove(unit)
                running[pool.start(unit, _seconds(deadline, share))] = unit
            for future in _finished(running):
                unit = running.pop(future)
                error, lost = _outcome(future, pool)
                if error is None:
                    pending.discard(unit)
                    done(unit)
                elif not lost:
                    failure = failure or error
                else:
                    losses[unit] += 1
                    if losses[unit] < LIVES:
                        waiting.insert(0, unit)
                        say(f"{unit}: its worker was lost, it is started again")
                    else:
                        failure = failure or RunError(_given_up(unit, error))
    except BaseException:
        pool.stop()
        raise
    if failure is not None:
        raise failure


def _share(unit: Unit, left: Sequence[Unit], width: int) -> float:
    """The part of the time that is left which a unit may use, as `left` shares it.

    A run that trains in a group is in two units; what it may take is counted once.
    """
    return min(1.0, width * len(unit.runs) / len({name for one in left for name in one.runs}))


def _seconds(deadline: Deadline, share: float) -> float | None:
    part = deadline.part(share)
    return None if part.total is None else part.left()


def _finished(running: Iterable[Future[BaseException | None]]) -> set[Future]:
    """Those that are done, as soon as one is. Interrupted when a signal comes before that."""
    with watch() as note:
        while True:
            found = wait(running, timeout=TICK, return_when=FIRST_COMPLETED).done
            if note.signal:
                raise Interrupted(f"stopped by {note.signal}; run it again to go on")
            if found:
                return found


def _outcome(future: Future[BaseException | None], pool: Pool) -> tuple[BaseException | None, bool]:
    """(what went wrong, whether it is only the worker that is gone).

    A worker that was told to stop, when we were not, is as good as lost: its run goes on elsewhere.
    """
    error = future.exception()
    if error is not None:
        return error, pool.lost(error)
    error = future.result()
    return error, isinstance(error, Interrupted | KeyboardInterrupt)


def _given_up(unit: Unit, error: BaseException) -> Problem:
    said = str(error) if not isinstance(error, BequeathError) else ""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return Problem(
        "R530",
        f"{LIVES} workers in a row were lost with {unit}",
        notes=(*lines[:1], "whoever ended them left no reason; most often memory ran out"),
        remedies=(
            "run the same command again with fewer at a time (`--jobs 1`): it goes on",
            "lower `train.batch_size` and raise `train.accumulate` by as much",
        ),
    )
