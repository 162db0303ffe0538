"""The run function that every executor calls, here or in a process of its own, near or far.

A worker opens the job anew, since models and data do not travel. Each run is worked on under a
lock that the system releases when its holder dies: two workers are never at the same run, also when
one is thought dead and is not, and what is complete by the time the lock is free is left as it is.
"""

from __future__ import annotations

import os
import pickle
import platform
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import Timeout
from threadpoolctl import threadpool_limits

import bequeath
from bequeath.fleet.folder import doing, missing_or_other, writing
from bequeath.fleet.gates import Opened, check_deep
from bequeath.fleet.one import Planned, run_one
from bequeath.fleet.together import train_together
from bequeath.fleet.units import Name, Unit, name_of, plan
from bequeath.job.job import Job
from bequeath.kernel.errors import BequeathError, Problem, RunError
from bequeath.kernel.files import digest
from bequeath.train.budget import Deadline

PATIENCE = 600.0  # seconds to wait for somebody else who is at the same run
GRACE = 10.0  # seconds between asking a worker to stop and ending it


@dataclass(frozen=True)
class Task:
    """What a worker is sent.

    job: pickled, since its references are read where it is opened. home: the folder relative
    references start at. threads: of the CPU. memory: bytes this process may hold. seconds: wall
    time from when it begins. token: a file in the output folder that every worker must see, and
    what it says.
    """

    job: bytes
    home: str
    unit: Unit
    threads: int
    memory: int | None = None
    seconds: float | None = None
    token: tuple[str, str] | None = None
    version: str = bequeath.__version__


def attempt(task: Task) -> BaseException | None:
    """Do a task's unit. What goes wrong is the answer, so that it arrives as it is.

    A fault in a method's code is raised and takes its traceback along.
    """
    try:
        _see_the_same(task)
        opened = _opened_here(task)
        with writing(opened.job.out):
            do(opened, task.unit, task.threads, Deadline(task.seconds), show=False)
    except (BequeathError, KeyboardInterrupt) as error:
        return error
    return None


def do(opened: Opened, unit: Unit, threads: int, deadline: Deadline, show: bool | None) -> None:
    """The runs of one unit, or what they train together: those that are not complete already.

    RunError R531 when another process stays at one of them, R534 when what this process reads is
    not what the runs were planned with.
    """
    out = opened.job.out
    planned = {(one.arm.label, one.seed): one for one in plan(opened)}
    mine = [planned[name.label, name.seed] for name in unit.runs]
    for name, one in zip(unit.runs, mine, strict=True):
        if name_of(one) != name:
            raise RunError(_other_data(name))
    with limited(threads), ExitStack() as held:
        for one in mine:
            held.enter_context(holding(one, out))
        left = [one for one in mine if missing_or_other(one.folder(out), one.key)]
        if unit.together:
            train_together(opened, left, deadline, show)
            return
        for i, one in enumerate(left):
            part = deadline.part(1 / (len(left) - i))
            sharing = opened.sharing(one.arm.needs)
            if sharing.world > 1:
                sharing.task([one.arm.label, one.seed, part.total and part.left()])
            run_one(opened, one, part, show)


@contextmanager
def holding(planned: Planned, out: Path) -> Iterator[None]:
    """Hold a run for this process. RunError R531 when another one stays at it."""
    with ExitStack() as held:
        try:
            held.enter_context(doing(planned.work(out), PATIENCE))
        except Timeout as waited:
            raise RunError(
                Problem(
                    "R531",
                    f"another process is still at {name_of(planned)}",
                    notes=(f"it holds `{waited.lock_file}`",),
                    remedies=("wait for it, or end it; then run the same command again",),
                )
            ) from None
        yield


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """So many CPU threads in the block, for torch and for what NumPy and SciPy compute."""
    import scipy.linalg  # noqa: F401  it brings its own BLAS, which is limited once it is there

    before = torch.get_num_threads()
    try:
        with threadpool_limits(threads):
            torch.set_num_threads(threads)
            yield
    finally:
        torch.set_num_threads(before)


def stay_with(parent: int) -> None:
    """Stop this process when its parent is gone, with a checkpoint if it trains."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


_OPEN: dict[str, Opened] = {}


def _opened_here(task: Task) -> Opened:
    """The job as this process sees it; opened once for all its runs."""
    key = digest(task.job, str(task.memory))
    if key not in _OPEN:
        _OPEN.clear()
        job: Job = pickle.loads(task.job)
        if task.memory is not None:
            job = job.but(budget=job.budget.model_copy(update={"memory": task.memory}))
        _OPEN[key] = check_deep(job, trial=False)
    return _OPEN[key]


def _see_the_same(task: Task) -> None:
    """Go to the folder the job was started in. RunError R534 where that is another world."""
    lacks = ""
    if task.version != bequeath.__version__:
        lacks = f"it has bequeath {bequeath.__version__}, the job was started with {task.version}"
    elif not Path(task.home).is_dir():
        lacks = f"it has no folder `{task.home}`"
    elif task.token is not None:
        path, text = Path(task.token[0]), task.token[1]
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            lacks = f"`{path.parents[1]}` is another folder there"
    if lacks:
        raise RunError(
            Problem(
                "R534",
                "a worker does not see the files this process sees",
                at=("out",),
                notes=(f"on `{platform.node()}`: {lacks}",),
                remedies=(
                    "let `out` and the data lie on a file system that all machines share, under "
                    "one path",
                ),
            )
        )
    os.chdir(task.home)


def _other_data(name: Name) -> Problem:
    return Problem(
        "R534",
        f"a worker reads other models, data or code for {name} than this process",
        notes=("the run was planned with other content, or a file has changed since",),
        remedies=(
            "give all machines the same files under one path",
            "if a file was changed, run the same command again",
        ),
    )
