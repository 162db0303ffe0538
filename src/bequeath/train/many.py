"""Many small models of one architecture, each on its own rows of one data set.

    for k, model in fit_many(ctx, starts, data, jobs): ...

Small networks leave a processor idle between their operations. Where it is possible they train as
one batched model (`torch.func`): the same rows in the same order, the same optimizer and schedule
as `ctx.fit` would give each of them alone, so the results agree but for the rounding of sums. Where
it is not (BatchNorm, gradient clipping, random views, ...), they train one after the other.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from bequeath.given.bound import BoundModel
from bequeath.given.samples import Samples
from bequeath.given.subset import Rows
from bequeath.kernel.errors import Problem, RunError
from bequeath.kernel.files import digest
from bequeath.train.batches import Batches
from bequeath.train.config import Train
from bequeath.train.context import Context
from bequeath.train.fit import Container, fit
from bequeath.train.stack import stacked, step_of_all, unstack
from bequeath.train.terms import Term, mean_over

MOST_VALUES = 4_000_000  # numbers of a batched step's inputs, and of its parameters


@dataclass(frozen=True)
class Small:
    """start: which of the initial models. rows: the samples it learns from, int64 [n]."""

    start: int
    rows: Tensor


def cross_entropy_step(model: nn.Module) -> Any:
    """batch -> the terms of plain supervised training."""

    def step(batch: Mapping[str, Any]) -> dict[str, Term]:
        loss = F.cross_entropy(model(batch), batch["y"], reduction="none")
        return {"ce": mean_over(loss)}

    return step


def fit_many(
    ctx: Context,
    starts: Sequence[BoundModel],
    data: Samples,
    jobs: Sequence[Small],
    *,
    name: str = "many",
    batched: bool | None = None,
) -> Iterator[tuple[int, BoundModel]]:
    """Train a model for each of `jobs` with cross-entropy; yields (its number, the model).

    starts: initial models; they stay as they are. data: labelled. batched: None decides by what the
    models and the settings allow. A yielded model is in evaluation mode and valid until the next.
    Training that was stopped goes on. Raises what `fit` raises; ValueError for `batched=True` where
    that cannot be.
    """
    possible = can_batch(ctx, starts, data)
    if batched and not possible:
        raise ValueError("these models or settings cannot be trained as one batched model")
    if not (possible if batched is None else batched):
        for k, job in enumerate(jobs):
            model = copy.deepcopy(starts[job.start])
            ctx.fit(model, Rows(data, job.rows), cross_entropy_step(model), name=f"{name}-{k}")
            yield k, model
        return
    for group in _groups(ctx.train, starts[0], data, jobs):
        yield from _together(ctx, starts, data, jobs, group, name)


def can_batch(ctx: Context, starts: Sequence[BoundModel], data: Samples) -> bool:
    """Whether training them as one is the same as one by one, and quicker.

    Convolutions are left out: as grouped ones they are slower on a processor than one by one.
    """
    train, module = ctx.train, starts[0].module
    plain = train.precision == "fp32" and train.clip is None and train.ema is None
    plain = plain and not train.augment.active and train.accumulate == 1 and not train.compile
    if not plain or data.kind == "text" or data.lazy:
        return False
    if ctx.processes.world > 1 or any(True for _ in module.buffers()):
        return False
    slow = (_BatchNorm, nn.modules.conv._ConvNd, nn.RNNBase)
    trained = [p.requires_grad for p in module.parameters()]
    return bool(trained) and all(trained) and not any(isinstance(m, slow) for m in module.modules())


def _groups(
    train: Train, model: BoundModel, data: Samples, jobs: Sequence[Small]
) -> Iterator[list[int]]:
    """Jobs that train together: equally many samples, and no more than fits the cache."""
    inputs = train.batch_size
    for side in data.shape:
        inputs *= side
    parameters = sum(p.numel() for p in model.module.parameters())
    most = max(1, MOST_VALUES // max(inputs, parameters, 1))
    by_size: dict[int, list[int]] = {}
    for k, job in enumerate(jobs):
        by_size.setdefault(len(job.rows), []).append(k)
    for numbers in by_size.values():
        yield from (numbers[i : i + most] for i in range(0, len(numbers), most))


class _Picked:
    """The batches of a group, [models, B, ...]: one order of positions, each model's own rows.

    x [P, ...] is preprocessed; rows int64 [models, n] into x and y.
    """

    def __init__(self, train: Train, seed: int, x: Tensor, y: Tensor, rows: Tensor, hash: str):
        self.x, self.y, self.rows, self.hash = x, y, rows, hash
        self._order = Batches(_Places(rows.shape[1]), train.batch_size, seed)

    def __len__(self) -> int:
        return len(self._order)

    def epoch(self, number: int, start: int = 0) -> Iterator[dict[str, Any]]:
        for places in self._order.places(number, start):
            picked = self.rows[:, places.to(self.rows.device)]
            yield {"idx": picked, "x": self.x[picked], "y": self.y[picked]}


class _Places:
    """Positions 0..n-1 as a data set: the order of a fit, without its samples."""

    def __init__(self, n: int):
        self._n = n

    def __len__(self) -> int:
        return self._n

    def fetch(self, idx: Tensor) -> dict[str, Any]:
        return {"idx": idx}


class _Raw(nn.Module):
    """A model that takes what is preprocessed already."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        return self.module(batch["x"])


def _together(
    ctx: Context,
    starts: Sequence[BoundModel],
    data: Samples,
    jobs: Sequence[Small],
    group: list[int],
    name: str,
) -> Iterator[tuple[int, BoundModel]]:
    rows = torch.stack([jobs[k].rows for k in group])
    if rows.shape[1] == 0:
        raise RunError(Problem("T608", "there is nothing to train on: the data set is empty"))
    base = copy.deepcopy(starts[0])
    used, where = rows.unique(return_inverse=True)
    batch = data.fetch(used)
    x = cast(Tensor, base.preprocess(batch, ctx.device))  # texts, which are mappings, do not come
    about = digest(f"{data.hash} {[jobs[k].start for k in group]}", rows.numpy().tobytes())
    y, where = batch["y"].to(ctx.device), where.to(ctx.device)
    source = _Picked(ctx.train, ctx.seed, x, y, where, about)
    alone: dict[str, nn.Module] = {"model": _Raw(base.module)}
    both = stacked([{"model": _Raw(starts[jobs[k].start].module)} for k in group])
    step = cross_entropy_step(alone["model"])
    compute = step_of_all(step, Container(alone), Container(both), draws=True)
    fit(ctx, both, source, compute, name=f"{name}-{about}", runs=len(group), log=False)
    for i, k in enumerate(group):
        unstack(Container(both), i, Container(alone))
        yield k, base.eval()
