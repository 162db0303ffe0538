"""Unlearning is judged beside the model that never learnt: `retrain`, whose runs come first.

After each request the method hands over its model, and its head where it has one. Here it is timed,
it predicts, and is held against what `retrain` did at the same request and seed, which lies in
`gold.safetensors` of that run's folder. Nothing in it asks for a head in closed form: a method of
whole networks hands over its model, and `gold_gap` is left out.
"""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bequeath.fleet.evaluate import describe, measure, predict, sample_terms, scores
from bequeath.fleet.gates import Opened
from bequeath.fleet.measured import Measured
from bequeath.fleet.protocols import _unlearn_report as report
from bequeath.fleet.protocols._unlearn_requests import find_in, plan_requests
from bequeath.given.subset import Rows
from bequeath.job.job import Arm
from bequeath.kernel.errors import JobError, Problem
from bequeath.methods.catalog import family_of
from bequeath.methods.contract import Outcome
from bequeath.methods.unlearn import Protocol, Requests
from bequeath.metrics.names import NAMES
from bequeath.train.context import Context

GOLD = "gold.safetensors"
PLAIN = torch.contiguous_format
PROBE = 1000  # judging samples looked at after each request; at the end it is all of them
MOST = 5000  # forgotten and held samples that are looked at
NEED_GOLD = (
    "gold_gap", "agreement", "gold_divergence", "forget_accuracy_gap", "mia_gap", "lira_auc",
    "lira_gap",
)  # fmt: skip


def problems(opened: Opened) -> list[Problem]:
    """What cannot be asked for, and what cannot be measured."""
    job, train = opened.job, opened.samples["train"]
    found = []
    if train.classes != opened.judge.classes:
        message = f"`data.train` and `data.{job.evaluate.data}` have different classes"
        found.append(Problem("G405", message, at=("data", job.evaluate.data)))
    if train.kind == "text" and "model" not in job.models:
        message = "`data.train` holds texts, and there is no `models.model` to read them"
        found.append(Problem("G445", message, at=("data", "train")))
    first = family_of(job.want).first
    lacking = [name for name in job.evaluate.metrics if name in NEED_GOLD]
    if lacking and not any(arm.method.name == first for arm in job.arms):
        found.append(_no_gold(lacking[0]))
    elif not _settings(opened).shadows and (asked := [m for m in lacking if m.startswith("lira")]):
        message = f"`{asked[0]}` needs shadow models, and none are asked for"
        remedies = ("set `protocol: {shadows: 8}`",)
        found.append(Problem("G440", message, ("evaluate", "metrics"), "", remedies))
    try:
        asked_for = _asked(opened)
        for seed in job.seeds:
            _plan(opened, seed, asked_for)
    except JobError as error:
        found += error.problems
    return found


def _no_gold(metric: str) -> Problem:
    return Problem(
        "G440",
        f"`{metric}` is measured against `retrain`, which is not among the methods",
        at=("evaluate", "metrics"),
        remedies=(
            "leave `baselines` on, or add `retrain` to `method`",
            "or ask for what needs no gold: `forget_accuracy`, `mia_advantage`",
        ),
    )


def _asked(opened: Opened) -> Tensor | None:
    """Where the samples of the data set `forget` lie in the training data."""
    wanted = opened.samples.get("forget")
    return None if wanted is None else find_in(opened.samples["train"], wanted)


def _plan(opened: Opened, seed: int, asked: Tensor | None) -> Requests:
    train = opened.samples["train"]
    assert train.y is not None, "the gate refuses training data without labels"
    return plan_requests(_settings(opened), train.y, train.classes, seed, asked)


def _settings(opened: Opened) -> Protocol:
    assert isinstance(opened.job.protocol, Protocol), "the schema types it"
    return opened.job.protocol


