"""Streams of tasks out of one data set: its classes in turn, its pixels permuted or rotated.

    split      task t has the t-th group of classes
    permuted   every task has all classes; task t has its own order of pixels, the first the plain
    rotated    every task has all classes; task t is turned by t times `step` degrees, from 0 on

What a task is depends on its number and `rng` alone, so its training and its test part agree.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from bequeath.given.facts import DataFacts
from bequeath.given.samples import Device, Samples, facts_of
from bequeath.given.shift import rotate
from bequeath.given.subset import Rows
from bequeath.kernel.errors import AccessDenied
from bequeath.kernel.files import digest

Kind = Literal["split", "permuted", "rotated"]
Change = Callable[[Tensor], Tensor]
Rng = Callable[..., torch.Generator]  # (name, *counters) -> a random stream on the CPU


class TaskSamples:
    """The samples of one task: some of a data set, their `x` changed when they are fetched.

    name: what the change is, for the hash. After `close` a fetch raises AccessDenied: the task is
    over, and a method of a stream has no old data but what it kept.
    """

    def __init__(
        self, samples: Samples, change: Change | None, name: str, over: list[str] | None = None
    ):
        self._samples, self._change, self._name = samples, change, name
        self._over = over if over is not None else []  # shared by copies on other devices
        self.kind, self.lazy, self.classes = samples.kind, samples.lazy, samples.classes
        self.skipped, self.y = samples.skipped, samples.y
        self.hash = digest("task", samples.hash, name)

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._samples.shape

    @property
    def device(self) -> torch.device:
        return self._samples.device

    @property
    def facts(self) -> DataFacts:
        return facts_of(self)

    def close(self, why: str) -> None:
        self._over.append(why)

    def fetch(self, idx: Tensor) -> dict[str, Any]:
        if self._over:
            raise AccessDenied(self._over[0])
        batch = self._samples.fetch(idx)
        if self._change is not None:
            batch["x"] = self._change(batch["x"])
        return batch

    def to(self, device: Device) -> TaskSamples:
        if torch.device(device) == self.device:
            return self
        return TaskSamples(self._samples.to(device), self._change, self._name, self._over)


def build(
    kind: Kind,
    samples: Samples,
    tasks: int,
    rng: Rng,
    *,
    order: Literal["listed", "random"] = "listed",
    step: float = 15.0,
    disjoint: bool = False,
) -> list[TaskSamples]:
    """The tasks of a stream. ValueError: too many tasks, no images to turn, a task without samples.

    order: of the classes of `split`. step: degrees of `rotated`. disjoint: tasks that share their
    classes have different samples, each an equal part of every class.
    """
    if kind == "split":
        groups = class_groups(len(samples.classes), tasks, rng, order)
        if samples.y is None:
            raise ValueError("a stream of classes needs labels")
        y = samples.y.cpu()
        rows = [torch.isin(y, torch.tensor(group)).nonzero().flatten() for group in groups]
        changes: list[tuple[str, Change | None]] = [("", None)] * tasks
    else:
        rows = _parts(samples, tasks, rng) if disjoint else [torch.arange(len(samples))] * tasks
        changes = [_change(kind, samples, t, rng, step) for t in range(tasks)]
    if empty := [t for t, chosen in enumerate(rows) if not len(chosen)]:
        raise ValueError(f"task {empty[0] + 1} of {tasks} would have no samples")
    return [
        TaskSamples(Rows(samples, chosen), change, name)
        for chosen, (name, change) in zip(rows, changes)
    ]


def class_groups(
    n_classes: int, tasks: int, rng: Rng, order: str = "listed"
) -> list[tuple[int, ...]]:
    """The classes of each task, sizes apart by one at most. ValueError for more tasks than that."""
    if not 1 <= tasks <= n_classes:
        raise ValueError(f"{n_classes} classes cannot be divided into {tasks} tasks")
    numbers = list(range(n_classes))
    if order == "random":
        numbers = torch.randperm(n_classes, generator=rng("class order")).tolist()
    cuts = [round(t * n_classes / tasks) for t in range(tasks + 1)]
    return [tuple(numbers[low:high]) for low, high in itertools.pairwise(cuts)]


def permute(x: Tensor, order: Tensor) -> Tensor:
    """Images [B, H, W, C] with their pixels, or vectors [B, D] with their numbers, in `order`."""
    order = order.to(x.device)
    if x.ndim == 2:
        return x[:, order]
    b, h, w, c = x.shape
    return x.reshape(b, h * w, c)[:, order].view(b, h, w, c)


class Classes(Protocol):
    """What `Scope` reads of a stream."""

    @property
    def task_ids(self) -> bool: ...
    @property
    def n_classes(self) -> int: ...
    @property
    def classes(self) -> Sequence[Sequence[int]]: ...


class Scope:
    """Which classes an answer may name: those of the task (its number is given), or those seen.

    Where every task has all classes, all of them, and nothing is masked.
    """

    def __init__(self, stream: Classes):
        self.task_ids = stream.task_ids
        self.allowed = torch.zeros(len(stream.classes), stream.n_classes, dtype=torch.bool)
        for t, group in enumerate(stream.classes):
            self.allowed[t, list(group)] = True
        self.shared = bool(self.allowed.all())
        self.task_of = self.allowed.int().argmax(0)  # of a class, where classes are divided

    def at_test(self, task: int, now: int) -> Tensor:
        """bool [K] for samples of `task` when tasks up to `now` have been learnt (from 0)."""
        if self.task_ids or self.shared:
            return self.allowed[task]
        return self.allowed[: max(task, now) + 1].any(0)

    def logits(self, z: Tensor, y: Tensor, now: int) -> Tensor:
        """[B, K] -> the same with -inf where training on task `now` may not look; labels int64 [B].

        With task numbers each sample competes among the classes of its own task.
        """
        if self.shared:
            return z
        if self.task_ids:
            allowed = self.allowed.to(z.device)[self.task_of.to(z.device)[y]]
        else:
            allowed = self.at_test(now, now).to(z.device)
        return z.masked_fill(~allowed, -torch.inf)

    def cross_entropy(self, z: Tensor, y: Tensor, now: int) -> Tensor:
        """[B], of logits [B, K] within their scope."""
        return F.cross_entropy(self.logits(z, y, now), y, reduction="none")


def _change(
    kind: Kind, samples: Samples, task: int, rng: Rng, step: float
) -> tuple[str, Change | None]:
    """What a task does to `x`, and its name."""
    if samples.kind == "text":
        raise ValueError("texts have no pixels to permute or turn")
    if kind == "rotated" and samples.kind != "image":
        raise ValueError("only images can be turned")
    if task == 0:
        return "", None
    if kind == "rotated":
        return f"turned by {task * step}", lambda x: rotate(x, task * step)
    size = samples.shape[0] * samples.shape[1] if samples.kind == "image" else samples.shape[0]
    order = torch.randperm(size, generator=rng("pixel order", task))
    return digest(order.numpy().tobytes()), lambda x: permute(x, order)


def _parts(samples: Samples, tasks: int, rng: Rng) -> list[Tensor]:
    """Rows of `tasks` parts, each class divided equally; what is left over is left out."""
    g = rng("parts of the stream")
    y = samples.y.cpu() if samples.y is not None else torch.zeros(len(samples), dtype=torch.int64)
    parts: list[list[Tensor]] = [[] for _ in range(tasks)]
    for label in y.unique():
        rows = (y == label).nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=g)]
        each = len(rows) // tasks
        for t in range(tasks):
            parts[t].append(rows[t * each : (t + 1) * each])
    return [torch.cat(part).sort().values for part in parts]
