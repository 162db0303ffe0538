"""Seeds of an arm, trained as one batched model before their runs are made: what a worker does.

Each seed's method works in a thread of its own until it asks for its first fit, and is held there;
one thread works at a time. What they ask for is tried, and trained as one where that is the same
and quicker (`bequeath.train.together`). Every seed is left its finished checkpoint, the threads are
let go, and the runs are made as ever: each finds its training done, as a run does that was stopped
after it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from bequeath.fleet.found import Found, found_of, keep, store
from bequeath.fleet.gates import Opened
from bequeath.fleet.one import Planned, begin
from bequeath.kernel.errors import BequeathError, Interrupted, JobError, Problem, RunError
from bequeath.kernel.files import remove
from bequeath.train import together
from bequeath.train.agreement import clock_of
from bequeath.train.budget import Deadline, cpu_seconds
from bequeath.train.context import Context
from bequeath.train.seeds import derive
from bequeath.train.together import Asked, Verdict

HELD = "a seed that waits for the others"  # the name of its thread


def train_together(
    opened: Opened, runs: Sequence[Planned], deadline: Deadline, show: bool | None
) -> None:
    """Train what runs of one arm, with different seeds, ask for first as one model; or find that
    they are better left alone. Either is kept (`found.py`), and the same call goes on.

    JobError T615 when the job insists and it cannot be; Interrupted as from `fit`.
    """
    if len(runs) < 2:
        return
    group = _Group(opened, runs, deadline, show)
    if group.known is not None and not group.known.open:
        return
    try:
        group.train(opened.job.train.batch_seeds == "on")
    except (Interrupted, JobError):
        raise
    except BequeathError as error:  # each run will say it of itself, if it is still so
        group.remember(Verdict(False, str(error).splitlines()[0]))
    finally:
        group.let_go()


class _Group:
    """Runs of one arm that nobody has begun; or those that were begun together."""

    def __init__(
        self, opened: Opened, runs: Sequence[Planned], deadline: Deadline, show: bool | None
    ):
        self.opened, self.runs, self.deadline, self.show = opened, runs, deadline, show
        self.seeds = tuple(one.seed for one in runs)
        self.label, self.key = runs[0].arm.label, runs[0].key
        self.store = store(opened.job.out, self.label, self.seeds)
        self.held: list[_Held] = []
        self.known = found_of(opened.job.out, self.label, self.key, self.seeds[0])
        if self.known is None or self.known.seeds != self.seeds:
            self.known = None
            remove(self.store)

    def train(self, insist: bool) -> None:
        """Decide, unless that was done, and train."""
        began, cpu = time.perf_counter(), cpu_seconds()
        first = self._reach(self.runs[0])
        if first.asked is None:
            self.remember(Verdict(False, "the method asks for no training by gradients"))
            return
        ctx = self._context()
        verdict = self.known.verdict if self.known else self._decide(first, ctx, insist)
        self.remember(verdict)
        if not verdict.batched:
            return
        asked = self._everybody()
        spent = (time.perf_counter() - began, cpu_seconds() - cpu)
        together.train(asked, ctx, verdict, spent)
        self.remember(verdict, trained=True)
        remove(self.store)

    def remember(self, verdict: Verdict, trained: bool = False) -> None:
        keep(self.opened.job.out, self.label, self.key, Found(self.seeds, verdict, trained))

    def let_go(self) -> None:
        for one in self.held:
            one.let_go()
        self.held = []

    def _decide(self, first: _Held, ctx: Context, insist: bool) -> Verdict:
        assert first.asked is not None
        why = together.unpromising(first.asked, len(self.runs), first.seconds, insist)
        verdict = Verdict(False, why)
        if not why:
            again = first.seconds  # the first one is held once more, see below
            verdict = together.decide(self._everybody(), ctx, again, insist=insist)
        if insist and not verdict.batched:
            raise JobError(
                Problem(
                    "T615",
                    f"the seeds of `{self.label}` cannot be trained as one model",
                    at=("train", "batch_seeds"),
                    label=verdict.why,
                    remedies=("set `train.batch_seeds: auto`, and they train one by one",),
                )
            )
        if verdict.batched:  # a step may have kept something of the trial: another one trains
            self.held.pop(0).let_go()
            self.held.insert(0, self._hold(self.runs[0]))
        return verdict

    def _everybody(self) -> list[Asked]:
        for planned in self.runs[len(self.held) :]:
            self._reach(planned)
        asked = [one.asked for one in self.held if one.asked is not None]
        if len(asked) < len(self.runs):
            raise RunError(Problem("T616", "one of the seeds asks for no training"))
        return asked

    def _reach(self, planned: Planned) -> _Held:
        self.held.append(self._hold(planned))
        return self.held[-1]

    def _hold(self, planned: Planned) -> _Held:
        one = _Held(self.opened, planned, self.deadline)
        one.work()
        return one

    def _context(self) -> Context:
        job = self.opened.job
        return Context(
            seed=derive(0, "together", *(p.seed for p in self.runs)),
            train=job.train,
            store=self.store,
            device=self.opened.device,
            budget=self.deadline,
            memory=job.budget.memory,
            show=self.show,
        )


class _LetGo(BaseException):
    """Ends a method that is held; no error, so nothing that it catches."""


class _Held:
    """A run's method in a thread, up to its first fit. asked: for what; None if it ended before.

    seconds: until then.
    """

    def __init__(self, opened: Opened, planned: Planned, deadline: Deadline):
        self.asked: Asked | None = None
        self.seconds = 0.0
        self._error: BaseException | None = None
        self._clock = clock_of(opened.device)
        self._there, self._free = threading.Event(), threading.Event()
        about = (opened, planned, deadline)
        self._thread = threading.Thread(target=self._work, args=about, daemon=True, name=HELD)

    def work(self) -> None:
        """Let it work until it asks or ends. Raises what it raised."""
        began = self._clock()
        self._thread.start()
        self._there.wait()
        self.seconds = self._clock() - began
        if self._error is not None:
            raise self._error

    def let_go(self) -> None:
        self._free.set()
        self._thread.join(timeout=10)
        self.asked = None

    def _work(self, opened: Opened, planned: Planned, deadline: Deadline) -> None:
        try:
            begun = begin(opened, planned, deadline, False)
            begun.ctx.on_fit, begun.ctx.on_stage = self._ask, None
            planned.arm.method(begun.ctx, begun.given, planned.arm.config)
        except _LetGo:
            pass
        except BaseException as error:
            self._error = error
        finally:
            self._there.set()

    def _ask(self, ctx: Context, *args: Any, **how: Any) -> NoReturn:
        self.asked = together.asked(ctx, *args, **how)
        self._there.set()
        self._free.wait()
        raise _LetGo
