"""A stream of tasks out of the job's data, and the accuracy matrix that comes of it.

After each task the method hands over what it has (`ctx.stage`), and its answers on the test parts
of all tasks are measured there and then. Answers count within their scope: the classes of the task
where its number is given, else those seen so far.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bequeath.blocks.task_stream import Scope, TaskSamples, build, class_groups
from bequeath.evidence.record import POINTS, SHARE, Curve, Metric, Table
from bequeath.fleet.evaluate import BATCH, describe
from bequeath.fleet.gates import Opened
from bequeath.fleet.measured import Measured
from bequeath.given.access import Labels
from bequeath.given.given import DataView
from bequeath.given.samples import Samples
from bequeath.given.subset import Joined
from bequeath.job.job import Arm
from bequeath.kernel.errors import Problem, RunError
from bequeath.methods.catalog import family_of
from bequeath.methods.continual._stream import Capacity, Stream, Task
from bequeath.methods.contract import Outcome
from bequeath.metrics import continual as of
from bequeath.train.context import Context
from bequeath.train.seeds import generator

START = "start"
_UNITS = {"bwt": POINTS, "fwt": POINTS, "forgetting": POINTS, "nbt": POINTS, "logit_drift": None}
_LABELS = {
    "acc": "accuracy over all tasks at the end",
    "bwt": "backward transfer (GEM)",
    "fwt": "forward transfer (GEM)",
    "forgetting": "forgetting (best minus last)",
    "aia": "average incremental accuracy",
    "learning_acc": "accuracy just after learning",
    "nbt": "negative backward transfer (LIBERO)",
    "logit_drift": "largest change of a learnt task's logits",
}


def problems(opened: Opened) -> list[Problem]:
    """G436: a task that would have nothing to learn from or to be judged by."""
    found = []
    for role in ("train", opened.job.evaluate.data):
        try:
            if role in opened.samples:
                tasks_of(opened.job.protocol, opened.samples[role], 0, judge=role != "train")
        except ValueError as error:
            message = f"the stream cannot be made of `data.{role}`: {error}"
            found.append(Problem("G436", message, ("data", role)))
    return found


def tasks_of(said: Any, samples: Samples, seed: int, judge: bool = False) -> list[TaskSamples]:
    """The tasks that a `protocol:` makes of a data set. judge: all samples judge every task.

    ValueError says which task has no samples, or why there are none.
    """
    return build(
        said.stream,
        samples,
        said.tasks,
        partial(_rng, seed),
        order=said.order,
        step=said.step,
        disjoint=said.disjoint and not judge,
    )


def stream_of(said: Any, samples: Samples, seed: int, *, at_once: bool = False) -> Stream:
    """What a method finds as `given.protocol`. at_once: it may have the data of all together."""
    parts = tasks_of(said, samples, seed)
    n_classes = len(samples.classes)
    groups = [tuple(range(n_classes))] * said.tasks
    if said.stream == "split":
        groups = class_groups(n_classes, said.tasks, partial(_rng, seed), said.order)
    tasks = [
        Task(
            name=f"task-{t + 1}",
            index=t,
            classes=groups[t],
            train=DataView("train", Labels.ALL, part, []),
            close=part.close,
        )
        for t, part in enumerate(parts)
    ]
    whole = DataView("train", Labels.ALL, Joined(parts), []) if at_once else None
    return Stream(tuple(tasks), said.task_ids, n_classes, whole)


def _rng(seed: int, name: str, *counters: int) -> torch.Generator:
    return generator(seed, f"stream/{name}", *counters)


class Run:
    """One method on one stream.

    accuracy: [T + 1, T], before the first task and after each; NaN where nothing was handed over.
    """

    def __init__(self, opened: Opened, arm: Arm, seed: int):
        said = opened.job.protocol
        self.opened, self.device = opened, opened.device
        samples = opened.samples["train"]
        at_once = bool(getattr(arm.config, "at_once", False))
        self.offer = stream_of(said, samples, seed, at_once=at_once)
        self.first = tasks_of(said, samples, seed)[0]
        self.tests = [
            part.to(self.device) for part in tasks_of(said, opened.judge, seed, judge=True)
        ]
        self.scope = Scope(self.offer)
        t = len(self.offer)
        self.accuracy = torch.full((t + 1, t), torch.nan, dtype=torch.float64)
        self.correct: list[Tensor] = []
        self.learnt: dict[int, Tensor] = {}  # logits on a task's test part, just after learning it
        self.drift: dict[int, float] = {}
        self.within: dict[str, dict[int, float]] = {}  # what was handed over inside a task

    def data(self) -> dict[str, Samples]:
        """A model is fitted to what there is when it begins: the first task."""
        return {"train": self.first}

    def stage(self, name: str, objects: dict[str, Any]) -> None:
        """`start`; the name of a task; or NAME/WHAT, measured on that task alone."""
        model = objects["model"]
        task, _, inside = name.partition("/")
        row = 0 if name == START else self._number(task) + 1
        if inside:
            _, correct = self._ask(model, row - 1, row - 1)
            self.within.setdefault(inside, {})[row - 1] = float(correct.double().mean())
            return
        answers = [self._ask(model, j, row - 1) for j in range(len(self.offer))]
        self.correct = [correct for _, correct in answers]
        self.accuracy[row] = torch.stack([c.double().mean() for c in self.correct])
        if row:
            self._follow(row - 1, [logits for logits, _ in answers])

    def measure(self, outcome: Outcome, ctx: Context) -> Measured:
        if self.accuracy[-1].isnan().any():
            raise RunError(Problem("T645", "the method handed over no model after the last task"))
        terms = self._terms()
        return Measured(
            metrics=self._metrics(len(terms)),
            idx=torch.arange(len(terms)),
            terms={"acc": terms},
            model=describe(outcome.models["model"], self.opened.judge, self.device),  # type: ignore[arg-type]
            tables={"accuracy": self._table(), **_capacity(outcome.answer, self.names)},
            curves=self._curves(),
            notes=self._notes(),
        )

    @property
    def names(self) -> list[str]:
        return [task.name for task in self.offer.tasks]

    def _number(self, name: str) -> int:
        return self.names.index(name)

    def _ask(self, model: Any, task: int, now: int) -> tuple[Tensor, Tensor]:
        """Logits [N, K] on a task's test part, on the CPU, and whether they are right [N]."""
        test = self.tests[task]
        predict: Callable[..., Tensor] = model
        if hasattr(model, "for_task"):
            predict = model.for_task(task)
        else:
            model.eval()
        with torch.inference_mode():
            parts = torch.arange(len(test), device=self.device).split(BATCH)
            logits = torch.cat([predict(test.fetch(idx)).float().cpu() for idx in parts])
        assert test.y is not None
        said = logits.masked_fill(~self.scope.at_test(task, max(now, 0)), -torch.inf)
        return logits, said.argmax(1) == test.y.cpu()

    def _follow(self, now: int, logits: list[Tensor]) -> None:
        """How far the answers to learnt tasks have moved since each was learnt."""
        own = [z[:, list(t.classes)] for z, t in zip(logits, self.offer.tasks)]
        self.learnt.setdefault(now, own[now])
        for j, before in self.learnt.items():
            self.drift[j] = float((own[j] - before).abs().max())

    def _terms(self) -> Tensor:
        """Whether each test sample of each task is right, so weighted that the mean is ACC."""
        total, t = sum(len(c) for c in self.correct), len(self.correct)
        return torch.cat([c.double() * (total / (t * len(c))) for c in self.correct])

    def _metrics(self, n: int) -> dict[str, Metric]:
        """All that the matrix allows, those the job names first. `n`: samples tested."""
        a, start = self.accuracy[1:], self.accuracy[0]
        compute: dict[str, Callable[[], float]] = {
            "acc": lambda: of.acc(a),
            "bwt": lambda: of.bwt(a),
            "fwt": lambda: of.fwt(a, start),
            "forgetting": lambda: of.forgetting(a),
            "aia": lambda: of.average_incremental_accuracy(a),
            "learning_acc": lambda: of.learning_accuracy(a),
            "nbt": lambda: of.negative_backward_transfer(a),
            "logit_drift": self._largest_drift,
        }
        directions = family_of("continual").metrics
        found = {}
        for name in dict.fromkeys([*self.opened.job.evaluate.metrics, *compute]):
            try:
                value = compute[name]()
            except ValueError:  # not every method hands over its model after every task
                continue
            found[name] = Metric(
                value=value,
                direction=directions[name],
                n=n,
                unit=_UNITS.get(name, SHARE),
                label=_LABELS[name],
                terms=name == "acc",
            )
        return found

    def _largest_drift(self) -> float:
        if len(self.drift) < len(self.offer):
            raise ValueError("not every task was handed over just after it was learnt")
        return max(self.drift.values())

    def _table(self) -> Table:
        rows = [[None if v != v else v for v in row] for row in self.accuracy.tolist()]
        return Table(
            columns=self.names,
            rows=rows,
            row_names=["before", *(f"after {name}" for name in self.names)],
            kind="matrix",
            title="Accuracy on each task",
            note="Columns: the test part of a task. Rows: after which task it was measured.",
            unit=SHARE,
            direction="higher",
        )

    def _curves(self) -> dict[str, Curve]:
        t, a = len(self.offer), self.accuracy[1:]
        x = [float(i + 1) for i in range(t)]
        seen = [float(a[i, : i + 1].mean()) for i in range(t)]
        axis: dict[str, Any] = {
            "x": x,
            "x_label": "tasks learnt",
            "y_label": "accuracy",
            "unit": SHARE,
        }
        curves = {
            "seen": Curve(y=_gaps(seen), title="Accuracy on the tasks seen so far", **axis),
            "first": Curve(y=_gaps(a[:, 0].tolist()), title="Accuracy on the first task", **axis),
        }
        for what, values in self.within.items():
            y = [values.get(i) for i in range(t)]
            title = f"Accuracy on the new task at its {what}"
            curves[what.replace(" ", "_")] = Curve(y=y, title=title, **axis)
        return curves

    def _notes(self) -> dict[str, Any]:
        """`start_acc`, `first_epoch_acc`, ...: means over the tasks after the first one."""
        t = len(self.offer)
        notes: dict[str, Any] = {"tasks": t}
        if 0 in self.drift:
            notes["drift_of_first_task"] = self.drift[0]
        for what, values in self.within.items():
            later = [value for task, value in values.items() if task]
            if later:
                notes[f"{what.replace(' ', '_')}_acc"] = sum(later) / len(later)
        return notes


def _capacity(answer: Any, names: list[str]) -> dict[str, Table]:
    if not isinstance(answer, Capacity):
        return {}
    free = Table(
        columns=[f"after {name}" for name in names],
        rows=[list(shares) for shares in answer.free.values()],
        row_names=list(answer.free),
        kind="matrix",
        title="Weights in no task's mask",
        unit=SHARE,
    )
    overlap = Table(
        columns=names,
        rows=[list(row) for row in answer.overlap],
        row_names=names,
        kind="matrix",
        title="Overlap of masks",
        note="Share of the row's weights that the column's mask holds as well.",
        unit=SHARE,
    )
    return {"free_capacity": free, "mask_overlap": overlap}


def _gaps(values: list[float]) -> list[float | None]:
    return [None if v != v else v for v in values]
