"""The usual way to judge: a model predicts the judging data, and its labels are held against it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bequeath.fleet.evaluate import describe, measure, predict, sample_terms, scores
from bequeath.fleet.gates import Opened
from bequeath.fleet.measured import Measured
from bequeath.given.bound import BoundModel
from bequeath.job.job import Arm
from bequeath.methods.catalog import family_of
from bequeath.methods.contract import Outcome
from bequeath.train.context import Context


def measure_reference(opened: Opened, model: BoundModel) -> Measured:
    """A model as it came."""
    return measure_classifier(opened, model)[0]


def measure_classifier(
    opened: Opened, model: BoundModel, names: tuple[str, ...] | None = None
) -> tuple[Measured, Tensor | None]:
    """Everything a classifier's logits on the judging data tell; and the head's inputs [N, d].

    names: the metrics, default those of the job.
    """
    logits, embedding = predict(model, opened.judge, opened.device, embedding=True)
    names = names if names is not None else opened.job.evaluate.metrics
    columns = scores(logits, opened.answers)
    measured = Measured(
        metrics=measure(logits, opened.answers, names),
        idx=columns["idx"],
        terms=sample_terms(logits, opened.answers, names),
        answers={**columns, "classes": opened.judge.classes},
        model=describe(model, opened.judge, opened.device),
    )
    return measured, embedding


class Run:
    """Judges the family's result as a classifier."""

    offer: Any = None

    def __init__(self, opened: Opened, arm: Arm, seed: int):
        self.opened = opened

    def measure(self, outcome: Outcome, ctx: Context) -> Measured:
        model: Any = outcome.models[str(family_of(self.opened.job.want).result)]
        return measure_classifier(self.opened, model)[0]
