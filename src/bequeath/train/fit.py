"""The training loop: one for every method that follows a gradient.

    result = ctx.fit(student, given.data("train"), step)

where `step(batch)` computes named loss terms from a batch. The loop brings the rest: precision,
accumulation, several processes, clipping, learning rate, weight average, progress, log, budget,
checkpoints, and a stop at the first number that is not finite.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bequeath.kernel.errors import Interrupted, Problem, RunError
from bequeath.kernel.units import show_size
from bequeath.train import checkpoint, optim, resume, seeds
from bequeath.train.batches import Batches
from bequeath.train.budget import resident
from bequeath.train.config import Train
from bequeath.train.context import Context, Position, settled
from bequeath.train.failures import explained
from bequeath.train.gradient import Gradient, check
from bequeath.train.interrupt import Interruption, watch
from bequeath.train.length import Until as Until
from bequeath.train.length import lengths
from bequeath.train.meter import Meter
from bequeath.train.progress import Progress
from bequeath.train.quicker import compiled, lay_out, release
from bequeath.train.shard import Shards, not_whole
from bequeath.train.terms import Term

Step = Callable[[dict[str, Any]], Mapping[str, Term]]

_LOG_LINES = 100
# The gradient of each term costs a backward pass of its own: at most one step in fifty pays it.
_SHARE_POINTS, _SHARE_LEAST = 10, 50


@dataclass(frozen=True)
class FitResult:
    """What a fit did.

    steps: optimizer steps; epochs: the passes over the data they made; stopped: "done" or "budget";
    seconds: of training, all sittings together; resumed: steps that were found done already.
    together: of a fit that was one of several in a batched model, how that went (see
    `bequeath.train.together`).
    """

    steps: int
    epochs: float
    stopped: str
    seconds: float
    resumed: int = 0
    together: Mapping[str, Any] | None = None


def fit(
    ctx: Context,
    trainables: nn.Module | Mapping[str, nn.Module],
    data: Any,
    step: Step,
    *,
    until: Until | None = None,
    name: str = "fit",
    train: Train | None = None,
    runs: int | None = None,
    log: bool = True,
) -> FitResult:
    """Train `trainables` until the end of the schedule or of the budget.

    trainables: what is trained and saved, and nothing else (a frozen teacher does not belong here).
        They are in training mode during the fit and in evaluation mode after it.
    data: a data set (`len`, `fetch(idx)`), or batches of your own: `len`, `epoch(number, start)`.
    step: batch -> named terms. What it keeps between calls survives a stop if it is in
        `trainables`. It runs under the precision asked for, and finds the progress in `ctx.now`.
    until, train: in place of the job's settings, for this fit only.
    name: of this fit in a run that has several; a name used before gets a number.
    runs: how many models are trained side by side. Parameters and batches are [runs, ...], and so
        are the terms' values; each run has its own gradient, clipping and lines in the log
        (log: whether there are any).

    A run that was stopped at any instant and is made again goes on from its last checkpoint; on the
    CPU with the same number of threads the result is the same to the last bit.

    Raises RunError: T601 non-finite loss, T602 non-finite gradient, T603 nothing to train, T604 and
    T605 a step that is none, T608 no data, T614 not to be compiled, R520 out of the memory budget,
    R521 disk full. Raises Interrupted after Ctrl-C or SIGTERM, when the checkpoint has been
    written.
    """
    parts = {"model": trainables} if isinstance(trainables, nn.Module) else dict(trainables)
    name = _free_name(ctx, name)
    train = settled(train or ctx.train, ctx.device)
    run = Fit(ctx, parts, data, step, until or Until(), name, train, runs, log)
    try:
        if not run.restore():
            with watch() as interruption, not_whole(run.shards):
                run.loop(interruption)
            run.finish()
            if interruption.signal:  # it came in the last step
                raise Interrupted(f"stopped by {interruption.signal}; run it again to go on")
    finally:
        run.close()
    ctx.fits[name] = result = run.result()
    return result


def _free_name(ctx: Context, name: str) -> str:
    number, free = 1, name
    while free in ctx.fits:
        number += 1
        free = f"{name}-{number}"
    return free


class Container(nn.Module):
    """What is trained, as one module: the only thing that Accelerate is given.

    Its forward takes a closure, since a batch passed through the wrappers would be rebuilt by them.
    """

    def __init__(self, parts: Mapping[str, nn.Module]):
        super().__init__()
        self.parts = nn.ModuleDict(parts)

    def forward(self, compute: Callable[[], Mapping[str, Term]]) -> Mapping[str, Term]:
        return compute()


class Fit:
    """One fit as it runs. Reads in the order: __init__, restore, loop and what it calls, finish."""

    def __init__(
        self,
        ctx: Context,
        parts: dict[str, nn.Module],
        data: Any,
        step: Step,
        until: Until,
        name: str,
        train: Train,
        runs: int | None = None,
        log: bool = True,
    ):
        self.ctx, self.name, self.train, self.parts, self.compute = ctx, name, train, parts, step
        self.runs, self.lines = runs, [] if not log else [None] if runs is None else range(runs)
        self.accelerator = ctx.accelerator(train.precision)
        self.main, self.world, rank = ctx.processes.main, ctx.processes.world, ctx.processes.rank
        seeds.seed_everything(seeds.derive(ctx.seed, f"fit/{name}", rank))
        self.source = source = data
        if not hasattr(data, "epoch"):
            more = {"rank": rank, "world": self.world}
            size, augment = train.batch_size, train.augment
            source = self.source = Batches(data, size, ctx.seed, augment, ctx.device, **more)
        self.total, self.per_epoch = lengths(len(source), until, train)
        self.log_every = max(1, self.total // _LOG_LINES)
        self.share_every = max(_SHARE_LEAST, self.total // _SHARE_POINTS)

        self._prepare(runs)
        self.meter = Meter(ctx.device, train.precision)
        ctx.now = self.now = Position(0, self.total, 0)
        self.batch = 0  # micro-batches done of this epoch
        self.stopped = "done"
        self.resumed = 0
        self.seconds_before = 0.0
        self.together: Mapping[str, Any] | None = None
        self.began = self.logged = self.saved = time.monotonic()
        self.path = resume.place(ctx.store, name)
        self.fingerprint = resume.fingerprint(
            ctx.seed, name, train, self.total, parts, data, self.world
        )
        self.progress: Progress | None = None

    def _prepare(self, runs: int | None) -> None:
        """What trains on its device, wrapped or shared out, and its optimizer."""
        ctx, train, accelerator = self.ctx, self.train, self.accelerator
        container = Container(self.parts).to(ctx.device)
        if not any(p.requires_grad for p in container.parameters()):
            message = (
                "there is nothing to train: no parameter of the trained models wants a gradient"
            )
            raise RunError(Problem("T603", message, label=", ".join(self.parts)))
        sharded = train.shard != "off" and self.world > 1
        if not sharded:  # shards are rows
            lay_out(container, ctx.device)
        self.compiled = compiled(self.parts.values()) if train.compile and not sharded else []
        # What one process of several does alone gets the precision and no exchange of gradients,
        # and shards exchange theirs themselves.
        alone = self.world == 1 or sharded
        self.model = accelerator.prepare_model(container, evaluation_mode=alone)
        self.shards = Shards(container, train, ctx.device) if sharded else None
        if self.shards is not None:
            self.compute = partial(self.shards.step, self.compute)
        named = {name: p for name, p in container.named_parameters() if p.requires_grad}
        self.params = list(named.values())
        try:
            self.raw_optimizer = optim.build(self.params, train.optimizer, optim.own_names(named))
        except RunError:  # the same in all processes
            self._whole()
            raise
        self.scheduler = optim.schedule(self.raw_optimizer, train.schedule, self.total)
        self.ema = optim.Ema(self.params, train.ema) if train.ema else None
        # Accelerate's optimizer is needed for its loss scaler alone; it costs 0.2 ms a step.
        self.optimizer = self.raw_optimizer
        if accelerator.scaler is not None:
            self.optimizer = accelerator.prepare(self.raw_optimizer)
        self.gradient = Gradient(
            accelerator, self.model, self.params, train.batch_size, self.world, runs, self.shards
        )

    def restore(self) -> bool:
        """Go back to this fit's checkpoint, if there is one. True when it was finished."""
        state = resume.shared(self)
        if state is None:
            return False
        if state["done"]:
            self._whole(gathered=False)
        resume.put(self, state)
        self.began = self.logged = self.saved = time.monotonic()
        if state["done"]:
            resume.align(self)
        return bool(state["done"])

    def loop(self, interruption: Interruption) -> None:
        self.model.train()
        shown = self.ctx.show if self.main else False
        self.progress = Progress(self.name, self.total, self.now.step, shown)
        if self.now.step < self.total:
            for _ in self.steps():
                if not self._after_step(interruption):
                    break

    def steps(self) -> Iterator[None]:
        """One optimizer step after the other from where the fit is, without end."""
        while True:
            for batch in self.source.epoch(self.now.epoch, self.batch):
                self._micro(batch)
                if self.batch % self.train.accumulate and self.batch < len(self.source):
                    continue
                self._update()
                yield

    def _micro(self, batch: dict[str, Any]) -> None:
        """Forward and backward of one micro-batch."""
        inside = self.batch % self.train.accumulate
        if inside == 0:
            rest = len(self.source) - self.batch
            self.gradient.start(min(self.train.accumulate, rest))
        with explained(batch["idx"].shape[-1]), self.gradient.context():
            terms = check(self.model(partial(self.compute, batch)), self.runs)
            seldom = inside == 0 and self.now.step % self.share_every == 0
            if seldom and len(terms) > 1 and self.shards is None:
                self.meter.balance = self.gradient.balances(terms)
            self.gradient.add(terms)
        self.meter.terms(self.now.step + 1, batch["idx"], terms)
        self.batch += 1

    def _update(self) -> None:
        """The optimizer step, when all its micro-batches are in."""
        self.gradient.finish()
        norm = self.gradient.clip(self.train.clip, self.train.precision == "fp16")
        self.meter.step(self.now.step + 1, norm)
        self.lr = self.scheduler.get_last_lr()[0]
        self.optimizer.step()
        self._forget_gradients()
        self.scheduler.step()
        if self.ema is not None:
            self.ema.update()
        self.now.step += 1
        if self.batch == len(self.source):
            self.now.epoch, self.batch = self.now.epoch + 1, 0

    def _forget_gradients(self) -> None:
        for p in self.params:
            p.grad = None

    def _after_step(self, interruption: Interruption) -> bool:
        """Log, show, save, obey the budget and signals. False when the fit is over."""
        now = time.monotonic()
        last = self.now.step >= self.total
        over = self.ctx.budget.over()
        due = now - self.saved >= self.train.checkpoint_every
        stop, come, due = self._agree(over, bool(interruption.signal), due)
        if last or stop or self.now.step % self.log_every == 0:
            self._log(now)
        elif self.progress is not None and self.progress.due(now):
            self._show(now)
        if last:
            return False
        if stop:
            self.stopped = "budget"
            return False
        if come or due:
            self.save()
        if come:
            self._whole()
            at = f"{interruption.signal or 'a signal'} at step {self.now.step} of {self.total}"
            raise Interrupted(f"stopped by {at}; run it again to go on")
        return True

    def _sum(self, table: Tensor) -> Tensor:
        return self.accelerator.reduce(table, "sum")

    def _agree(self, *flags: bool) -> list[bool]:
        """Processes look at different clocks; what one has seen holds for all."""
        if self.world == 1:
            return list(flags)
        table = torch.tensor(flags, dtype=torch.float32, device=self.ctx.device)
        return [value > 0 for value in self._sum(table).tolist()]

    def _log(self, now: float) -> None:
        means = self.meter.means(self._sum if self.world > 1 else None)
        self._show(now)
        resting = max(now - self.logged, 1e-9)
        for run in self.lines:
            line: dict[str, Any] = {} if run is None else {"run": run}
            line |= {} if self.name == "fit" else {"fit": self.name}
            line |= {
                "step": self.now.step,
                "epoch": round(self.now.step / self.per_epoch, 4),
                "seconds": round(self._seconds(now) / (self.runs or 1), 3),  # its share
                "lr": self.lr,
                **self.meter.line(means, run),
                "throughput": round(self.meter.samples * self.world / resting, 1),
            }
            self.ctx.log(line)
        self.meter.reset()
        self.logged = now
        limit = self.ctx.memory
        if limit is not None and (held := resident()) > limit:
            message = f"the run holds {show_size(held)} of memory; the budget is {show_size(limit)}"
            help_ = "lower `train.batch_size` (and raise `train.accumulate`), or raise the budget"
            raise RunError(Problem("R520", message, at=("budget", "memory"), remedies=(help_,)))

    def _show(self, now: float) -> None:
        if self.progress is not None:
            means, shares = self.meter.means(), self.meter.balance[0].shares
            if self.runs is not None:
                means, shares = {name: float(v.mean()) for name, v in means.items()}, {}
            rate = self.meter.samples * self.world / max(now - self.logged, 1e-9)
            self.progress.show(self.now.step, rate, means, shares)

    def _seconds(self, now: float) -> float:
        return self.seconds_before + now - self.began

    def save(self, done: bool = False) -> None:
        """Write the checkpoint (all processes call it, the main one writes)."""
        self.meter.flush()
        state = resume.take(self, done, self._seconds(time.monotonic()))
        if self.main:
            checkpoint.save(self.path, state)
        self.saved = time.monotonic()

    def finish(self) -> None:
        """The end of the schedule or of the budget: the average, if there is one, is the result."""
        self.meter.flush()
        if self.ema is not None and self.now.step:
            self.ema.apply()
        self._whole()
        self.save(done=True)
        resume.align(self)

    def _whole(self, gathered: bool = True) -> None:
        """What was shared out is ordinary again; not gathered (one process cannot), it is NaN."""
        if self.shards is not None:
            if gathered:
                self.shards.gather()
            self.shards.undo()
            self.shards = None

    def result(self) -> FitResult:
        seconds = self._seconds(self.saved)
        ends = (self.stopped, seconds, self.resumed, self.together)
        return FitResult(self.now.step, self.now.step / self.per_epoch, *ends)

    def close(self) -> None:
        if self.progress is not None:
            self.progress.close()
        self._whole(gathered=False)
        for part in self.parts.values():
            part.eval()
        release(self.compiled)
        self._forget_gradients()
        # Accelerate keeps what it prepared. Its `free_memory` would collect garbage too: 0.1 s.
        self.accelerator._models.clear()
        self.accelerator._optimizers.clear()
