"""What a job asks to forget, as positions in the training data: a function of the seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bequeath.blocks.ledger import sample_digests
from bequeath.kernel.errors import JobError, JobPath, Problem
from bequeath.methods.unlearn import Protocol, Request, Requests, Step
from bequeath.train.seeds import generator

DEFAULT = (Request(samples=10, times=5),)
_NAMED = 5


def plan_requests(
    said: Protocol,
    y: Tensor,
    classes: Sequence[str],
    seed: int,
    asked: Tensor | None = None,
) -> Requests:
    """Everything a method will learn and forget, in order.

    y: labels of the training data, int64 [N]. asked: positions that the data set `forget` names;
    they are the last request. JobError G441 to G444 for what cannot be asked, with its place.
    """
    return _Planner(said, y.cpu(), classes, seed, asked).plan()


def find_in(train: Any, wanted: Any) -> Tensor:
    """Positions in `train` of the samples of `wanted`, by content; every copy of each, sorted.

    JobError G442 (not in the training data), G443 (named twice).
    """
    places: dict[bytes, list[int]] = {}
    for i, known in enumerate(sample_digests(train, labels=False)):
        places.setdefault(known, []).append(i)
    digests = sample_digests(wanted, labels=False)
    seen: set[bytes] = set()
    never = [i for i, d in enumerate(digests) if d not in places]
    twice = [i for i, d in enumerate(digests) if d in seen or seen.add(d)]  # type: ignore[func-returns-value]
    problems = []
    if never:
        problems.append(
            Problem(
                "G442",
                f"{len(never)} of the {len(digests)} samples of `data.forget` were never learnt: "
                "they are not in `data.train`",
                at=("data", "forget"),
                notes=(f"rows {_listed(never)} (the first is 0)",),
                remedies=("send samples exactly as they were learnt, not resized or coded anew",),
            )
        )
    if twice:
        problems.append(_twice(f"rows {_listed(twice)} of `data.forget`", ("data", "forget")))
    if problems:
        raise JobError(problems)
    found = [i for digest in digests for i in places[digest]]
    return torch.tensor(sorted(found), dtype=torch.int64)


class _Planner:
    """Walks through the requests with what is held by then. Reads from `plan` downwards."""

    def __init__(
        self, said: Protocol, y: Tensor, classes: Sequence[str], seed: int, asked: Tensor | None
    ):
        self.said, self.y, self.classes, self.seed, self.asked = said, y, classes, seed, asked
        n = len(y)
        self.held = torch.ones(n, dtype=torch.bool)
        self.learnt = torch.ones(n, dtype=torch.bool)
        self.named = torch.zeros(n, dtype=torch.bool)  # by position: not to be drawn at random
        self.late = torch.empty(0, dtype=torch.int64)
        self.steps: list[Step] = []
        self.after: list[Tensor] = []
        self.counts = {"request": 0, "learn": 0}

    def plan(self) -> Requests:
        requests = self.said.requests or (() if self.asked is not None else DEFAULT)
        self._reserve(requests)
        self._learn_tasks()
        for i, request in enumerate(requests):
            for _ in range(request.times):
                if request.learn is not None:
                    self._arrive(request.learn)
                else:
                    idx = self._wanted(request, ("protocol", "requests", i))
                    self._forget(idx, ("protocol", "requests", i))
        if self.asked is not None:
            self._forget(self._still_held(self.asked, ("data", "forget")), ("data", "forget"))
        return Requests(
            tuple(self.steps), tuple(self.after), self.said.head, tuple(self._shadows())
        )

    def _reserve(self, requests: Sequence[Request]) -> None:
        """Set apart what arrives late; it must be none of those named by their position."""
        if self.asked is not None:
            self.named[self.asked] = True
        for i, request in enumerate(requests):
            at = ("protocol", "requests", i, "positions")
            far = [p for p in request.positions if not 0 <= p < len(self.y)]
            if far:
                last = len(self.y) - 1
                self._stop(
                    "G441", f"`data.train` has positions 0 to {last}, not {_listed(far)}", at
                )
            if len(set(request.positions)) < len(request.positions):
                repeated = [p for p in set(request.positions) if request.positions.count(p) > 1]
                raise JobError(_twice(f"positions {_listed(repeated)}", at))
            self.named[list(request.positions)] = True
        arriving = sum((r.learn or 0) * r.times for r in requests)
        free = (~self.named).nonzero().flatten()
        if arriving >= len(free):
            message = f"{arriving} samples cannot be held back of {len(free)}"
            self._stop("G441", message, ("protocol", "requests"))
        order = torch.randperm(len(free), generator=generator(self.seed, "unlearn/late"))
        self.late = free[order[:arriving]]
        self.held[self.late] = self.learnt[self.late] = False

    def _learn_tasks(self) -> None:
        if self.said.tasks > len(self.classes):
            message = f"{self.said.tasks} tasks cannot be made of {len(self.classes)} classes"
            self._stop("G441", message, ("protocol", "tasks"))
        for number in range(self.said.tasks):
            idx = (torch.isin(self.y, self._task(number)) & self.held).nonzero().flatten()
            self._step(f"task-{number}", True, idx)
        self.after = [
            (torch.isin(self.y, torch.cat([self._task(t) for t in range(i + 1)])) & self.held)
            .nonzero()
            .flatten()
            for i in range(self.said.tasks)
        ]

    def _task(self, number: int) -> Tensor:
        return torch.arange(len(self.classes)).tensor_split(self.said.tasks)[number]

    def _arrive(self, n: int) -> None:
        idx, self.late = self.late[:n].sort().values, self.late[n:]
        self.held[idx] = self.learnt[idx] = True
        self.counts["learn"] += 1
        self._step(f"learn-{self.counts['learn']}", True, idx)

    def _forget(self, idx: Tensor, at: JobPath) -> None:
        self.held[idx] = False
        if not bool(self.held.any()):
            self._stop("G444", "nothing would be left to predict with after this request", at)
        self.counts["request"] += 1
        self._step(f"request-{self.counts['request']}", False, idx)

    def _step(self, name: str, learns: bool, idx: Tensor) -> None:
        there = self.y[self.held].unique()
        gone = tuple(c for c in self.y[self.learnt].unique().tolist() if c not in there)
        self.steps.append(Step(name, learns, idx, gone))
        self.after.append(self.held.nonzero().flatten())

    def _wanted(self, request: Request, at: JobPath) -> Tensor:
        """Positions to forget, sorted."""
        if request.samples is not None:
            free = (self.held & ~self.named).nonzero().flatten()
            if request.samples > len(free):
                message = f"{request.samples} samples cannot be drawn of the {len(free)} held"
                self._stop("G441", message, (*at, "samples"))
            drawn = generator(self.seed, "unlearn/request", self.counts["request"])
            return free[torch.randperm(len(free), generator=drawn)[: request.samples]].sort().values
        if request.positions:
            return self._still_held(torch.tensor(sorted(request.positions)), (*at, "positions"))
        if request.task is not None and request.task >= self.said.tasks:
            message = f"there is no task {request.task}: they are 0 to {self.said.tasks - 1}"
            self._stop("G441", message, (*at, "task"))
        key = "classes" if request.classes else "task"
        labels = self._labels(request, at) if request.classes else self._task(request.task or 0)
        idx = (torch.isin(self.y, labels) & self.held).nonzero().flatten()
        if not len(idx):
            said = ", ".join(f"`{self.classes[int(c)]}`" for c in labels)
            raise JobError(_twice(f"all samples of {said}", (*at, key)))
        return idx

    def _labels(self, request: Request, at: JobPath) -> Tensor:
        found = []
        for said in request.classes:
            known = said in range(len(self.classes)) if isinstance(said, int) else False
            if not known and str(said) not in self.classes:
                there = ", ".join(f"`{name}`" for name in self.classes[:10])
                self._stop(
                    "G441", f"there is no class `{said}`", (*at, "classes"), f"there are {there}"
                )
            found.append(int(said) if known else list(self.classes).index(str(said)))
        return torch.tensor(found)

    def _still_held(self, idx: Tensor, at: JobPath) -> Tensor:
        never = idx[~self.learnt[idx]].tolist()
        if never:
            message = f"positions {_listed(never)} have not been learnt by then"
            self._stop("G442", message, at)
        gone = idx[~self.held[idx]].tolist()
        if gone:
            raise JobError(_twice(f"positions {_listed(gone)} of `data.train`", at))
        return idx

    def _shadows(self) -> list[Tensor]:
        held = self.held.nonzero().flatten()
        halves = []
        for s in range(self.said.shadows):
            order = torch.randperm(len(held), generator=generator(self.seed, "unlearn/shadow", s))
            halves.append(held[order[: max(1, len(held) // 2)]].sort().values)
        return halves

    def _stop(self, code: str, message: str, at: JobPath, label: str = "") -> None:
        raise JobError(Problem(code, message, at=at, label=label))


def _twice(what: str, at: JobPath) -> Problem:
    return Problem(
        "G443",
        f"{what} would be forgotten twice",
        at=at,
        notes=("taking a sample out a second time takes out something else",),
        remedies=("ask for each sample once",),
    )


def _listed(places: Sequence[int]) -> str:
    more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
    return ", ".join(map(str, places[:_NAMED])) + more