class Run:
    """One arm with one seed, request by request."""

    def __init__(self, opened: Opened, arm: Arm, seed: int):
        self.opened, self.arm, self.seed = opened, arm, seed
        self.offer = _plan(opened, seed, _asked(opened))
        self.first = family_of(opened.job.want).first
        self.is_gold = arm.method.name == self.first
        self.steps = {step.name: step for step in self.offer.steps}
        # Before the last task the model does not know all classes yet.
        last = [step.name for step in self.offer.steps if step.name.startswith("task-")][-1]
        self.skipped = {s.name for s in self.offer.steps if s.name.startswith("task-")} - {last}
        self.stages: list[report.Stage] = []
        self.shadows: list[Tensor] = []
        self.mark = time.perf_counter()

    def stage(self, name: str, objects: dict[str, Any]) -> None:
        """After a step: how long it took, and what the model is then."""
        seconds = time.perf_counter() - self.mark
        if name.startswith("shadow-"):
            logits = [self._logits(objects["model"], data) for data in self.attacked]
            self.shadows.append(torch.cat(logits))
        elif name not in self.skipped:
            pred = self._logits(objects["model"], self.probe).argmax(1)
            W = objects.get("head")
            head = None if W is None else W.detach().double().cpu().clone(memory_format=PLAIN)
            self.stages.append(report.Stage(self.steps[name], seconds, pred, head))
        self.mark = time.perf_counter()

    def measure(self, outcome: Outcome, ctx: Context) -> Measured:
        model: Any = outcome.models[str(family_of(self.opened.job.want).result)]
        opened, names = self.opened, self.opened.job.evaluate.metrics
        logits = self._logits(model, opened.judge)
        y, plain = opened.answers, tuple(n for n in names if n in NAMES)
        gold = None if self.is_gold else self._gold()
        mine = self._found(model, logits, gold)
        gold = mine if self.is_gold else gold
        resumed = any(fit.resumed for fit in ctx.fits.values())
        found = report.figures(mine, gold, self.stages, resumed=resumed)
        every = measure(logits, y, plain) | report.metrics(found, self.stages, mine)
        terms = {name: terms for name, (_, terms) in found.items() if terms is not None}
        columns = scores(logits, y)
        return Measured(
            metrics={name: every[name] for name in names if name in every},
            idx=columns["idx"],
            terms=sample_terms(logits, y, plain) | {n: t for n, t in terms.items() if n in names},
            answers={**columns, "classes": opened.judge.classes},
            model=describe(model, opened.judge, opened.device),
            tables=report.tables(self.stages, gold),
            curves=report.curves(self.stages, gold),
            notes=report.notes(found, self.stages, mine, gold),
            save=(lambda part: save_file(mine, part / GOLD)) if self.is_gold else None,
        )

    @cached_property
    def probe(self) -> Rows:
        judge = self.opened.judge
        return Rows(judge, _spread(torch.arange(len(judge)), PROBE))

    @cached_property
    def forgotten(self) -> Tensor:
        """Everything that was asked to be forgotten, at most MOST of it."""
        gone = [step.idx for step in self.offer.steps if not step.learns]
        return _spread(torch.cat(gone).sort().values, MOST) if gone else torch.empty(0).long()

    @cached_property
    def attacked(self) -> tuple[Rows, Rows]:
        """What an attacker is shown: the forgotten, and those never seen."""
        train, judge = self.opened.samples["train"], self.opened.judge
        return Rows(train, self.forgotten), Rows(judge, _spread(torch.arange(len(judge)), MOST))

    def _found(
        self, model: Any, logits: Tensor, gold: dict[str, Tensor] | None
    ) -> dict[str, Tensor]:
        """What is known of this run by itself, as tensors; of the gold, what the others need."""
        train = self.opened.samples["train"]
        assert train.y is not None, "the gate refuses training data without labels"
        held = Rows(train, _spread(self.offer.held[-1], MOST))
        inside, outside = self.attacked
        y_in, y_out = train.y.cpu()[inside.rows], self.opened.answers[outside.rows]
        of_forgotten = self._logits(model, inside) if len(inside) else logits[:0]
        found = {
            "logits": logits,
            "retain": _hits(self._logits(model, held), train.y.cpu()[held.rows]),
            "forget": _hits(of_forgotten, y_in),
        }
        if self.shadows:
            found["shadows"] = torch.stack(self.shadows)
        shadows = (gold or found).get("shadows")
        both = torch.cat([of_forgotten, logits[outside.rows]])
        found |= report.attacks(both, y_in, y_out, shadows)
        for stage in self.stages:
            found |= stage.tensors()
        found["seconds"] = torch.tensor(report.seconds(self.stages) or 0.0)
        return found

    def _gold(self) -> dict[str, Tensor] | None:
        """What the gold left for this seed; None where it is not among the arms."""
        for arm in self.opened.job.arms:
            if arm.method.name == self.first:
                runs = self.opened.job.out / "runs"
                return _read(runs / arm.label / f"seed-{self.seed}" / GOLD)
        return None

    def _logits(self, model: Any, data: Any) -> Tensor:
        return predict(model, data, self.opened.device)[0]


def _read(path: Path) -> dict[str, Tensor] | None:
    return load_file(path) if path.is_file() else None


def _spread(idx: Tensor, most: int) -> Tensor:
    """At most so many of them, evenly spaced."""
    if len(idx) <= most:
        return idx
    return idx[torch.arange(most) * len(idx) // most]


def _hits(logits: Tensor, y: Tensor) -> Tensor:
    return (logits.argmax(1) == y).double()
