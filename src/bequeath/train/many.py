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
from bequeath.kernel.errors import Interrupted, Problem, RunError
from bequeath.train import optim
from bequeath.train.batches import Batches
from bequeath.train.config import Train
from bequeath.train.context import Context
from bequeath.train.interrupt import watch
from bequeath.train.seeds import derive
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
    Batched training that is stopped begins anew; one after the other each goes on.
    Raises what `fit` raises; ValueError for `batched=True` where that cannot be.
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


class _Places:
    """Positions 0..n-1 as a data set: the order of a fit, without its samples."""

    def __init__(self, n: int):
        self._n = n

    def __len__(self) -> int:
        return self._n

    def fetch(self, idx: Tensor) -> dict[str, Any]:
        return {"idx": idx}


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
    y, where = batch["y"].to(ctx.device), where.to(ctx.device)
    states = [dict(s.module.named_parameters()) for s in starts]
    params = {
        key: torch.stack([states[jobs[k].start][key].detach() for k in group]).requires_grad_()
        for key in states[0]
    }
    torch.manual_seed(derive(ctx.seed, f"{name}/{group[0]}"))  # dropout draws from here
    _descend(ctx, base.module, params, x, y, where)
    for i, k in enumerate(group):
        with torch.no_grad():
            for key, p in base.module.named_parameters():
                p.copy_(params[key][i])
        yield k, base.eval()


def _descend(
    ctx: Context, module: nn.Module, params: dict[str, Tensor], x: Tensor, y: Tensor, rows: Tensor
) -> None:
    """Gradient descent of K models at once. x [P, ...], y [P], rows int64 [K, n] into both."""
    train = ctx.train
    source = Batches(_Places(rows.shape[1]), train.batch_size, ctx.seed)
    total = train.steps if train.steps is not None else train.epochs * len(source)
    stacked: Any = list(params.values())
    optimizer = optim.build(stacked, train.optimizer, list(params))
    schedule = optim.schedule(optimizer, train.schedule, total)
    module.train()

    def loss(one: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(module, one, (x,)), y)

    losses = torch.vmap(loss, randomness="different")
    done = epoch = 0
    value = torch.zeros(1)
    with watch() as interruption:
        while done < total and not ctx.budget.over():
            for batch in source.epoch(epoch):
                picked = rows[:, batch["idx"].to(rows.device)]
                value = losses(params, x[picked], y[picked])
                optimizer.zero_grad(set_to_none=True)
                value.sum().backward()
                optimizer.step()
                schedule.step()
                done += 1
                if interruption.signal:
                    text = f"stopped by {interruption.signal}; run it again to go on"
                    raise Interrupted(text)
                if done >= total:
                    break
            epoch += 1
            if not bool(value.isfinite().all()):
                message = f"the loss is not finite after step {done}"
                help_ = "lower `train.optimizer.lr`"
                raise RunError(Problem("T601", message, remedies=(help_,)))
