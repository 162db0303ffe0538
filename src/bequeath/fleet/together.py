"""The seeds of an arm, trained as one batched model before their runs are made.

Each seed's method works in a thread of its own until it asks for its first fit, and is held there;
one thread works at a time. What they ask for is tried, and trained as one where that is the same
and quicker (`bequeath.train.together`). Every seed is left its finished checkpoint, the threads are
let go, and the runs are made as ever: each finds its training done, as a run does that was stopped
after it.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from bequeath.fleet.gates import Opened
from bequeath.fleet.one import Planned, begin
from bequeath.fleet.protocols import protocol_of
from bequeath.kernel.errors import BequeathError, Interrupted, JobError, Problem, RunError
from bequeath.kernel.files import write_json
from bequeath.methods.catalog import family_of
from bequeath.train import together
from bequeath.train.budget import Deadline, cpu_seconds
from bequeath.train.context import Context
from bequeath.train.seeds import derive
from bequeath.train.together import Asked, Verdict

_VERDICT = "verdict.json"
HELD = "a seed that waits for the others"  # the name of its thread


def train_seeds_together(
    opened: Opened, waiting: Sequence[Planned], deadline: Deadline, console: Console
) -> None:
    """`train_together` for every arm of the runs that wait, each with its share of the time."""
    left = list(waiting)
    while left:
        same = [p for p in left if p.arm is left[0].arm]
        train_together(opened, same, deadline.part(len(same) / len(left)), console)
        left = [p for p in left if p.arm is not same[0].arm]


def train_together(
    opened: Opened, waiting: Sequence[Planned], deadline: Deadline, console: Console
) -> None:
    """Train what the runs of one arm ask for first as one model, or leave them alone.

    waiting: runs of one arm with different seeds. JobError T615 when the job insists and it cannot
    be; Interrupted as from `fit`, and the same call goes on.
    """
    insist = opened.job.train.batch_seeds == "on"
    group = _Group(opened, waiting, deadline, console)
    if not _may(opened, group.runs) or not group.undecided_or_batched():
        return
    try:
        verdict = group.train(insist)
    except (Interrupted, JobError):
        raise
    except BequeathError as error:  # each run will say it of itself, if it is still so
        verdict = Verdict(False, str(error).splitlines()[0])
        group.remember(verdict)
    finally:
        group.let_go()
    if verdict is not None:
        _tell(waiting[0].arm.label, len(group.runs), verdict, insist, console)


def _may(opened: Opened, runs: Sequence[Planned]) -> bool:
    """Whether the runs are of a kind that one can hope to batch, as far as one sees from here."""
    job = opened.job
    if job.train.batch_seeds == "off" or len(runs) < 2 or opened.processes.world > 1:
        return False
    # Where a protocol hands out tasks, requests or queries, a method is more than a fit of data.
    plain = getattr(protocol_of(job.want).Run, "offer", "its own") is None
    trains = any(need.trains for need in runs[0].arm.needs.models.values())
    return plain and trains and family_of(job.want).first is None


class _Group:
    """The runs of one arm that nobody has begun; or those that were begun together."""

    def __init__(
        self, opened: Opened, waiting: Sequence[Planned], deadline: Deadline, console: Console
    ):
        self.opened, self.deadline, self.console = opened, deadline, console
        self.store = waiting[0].work(opened.job.out).parent / "together"
        self.known = self._recall(waiting)
        self.runs = [p for p in waiting if self.known or not _begun(p, opened.job.out)]
        self.held: list[_Held] = []

    def undecided_or_batched(self) -> bool:
        return self.known is None or self.known.batched

    def train(self, insist: bool) -> Verdict | None:
        """Decide, unless that was done, and train. None where the method asks for no fit."""
        began, cpu = time.perf_counter(), cpu_seconds()
        first = self._reach(self.runs[0])
        if first.asked is None:
            return None
        ctx = self._context()
        verdict = self.known or self._decide(first, ctx, insist)
        self.remember(verdict)
        if not verdict.batched:
            return verdict
        asked = self._everybody()
        spent = (time.perf_counter() - began, cpu_seconds() - cpu)
        together.train(asked, ctx, verdict, spent)
        shutil.rmtree(self.store, ignore_errors=True)
        return verdict

    def remember(self, verdict: Verdict) -> None:
        """What was found holds for all sittings: a run must not change its mind when it goes on."""
        about = {"key": self.runs[0].key, "seeds": [p.seed for p in self.runs]}
        self.store.mkdir(parents=True, exist_ok=True)
        write_json(self.store / _VERDICT, about | {"verdict": asdict(verdict)})

    def let_go(self) -> None:
        for one in self.held:
            one.let_go()
        self.held = []

    def _recall(self, waiting: Sequence[Planned]) -> Verdict | None:
        path = self.store / _VERDICT
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["key"] == waiting[0].key and found["seeds"] == [p.seed for p in waiting]:
                return Verdict(**found["verdict"])
            shutil.rmtree(self.store)
        return None

    def _decide(self, first: _Held, ctx: Context, insist: bool) -> Verdict:
        assert first.asked is not None
        why = together.unpromising(first.asked, len(self.runs), first.seconds, insist)
        verdict = Verdict(False, why)
        if not why:
            verdict = together.decide(self._everybody(), ctx, insist=insist)
        if insist and not verdict.batched:
            label = self.runs[0].arm.label
            raise JobError(
                Problem(
                    "T615",
                    f"the seeds of `{label}` cannot be trained as one model",
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
            show=False if self.console.quiet else None,
        )


def _begun(planned: Planned, out: Path) -> bool:
    """Whether a run has trained already, alone; then it goes on alone."""
    work = planned.work(out)
    key = work / "key"
    same = key.is_file() and key.read_text(encoding="utf-8") == planned.key
    return same and (work / "checkpoints").is_dir()


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
        self._there, self._free = threading.Event(), threading.Event()
        about = (opened, planned, deadline)
        self._thread = threading.Thread(target=self._work, args=about, daemon=True, name=HELD)

    def work(self) -> None:
        """Let it work until it asks or ends. Raises what it raised."""
        began = time.perf_counter()
        self._thread.start()
        self._there.wait()
        self.seconds = time.perf_counter() - began
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


def _tell(label: str, runs: int, verdict: Verdict, insist: bool, console: Console) -> None:
    if verdict.batched:
        text = f"{label}: {runs} seeds trained as one model"
        if verdict.faster is not None:
            text += f", {verdict.faster:.1f} times as fast as one by one"
        if verdict.difference is not None:
            text += f"; gradients agree to {verdict.difference:.0e} of their size"
    else:
        text = f"{label}: one seed after the other: {verdict.why}"
    console.print(text, style="dim", highlight=False)
