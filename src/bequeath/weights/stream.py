"""The tensors of a merge, part by part: read from files, combined, written at their place.

Headers go first; every offset is known. The parts of all tensors are then worked on by a few
threads, each of which reads a part of every model, combines it and writes the result: while one
waits for the disk another computes, and what is in memory is some parts and never a tensor. A rule
that has to measure a tensor first reads it again; by then it is mostly in the disk cache. Tensors
are measured ahead, and what was written goes to the disk meanwhile (`disk.py`).

A NaN or an infinity stops everything with the tensor's name. Who calls this removes what was
written (`merge.py`).
"""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from bequeath.kernel.errors import Problem, RunError
from bequeath.weights.checks import FLOATS
from bequeath.weights.disk import Writer, read_into
from bequeath.weights.header import Checkpoint, Slot
from bequeath.weights.layout import OutputFile
from bequeath.weights.memory import aligned
from bequeath.weights.rule import Part, Rule

T = TypeVar("T")

TORCH = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
CHUNK = 1 << 18  # elements of a part; larger ones take more memory and no less time
COPY = 1 << 22  # bytes at a time of a tensor that is copied


@dataclass(frozen=True)
class Job:
    """What `stream` needs to know. settings: of each tensor name. dtypes: of the result's tensors.

    models: in the rule's order, with the base apart. compute: `F32` or `F64`.
    """

    rule: Rule
    models: Sequence[Checkpoint]
    base: Checkpoint | None
    settings: Mapping[str, Any]
    dtypes: Mapping[str, str]
    compute: str = "F32"
    seed: int = 0


