"""Where runs are done: in this process, in processes beside it, or on a Ray cluster.

All three call the one run function of `worker.py` and serve the one loop of `units.py`.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, wait
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import joblib
from joblib.externals.loky import ProcessPoolExecutor

from bequeath.fleet.gates import Opened
from bequeath.fleet.one import Planned
from bequeath.fleet.units import Pool, Unit
from bequeath.fleet.width import Jobs, Width, threads_before, width_here
from bequeath.fleet.worker import GRACE, Task, attempt, do, stay_with
from bequeath.kernel.errors import JobError, Problem, RunError
from bequeath.kernel.files import write_text
from bequeath.train.budget import Deadline
from bequeath.train.processes import launched

PLACES = r"local|ray|ray:auto|ray:[\w.-]+:\d+|ray://[\w.-]+:\d+"
KNOCK = 5.0  # seconds an address may take to answer
Answer = Future[BaseException | None]


def check_place(on: str, jobs: Jobs) -> None:
    """JobError R532, R533 or T613 where `on` names no place, or one that cannot be."""
    if not re.fullmatch(PLACES, on):
        remedies = ("say `local`, `ray`, `ray:auto`, `ray:HOST:PORT` or `ray://HOST:PORT`",)
        raise JobError(Problem("R533", f"there is no place `{on}` to run on", remedies=remedies))
    if on != "local" and find_spec("ray") is None:
        extra = ("install it: `pip install 'bequeath[ray]'`", "or leave `--on` out")
        raise JobError(Problem("R532", "Ray is not installed", remedies=extra))
    address = re.search(r"([\w.-]+):(\d+)$", on)
    if address is not None:
        try:  # Ray itself would try for minutes
            socket.create_connection((address[1], int(address[2])), KNOCK).close()
        except (OSError, OverflowError) as error:
            raise JobError(_no_cluster(on, str(error))) from None
    if launched().world > 1 and (on != "local" or jobs not in ("auto", 1)):
        raise JobError(
            Problem(
                "T613",
                "one job on several processes, and several jobs at a time, do not go together",
                remedies=("leave `--on` and `--jobs` out under `accelerate launch`",),
            )
        )


@contextmanager
def pool_for(
    opened: Opened,
    planned: Sequence[Planned],
    waiting: int,
    *,
    jobs: Jobs,
    on: str,
    show: bool | None,
    say: Callable[[str], None],
) -> Iterator[Pool]:
    """A pool for a job of `planned` runs, of which so many wait. JobError R533.

    say: takes what the user should know about it.
    """
    if on == "local":
        width = width_here(opened, planned, jobs, joblib.cpu_count())
        width = _as_before(opened, planned, width, say)
        if min(width.runs, waiting) <= 1:
            yield Here(opened, width, show)
            return
        with _closing(Beside(opened, width, min(width.runs, waiting))) as pool:
            say(f"{pool.width} runs at a time, CPU threads of each: {pool.threads}")
            yield pool
        return
    with cluster(on), _token(opened.job.out) as token:
        there = OnRay(opened, planned, jobs, token)
        say(f"up to {there.width} runs at a time on Ray, CPU threads of each: {there.threads}")
        yield there


def _as_before(
    opened: Opened, planned: Sequence[Planned], width: Width, say: Callable[[str], None]
) -> Width:
    """With the threads of the runs that are there already, where that many can be had."""
    before = threads_before(opened, planned)
    if opened.job.train.threads is not None or before in (None, width.threads):
        return width
    assert before is not None
    if before * width.runs <= joblib.cpu_count():
        return Width(width.runs, before, width.memory)
    say(
        f"the runs that are there were made with {before} CPU threads, the others get "
        f"{width.threads}: they agree, and not to the last bit"
    )
    return width


class Here:
    """One after the other, in this process."""

    def __init__(self, opened: Opened, width: Width, show: bool | None):
        self.width, self.threads = 1, width.threads
        self._opened, self._show = opened, show

    def start(self, unit: Unit, seconds: float | None) -> Answer:
        do(self._opened, unit, self.threads, Deadline(seconds), self._show)
        answer: Answer = Future()
        answer.set_result(None)
        return answer

    def lost(self, error: BaseException) -> bool:
        return False

    def stop(self) -> None:
        """What runs here has stopped when its exception has come here."""


class Beside:
    """Processes on this machine. Each is an executor of its own: one that dies takes only its own
    run along."""

    def __init__(self, opened: Opened, width: Width, lanes: int):
        self.width, self.threads = lanes, width.threads
        self._memory, self._job = width.memory, pickle.dumps(opened.job)
        self._free = [self._lane() for _ in range(lanes)]
        self._busy: dict[Answer, Any] = {}
        self._others = set(multiprocessing.active_children())

    def start(self, unit: Unit, seconds: float | None) -> Answer:
        task = Task(self._job, str(Path.cwd()), unit, self.threads, self._memory, seconds)
        self._take_back()
        lane = self._free.pop()
        answer: Answer = lane.submit(attempt, task)
        self._busy[answer] = lane
        return answer

    def lost(self, error: BaseException) -> bool:
        return isinstance(error, BrokenExecutor)

    def stop(self) -> None:
        for worker in set(multiprocessing.active_children()) - self._others:
            worker.terminate()
        wait(self._busy, timeout=GRACE)
        self.close()

    def close(self) -> None:
        for lane in [*self._free, *self._busy.values()]:
            lane.shutdown(wait=True, kill_workers=True)
        self._free, self._busy = [], {}

    def _take_back(self) -> None:
        for answer in [one for one in self._busy if one.done()]:
            lane = self._busy.pop(answer)
            broken = isinstance(answer.exception(), BrokenExecutor)
            self._free.append(self._lane() if broken else lane)

    def _lane(self) -> Any:
        settings = {"initializer": stay_with, "initargs": (os.getpid(),), "timeout": None}
        return ProcessPoolExecutor(1, env=_limits(self.threads), **settings)


@contextmanager
def _closing(pool: Beside) -> Iterator[Beside]:
    try:
        yield pool
    finally:
        pool.close()


def _limits(threads: int) -> dict[str, str]:
    """The environment of a worker: libraries that come late also keep to its threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(names, str(threads))


