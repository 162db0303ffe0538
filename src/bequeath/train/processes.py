"""Several processes at one job: one speaks and writes for all, and they end together.

Gradients go through the process group that Accelerate opens. All else goes over a board, the
key-value store of the launcher: the main process says there what is to be done, and whoever fails
says so. Waiting at the board has no time limit (a teacher may be asked for hours) and can be
interrupted; a process that waits in an exchange of gradients cannot look, so a thread looks for it.

No torch at import: the command line asks who may print.
"""

from __future__ import annotations

import atexit
import itertools
import json
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from bequeath.kernel.errors import (
    BequeathError,
    JobError,
    Problem,
    RunError,
    Spoken,
    render,
    visible,
)

_WORLD = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_RANK = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
_LOCAL = (
    "LOCAL_RANK",
    "MPI_LOCALRANKID",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "MV2_COMM_WORLD_LOCAL_RANK",
)

LOOK = 0.05  # seconds between two looks at the board by who waits
WATCH = 0.25  # and by the thread that looks for who cannot
GRACE = 2.0  # seconds in which a process that failed, or heard of it, may end by itself
HEARD = 20.0  # seconds a failed process waits for the main one to have said so


class Processes:
    """Who this process is among those of the job. rank 0 is the main one, `world` their number."""

    def __init__(self, rank: int = 0, world: int = 1, board: Board | None = None):
        self.rank, self.world, self.board = rank, world, board
        self._task = self._turn = 0

    @property
    def main(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def task(self, task: Any = None) -> Any:
        """What is to be done next (JSON), as the main process says; None: nothing more."""
        self._task, self._turn = self._task + 1, 0
        return self._tell(f"task/{self._task}", task)

    def _tell(self, key: str, value: Any) -> Any:
        if self.world == 1 or self.board is None:
            return value
        if not self.main:
            return self.board.wait(key)
        self.board.put(key, value)
        return value

    @contextmanager
    def main_first(self) -> Iterator[Turn]:
        """The block is done by the main process, then by the others, who hear what it `said`.

        Within a task all come to their turns in the same order.
        """
        turn, key = Turn(), f"turn/{self._task}/{self._turn}"
        self._turn += 1
        if not self.main:
            turn.said = self._tell(key, None)
        yield turn
        if self.main:
            self._tell(key, turn.said)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What one process cannot do, none goes on with; the main one says why, once.

        In the others an error becomes `Spoken`, with the same exit code.
        """
        if self.world == 1 or self.board is None:
            yield
            return
        watcher = _Watcher(self.board, self.main)
        try:
            yield
            self.board.meet(self.rank, self.world)
        except BaseException as error:
            watcher.stop()
            said = self._failed(error)
            if said is error:
                raise
            raise said from None
        watcher.stop()

    def _failed(self, error: BaseException) -> BaseException:
        assert self.board is not None
        if isinstance(error, RuntimeError) and _is_lost_connection(error):
            error = RunError(_gone(str(error)))
        _FAILED.append(_code(error))
        if self.main:
            with suppress(Exception):
                self.board.put("over", _code(error))
            return error
        if isinstance(error, Spoken):
            return error
        with suppress(Exception):
            self.board.put("failed", _to_plain(error, self.rank))
            self.board.heard()
        known = isinstance(error, BequeathError | KeyboardInterrupt)
        return Spoken(_code(error)) if known else error


class Turn:
    """said: what the main process leaves for those who come after it."""

    said: Any = None


ALONE = Processes()


def launched() -> Processes:
    """This process among those that a launcher started, by the environment; no board yet."""
    world = _number(_WORLD, 1)
    return Processes(_number(_RANK, 0), world) if world > 1 else ALONE


def speaks() -> bool:
    """Whether this process may print: one on each machine, before they know of each other."""
    return launched().world == 1 or _number(_LOCAL, 0) == 0


def hush() -> None:
    """Before torch is imported: its own warnings of several processes are not for the user.

    They say that a model has no unused parameter, and, with the machine's stack, that the process
    at the other end has ended.
    """
    if launched().world > 1:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def join(device: str) -> Processes:
    """Meet the other processes, if a launcher started several. device: what the job says."""
    import torch

    found = launched()
    if found.world == 1:
        return found
    from accelerate import PartialState

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has chosen the number of threads
        state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))  # it chooses once
    atexit.register(_leave)
    return Processes(state.process_index, state.num_processes, Board.open())


class Board:
    """Words under keys, seen by all processes; JSON."""

    def __init__(self, store: Any):
        self._store = store

    _opened = itertools.count()

    @classmethod
    def open(cls) -> Board:
        """A connection of its own to the launcher's store, and keys that no other job has used."""
        from torch.distributed import PrefixStore, TCPStore

        host, port = os.environ.get("MASTER_ADDR", "127.0.0.1"), int(os.environ["MASTER_PORT"])
        again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        prefix = f"bequeath/{again}/{next(cls._opened)}"
        return cls(PrefixStore(prefix, TCPStore(host, port, is_master=False)))

    def put(self, key: str, value: Any) -> None:
        self._store.set(key, json.dumps(value))

    def has(self, key: str) -> bool:
        return bool(self._store.check([key]))

    def get(self, key: str) -> Any:
        """KeyError where nothing stands."""
        if not self.has(key):
            raise KeyError(key)
        return json.loads(self._store.get(key))

    def wait(self, key: str) -> Any:
        """What will stand there. Spoken when the main process ends before."""
        while not self.has(key):
            if self.has("over"):
                time.sleep(GRACE)
                raise Spoken(self.get("over"))
            time.sleep(LOOK)
        return self.get(key)

    def heard(self) -> None:
        """Wait until the main process has spoken of a failure, or for a while."""
        until = time.monotonic() + HEARD
        while not self.has("over") and time.monotonic() < until:
            time.sleep(LOOK)

    def meet(self, rank: int, world: int) -> None:
        """The end of the job: nobody leaves before all are done."""
        self.put(f"done/{rank}", True)
        while not all(self.has(f"done/{r}") for r in range(world)):
            if rank and self.has("over"):
                raise Spoken(self.get("over"))
            time.sleep(LOOK)
        if not rank:
            time.sleep(4 * LOOK)  # the store may be ours: the others look once more


class _Watcher:
    """A thread that ends this process when another has failed, whatever it is waiting for.

    It is the last resort, after a while in which the process may notice by itself. Files are whole
    or absent and a lock of a dead process is free, so ending at once leaves nothing half.
    """

    def __init__(self, board: Board, main: bool):
        self.board, self.main = board, main
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        key = "failed" if self.main else "over"
        while not self._stop.wait(WATCH):
            try:
                come = self.board.has(key)
            except Exception:
                come = True  # the launcher is gone, or the main process, and with it the board
            if come and not self._stop.wait(GRACE):
                os._exit(self._speak(key))

    def _speak(self, key: str) -> int:
        """-> the exit code. The main process says what has happened to the others."""
        try:
            told = self.board.get(key)
        except Exception:
            told = _to_plain(RunError(_gone("the launcher is gone")), 0) if self.main else 1
        if not self.main:
            return int(told)
        sys.stderr.write(f"{told['text']}\n")
        sys.stderr.flush()
        with suppress(Exception):
            self.board.put("over", told["code"])
        return int(told["code"])


def _to_plain(error: BaseException, rank: int) -> dict[str, Any]:
    """A failure as it is said by another process: the text, and the exit code."""
    if isinstance(error, JobError):
        text = "\n\n".join(render(problem) for problem in error.problems)
    elif isinstance(error, RunError):
        text = render(error.problem)
    elif isinstance(error, BequeathError):
        text = f"bequeath: {visible(str(error))}"
    elif isinstance(error, KeyboardInterrupt):
        text = "bequeath: interrupted; run the same command again to go on"
    else:
        said = f"process {rank} failed: {type(error).__name__}: {error}"
        text = render(_gone(said))
    return {"code": _code(error), "text": text}


def _code(error: BaseException) -> int:
    return 130 if isinstance(error, KeyboardInterrupt) else int(getattr(error, "exit_code", 1))


def _gone(said: str) -> Problem:
    return Problem(
        "T612",
        "another process of this job has ended, so this one cannot go on",
        notes=(re.sub(r"^\[[^]]*\] ", "", said).split(". ")[0] or "nothing is known of why",),
        remedies=("look at what it printed, mend that, and launch the job again: it goes on",),
    )


def _is_lost_connection(error: RuntimeError) -> bool:
    """Whether an exchange with another process failed. gloo's errors have no class of their own."""
    import torch

    if isinstance(error, torch.distributed.DistError):
        return True
    return any(word in str(error) for word in ("gloo", "NCCL", "Connection closed by peer"))


def _number(names: tuple[str, ...], default: int) -> int:
    for name in names:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return default


_FAILED: list[int] = []


def _leave() -> None:
    """At exit. Threads of the group that outlive the interpreter abort the process now and then.

    After a failure the group cannot be closed in order, since the others are not there.
    """
    import torch

    if _FAILED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_FAILED[-1])
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