def stream(
    job: Job,
    outputs: Sequence[OutputFile],
    folder: Path,
    *,
    chunk: int = CHUNK,
    threads: int | None = None,
    drop: bool | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write `outputs` into `folder`, each flushed to the disk.

    chunk: elements of a part, rounded up to a multiple of `rule.ALIGN`; no result depends on it.
    threads: None: one more than there are cores, nine at most. drop: give the inputs' pages back
    to the system when they were used; None: where the models would fill half the memory.
    progress: called with the number of bytes written since the last call.

    RunError: W850 not a number in a model, W851 a result its type cannot hold, W852 the disk did
    not take it.
    """
    workers = threads or min(_cores() + 1, 9)
    with ExitStack() as stack:
        reader = stack.enter_context(_reader(job, drop))
        stack.enter_context(one_thread_each())
        window = Window(stack.enter_context(_pool(workers)), 2 * workers)
        measurer, flusher = (stack.enter_context(_pool(1)) for _ in range(2))
        _keep_freed_memory()
        try:
            for output in outputs:
                with (folder / output.name).open("wb", buffering=0) as file, window.emptied():
                    writer = Writer(file.fileno(), output, flusher)
                    make = partial(OnDisk, job, reader, window, aligned(chunk))
                    wholes = [make(name) for name in output.offsets]
                    for whole, measured in _one_ahead(measurer, partial(_measure, job), wholes):
                        _write(job, whole, measured, writer, progress or (lambda written: None))
                        if reader.drop:
                            window.then(partial(reader.done, whole.name))
                    window.drain()
                    writer.finish()
        except OSError as error:
            raise RunError(_disk(folder, error)) from error


def _one_ahead(
    other: ThreadPoolExecutor, work: Callable[[OnDisk], T], items: Sequence[OnDisk]
) -> Iterator[tuple[OnDisk, T]]:
    """Each item with `work(item)`, which the other thread does for the next two in the meantime:
    so that the pool has something to do while the last parts of a tensor are measured."""
    ahead: deque[tuple[OnDisk, Future[T]]] = deque()
    for item in items:
        ahead.append((item, other.submit(work, item)))
        if len(ahead) > 2:
            item, future = ahead.popleft()
            yield item, future.result()
    for item, future in ahead:
        yield item, future.result()


def _measure(job: Job, whole: OnDisk) -> Any:
    if job.rule.measure is None or not whole.merged or whole.size == 0:
        return None
    return job.rule.measure(whole, job.settings[whole.name])


def _write(
    job: Job, whole: OnDisk, measured: Any, writer: Writer, tell: Callable[[int], None]
) -> None:
    """Hand all parts of a tensor's result to the window."""
    name, slot, window, reader = whole.name, whole.slot, whole.window, whole.reader

    def copy(start: int, length: int) -> None:
        tell(writer.put(name, start, reader.raw(slot, start, length)))

    if not whole.merged:
        for start in range(0, slot.length, COPY):
            window.add(partial(copy, start, min(COPY, slot.length - start)))
        return
    settings, dtype = job.settings[name], TORCH[job.dtypes[name]]

    def make(part: Part) -> None:
        out = job.rule.combine(part, settings, measured)
        data = out.to(dtype).contiguous()
        if not _finite(data):
            raise RunError(_too_large(out, dtype, name))
        raw = data.view(torch.uint8).numpy()
        tell(writer.put(name, part.start * dtype.itemsize, raw.data))

    for number in range(whole.parts):
        window.add(partial(whole.only, number, make))


class OnDisk:
    """A `Whole` whose parts are read from files when they are looked at."""

    def __init__(self, job: Job, reader: Reader, window: Window, chunk: int, name: str):
        self.name, self.seed, self.chunk = name, job.seed, chunk
        self.reader, self.window = reader, window
        self.slot = reader.reference.slots[name]
        self.merged = self.slot.dtype in FLOATS  # others are copied
        self.size = self.slot.length // TORCH[self.slot.dtype].itemsize if self.merged else 0
        self.parts = -(-self.size // chunk)
        self.checked = False
        self.models, self.itemsize = len(job.models), reader.compute.itemsize

    def each(self, look: Callable[[Part], T]) -> Iterator[T]:
        yield from self.window.map(lambda number: self.only(number, look), self.parts)
        self.checked = True

    def only(self, number: int, look: Callable[[Part], T]) -> T:
        start = number * self.chunk
        stop = min(start + self.chunk, self.size)
        return look(self.reader.part(self.name, start, stop, self.checked))


class Reader:
    """All models' files, open. Buffers belong to threads and are used again for the next part."""

    def __init__(self, job: Job, files: Mapping[Path, int], drop: bool):
        self.job, self.files, self.drop = job, files, drop
        self.reference = job.base or job.models[0]
        self.compute = TORCH[job.compute]
        self._own = threading.local()

    def part(self, name: str, start: int, stop: int, checked: bool) -> Part:
        """checked: every number was seen to be finite before."""

        def read(model: Checkpoint, number: int) -> Tensor:
            return self._read(model, number, name, start, stop, checked)

        base = None if self.job.base is None else read(self.job.base, -1)
        return Part(start, base, tuple(read(m, i) for i, m in enumerate(self.job.models)))

    def raw(self, slot: Slot, start: int, length: int) -> memoryview:
        return self._fill(memoryview(bytearray(length)), slot, start)

    def done(self, name: str) -> None:
        """Nobody will read this tensor again."""
        for model in filter(None, (self.job.base, *self.job.models)):
            slot = model.slots[name]
            fd = self.files[slot.file]
            os.posix_fadvise(fd, slot.offset, slot.length, os.POSIX_FADV_DONTNEED)

    def _read(
        self, model: Checkpoint, number: int, name: str, start: int, stop: int, checked: bool
    ) -> Tensor:
        slot = model.slots[name]
        dtype = TORCH[slot.dtype]
        x = self._buffer(number, dtype, stop - start)
        self._fill(x.view(torch.uint8).numpy().data, slot, start * dtype.itemsize)
        if dtype != self.compute:
            x = self._buffer(number, self.compute, stop - start).copy_(x)
        if not checked and not _finite(x):
            raise RunError(_not_a_number(model, name, slot, start, x))
        return x

    def _buffer(self, number: int, dtype: torch.dtype, n: int) -> Tensor:
        kept: dict[Any, Tensor] = self._own.__dict__.setdefault("buffers", {})
        key = number, dtype
        if key not in kept or len(kept[key]) < n:
            kept[key] = torch.empty(n, dtype=dtype)
        return kept[key][:n]

    def _fill(self, buffer: memoryview, slot: Slot, start: int) -> memoryview:
        fd, got = self.files[slot.file], 0
        while got < len(buffer):
            read = read_into(fd, buffer[got:], slot.offset + start + got)
            if read == 0:
                raise OSError(None, f"{slot.file} became shorter while it was read")
            got += read
        return buffer


class Window:
    """Work handed to the pool, never more than `most` pieces ahead of what is finished."""

    def __init__(self, pool: ThreadPoolExecutor, most: int):
        self.pool, self.most = pool, most
        self.pending: deque[Future[Any]] = deque()

    def add(self, work: Callable[[], Any]) -> None:
        self.pending.append(self.pool.submit(work))
        while len(self.pending) > self.most:
            self.pending.popleft().result()

    def then(self, work: Callable[[], None]) -> None:
        """Once all that was added before is finished."""
        before = list(self.pending)

        def wait() -> None:
            for future in before:
                future.result()
            work()

        # Submitted last, so what it waits for has begun by then and cannot be waiting for it.
        self.add(wait)

    def map(self, work: Callable[[int], T], n: int) -> Iterator[T]:
        """`work(0)`, ... `work(n - 1)` in order."""
        ahead: deque[Future[T]] = deque()
        for number in range(n):
            ahead.append(self.pool.submit(work, number))
            if len(ahead) > self.most:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def drain(self) -> None:
        while self.pending:
            self.pending.popleft().result()

    @contextmanager
    def emptied(self) -> Iterator[None]:
        """On the way out nothing is at work any more, also where something failed: a file may be
        closed then."""
        try:
            yield
        except BaseException:
            self.pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Torch's own threads would be started anew for every part; ours are already as many."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _keep_freed_memory() -> None:
    """Parts are of one size, and each needs memory that the one before has just given back.

    glibc returns what is free to the system above twice the largest block that was ever freed, at
    most 64 MB; the system then clears each page anew, which took two thirds of a merge. A large
    block that is freed untouched raises the border. Elsewhere this does nothing.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


@contextmanager
def _pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(workers, "merge", torch.set_num_threads, (1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _reader(job: Job, drop: bool | None) -> Iterator[Reader]:
    files: dict[Path, int] = {}
    models = [*job.models, *filter(None, (job.base,))]
    if drop is None:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        drop = sum(model.nbytes for model in models) > memory / 2
    drop = drop and hasattr(os, "posix_fadvise")
    try:
        for path in (file for model in models for file in model.files):
            if path not in files:
                files[path] = os.open(path, os.O_RDONLY)
                if hasattr(os, "posix_fadvise"):  # the system then reads further ahead
                    os.posix_fadvise(files[path], 0, 0, os.POSIX_FADV_SEQUENTIAL)
        yield Reader(job, files, drop)
    finally:
        for fd in files.values():
            os.close(fd)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _finite(x: Tensor) -> bool:
    # A sum is the cheapest look at every element: it is finite only if all of them are. It may
    # overflow by itself, so what it suspects is looked at again.
    return math.isfinite(x.sum().item()) or bool(x.isfinite().all())


def _too_large(out: Tensor, dtype: torch.dtype, name: str) -> Problem:
    low, high = torch.aminmax(out)
    return Problem(
        "W851",
        f"tensor `{name}` of the result does not fit into {dtype}",
        notes=(f"its values go from {low.item():.3g} to {high.item():.3g}",),
        remedies=("smaller weights or `lambda`", "another `dtype`: bfloat16 or float32"),
    )


def _not_a_number(model: Checkpoint, name: str, slot: Slot, start: int, x: Tensor) -> Problem:
    wrong = int((~x.isfinite()).nonzero()[0])
    place, left = [], start + wrong
    for size in reversed(slot.shape):
        left, here = divmod(left, size)
        place.append(here)
    return Problem(
        "W850",
        f"`{model.path}` holds {x[wrong].item()} in tensor `{name}`",
        notes=(f"at {place[::-1]}; a merge would spread it",),
        remedies=("take an earlier checkpoint of this model", "leave this model out"),
    )


def _disk(folder: Path, error: OSError) -> Problem:
    reason = error.strerror or str(error)
    return Problem(
        "W852",
        f"the merge could not go on in `{folder.parent}`: {reason}",
        remedies=("make room or choose another disk, and run it again: nothing was left behind",),
    )