def _own_settings() -> dict[str, str]:
    """Where this process keeps its caches and finds its data; nothing else of its environment."""
    return {name: value for name, value in os.environ.items() if name.startswith("BEQUEATH_")}


class OnRay:
    """The machines of a Ray cluster, which is connected and stays so while this is used."""

    def __init__(
        self, opened: Opened, planned: Sequence[Planned], jobs: Jobs, token: tuple[str, str]
    ):
        import ray

        job = opened.job
        sizes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
        cores, largest = int(sum(sizes)), int(max(sizes, default=0))
        threads = job.train.threads
        most = max(1, cores // (threads or 1)) if jobs == "auto" else jobs
        self.width = max(1, min(most, len(planned)))
        self.threads = threads or max(1, min(largest, cores // self.width))
        self._job, self._token = pickle.dumps(job), token
        self._do = ray.remote(attempt).options(
            num_cpus=min(self.threads, largest or 1),
            num_gpus=1 if opened.device.type == "cuda" else 0,
            memory=job.budget.memory,
            max_retries=0,  # the loop counts what is lost
            runtime_env={"env_vars": _limits(self.threads) | _own_settings()},
            scheduling_strategy="SPREAD",
        )
        self._running: dict[Answer, Any] = {}

    def start(self, unit: Unit, seconds: float | None) -> Answer:
        home = str(Path.cwd())
        task = Task(self._job, home, unit, self.threads, None, seconds, self._token)
        ref = self._do.remote(task)
        answer: Answer = ref.future()
        self._running = {a: r for a, r in self._running.items() if not a.done()} | {answer: ref}
        return answer

    def lost(self, error: BaseException) -> bool:
        from ray.exceptions import RayError, RayTaskError

        if not isinstance(error, RayTaskError):
            return isinstance(error, RayError)
        if "failed to import on the worker" in str(error):  # our function itself: no bequeath
            raise RunError(
                Problem(
                    "R534",
                    "a worker cannot load bequeath",
                    notes=(str(error).strip().splitlines()[-1],),
                    remedies=("install the same bequeath on all machines of the cluster",),
                )
            ) from None
        return False

    def stop(self) -> None:
        import ray

        for force in (False, True):
            for answer, ref in self._running.items():
                if not answer.done():
                    ray.cancel(ref, force=force)
            if not wait(self._running, timeout=GRACE).not_done:
                return


@contextmanager
def cluster(on: str) -> Iterator[None]:
    """Connected to the cluster that `on` names; `ray` starts one on this machine and ends it.

    Within another of these it is the same one, so several jobs may share it. JobError R533.
    """
    if on == "local":
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():  # by the program that calls us: its cluster, and its to close
        yield
        return
    place = on if on.startswith("ray://") else on.removeprefix("ray").removeprefix(":")
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if place:
            ray.init(address=place, **quiet)
        else:
            cores = joblib.cpu_count()
            ray.init("local", num_cpus=cores, include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise JobError(_no_cluster(on, str(error))) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray puts its own in its place
    try:
        yield
    finally:
        ray.shutdown()


def _no_cluster(on: str, said: str) -> Problem:
    return Problem(
        "R533",
        f"no Ray cluster answers at `{on}`",
        notes=tuple(said.strip().splitlines()[:1]),
        remedies=("start one with `ray start --head`, or look at its address",),
    )


@contextmanager
def _token(out: Path) -> Iterator[tuple[str, str]]:
    """A file in `out` by which a worker knows that its `out` is the same folder."""
    path, text = out.absolute() / "work" / "token", uuid4().hex
    write_text(path, text)
    try:
        yield str(path), text
    finally:
        with suppress(OSError):
            path.unlink()
