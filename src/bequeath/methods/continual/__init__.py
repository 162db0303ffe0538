"""Continual learning: tasks come one after another, and the old ones should stay known.

    want: continual
    method: [exssnet, er]
    protocol: {stream: permuted, tasks: 10}
    models: {model: {ref: "zoo:mlp?hidden=300,300"}}
    data: {train: {ref: ...}, test: {ref: ...}}

The protocol makes the stream from one data set, the same for every arm of a seed: its classes in
groups, its pixels in another order, or its images turned a little further. A method sees one task
at a time; when it takes the next, the data of the last are closed. After each task its answers on
the test parts of all tasks are measured and fill one accuracy matrix A[i, j]: on task j after task
i. ACC, BWT (GEM: last minus just learnt), FWT (GEM), forgetting (best minus last) and others follow
from it, see `bequeath.metrics.continual`.

With task numbers given at test, answers are taken among the task's own classes
(task-incremental); without, among all classes seen so far (class-incremental), or all classes
where tasks share them (domain-incremental). Two anchors are added to every job: learning on
without precaution (`finetune`), and learning everything at once (`joint`). Each task takes
`train.epochs`; all methods of a comparison train equally long.

A model's input is scaled by what the first task has. Vectors are scaled feature by feature, which
does not suit permuted ones: where they are pixels, read them as images (`?as=image`), which have
one scale.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field

from bequeath.kernel.errors import Problem
from bequeath.methods.family import Family, Settings

_CARD = "common in the literature; no paper's own"


class Protocol(Settings):
    """The stream of tasks, the same for every method."""

    stream: Literal["split", "permuted", "rotated"] = Field(
        "split",
        description="how tasks are made: groups of classes, orders of pixels, angles",
        json_schema_extra={"source": "split MNIST and CIFAR, permuted and rotated MNIST"},
    )
    tasks: int = Field(
        5,
        ge=1,
        le=190,
        description="T, how many tasks",
        json_schema_extra={"source": "split MNIST"},
    )
    task_ids: bool = Field(
        True,
        description="whether the number of its task is given with a sample to be classified",
        json_schema_extra={"source": "task-incremental learning"},
    )
    order: Literal["listed", "random"] = Field(
        "listed",
        description="split: classes in the data's order, or in one drawn for each seed",
        json_schema_extra={"source": "split MNIST"},
    )
    step: float = Field(
        15.0,
        ge=-180,
        le=180,
        description="rotated: degrees from one task to the next",
        json_schema_extra={"source": _CARD},
    )
    disjoint: bool = Field(
        False,
        description="permuted, rotated: tasks have different samples, an equal share each",
        json_schema_extra={"source": "permuted MNIST uses the same images for every task"},
    )


def problems(job: Any) -> Iterable[Problem]:
    """What headers show: streams that cannot be made, methods that cannot do without task ids."""
    said: Protocol = job.protocol
    train = job.data["train"].facts if "train" in job.data else None
    if said.stream == "split" and train is not None and train.n_classes is not None:
        least = 2 if said.task_ids else 1
        if train.n_classes < least * said.tasks:
            most = train.n_classes // least
            yield Problem(
                "G432",
                f"{train.n_classes} classes do not make {said.tasks} tasks",
                ("protocol", "tasks"),
                "a task needs two classes to tell apart" if least == 2 else "",
                (f"say `tasks: {most}` or fewer", "or `stream: permuted`, which divides nothing"),
            )
    if train is not None and train.kind is not None:
        wrong = {"rotated": train.kind != "image", "permuted": train.kind == "text"}
        if wrong.get(said.stream):
            yield Problem(
                "G433",
                f"`{said.stream}` tasks cannot be made of {train.kind}s",
                ("protocol", "stream"),
                "`rotated` turns images" if said.stream == "rotated" else "texts have no pixels",
                ("use `stream: split`", "read the data as images, where they are (`?as=image`)"),
            )
    for arm in job.arms:
        if getattr(arm.config, "needs_task_ids", False) and not said.task_ids:
            yield Problem(
                "G434",
                f"`{arm.label}` has a network for each task and must be told which one to use",
                ("protocol", "task_ids"),
                remedies=("say `task_ids: true`", f"or leave `{arm.label}` out"),
            )


FAMILY = Family(
    own="a model and a stream of tasks",
    get="a model that kept the old ones",
    baselines=("finetune", "joint"),
    metrics={
        "acc": "higher",
        "bwt": "higher",
        "fwt": "higher",
        "forgetting": "lower",
        "aia": "higher",
        "learning_acc": "higher",
        "nbt": "lower",
        "logit_drift": "lower",
    },
    protocol=Protocol,
    problems=problems,
)
