"""Adapted models are judged by the classes that source and target share, and those they do not.

Classes go by name: the source model's outputs beside the classes that occur in the judging data. A
sample of a class the source never had is "unknown". Every arm is judged with one threshold, at its
last step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bequeath.evidence.record import SHARE, Curve, Metric, Table
from bequeath.fleet.evaluate import describe, measure, predict, sample_terms, scores
from bequeath.fleet.gates import Opened
from bequeath.fleet.measured import Measured
from bequeath.given.bound import BoundModel
from bequeath.job.job import Arm
from bequeath.kernel.errors import JobError, Problem
from bequeath.losses.entropy import normalised_entropy
from bequeath.methods.adapt import Protocol
from bequeath.methods.adapt._source_free import too_few
from bequeath.methods.contract import Outcome
from bequeath.metrics.classification import Predictions
from bequeath.metrics.names import NAMES, OPEN_SET
from bequeath.metrics.open_set import auroc, h_score, known_terms, rejected, unknown_terms
from bequeath.train.context import Context

UNKNOWN_ONLY = ("h_score", "unknown_accuracy", "unknown_auroc")
POINTS = 21  # thresholds of the curve
_LABELS = {
    "h_score": "H-score",
    "known_accuracy": "accuracy of known classes",
    "unknown_accuracy": "unknown samples found",
    "unknown_auroc": "AUROC of entropy",
}


@dataclass(frozen=True)
class Split:
    """setting: closed, partial, open or open-partial. source: names of the model's outputs.

    number: int64 [classes of the judge], the output of each, -1 for none. shared, lacking, private:
    names of the classes that both have, the source only, the target only.
    """

    setting: str
    source: tuple[str, ...]
    number: Tensor
    shared: tuple[str, ...]
    lacking: tuple[str, ...]
    private: tuple[str, ...]


def problems(opened: Opened) -> Iterator[Problem]:
    """G420 to G424, T642; and a remark that labels are sealed."""
    target = opened.samples.get("target")
    if target is not None:
        least = max(getattr(arm.config, "least_samples", 2) for arm in opened.job.arms)
        if problem := too_few(len(target), least):
            yield problem
        if target.y is not None:
            text = "data.target has labels; they are sealed, and no method of this job sees them"
            opened.notes.append(text)
        yield from _unlike(opened)
    try:
        split = split_of(opened)
    except JobError as error:
        yield from error.problems
        return
    yield from _unmeasured(opened, split)
    opened.notes.append(_told(split))


def _unlike(opened: Opened) -> Iterator[Problem]:
    """G424 where target and judge are not the same sort of data."""
    target, judge = opened.samples["target"], opened.judge
    sized = (opened.model_facts["source"].preprocess or {}).get("size") is not None
    if target.kind != judge.kind or (target.shape != judge.shape and not sized):
        role = opened.job.evaluate.data
        sorts = [f"{one.kind} {list(one.shape)}" for one in (target, judge)]
        message = f"`data.target` and `data.{role}` are of different sorts"
        notes = (f"data.target: {sorts[0]}", f"data.{role}: {sorts[1]}")
        yield Problem("G424", message, at=("data", role), notes=notes)


def _unmeasured(opened: Opened, split: Split) -> Iterator[Problem]:
    """G423 for what needs unknown samples where there are none."""
    for i, name in enumerate(opened.job.evaluate.metrics):
        if name in UNKNOWN_ONLY and not split.private:
            message = (
                f"`{name}` needs samples of unknown classes, and the setting is {split.setting}"
            )
            remedies = ("judge by `accuracy` or `known_accuracy`",)
            yield Problem("G423", message, at=opened.job.metric_at(i), remedies=remedies)


def _told(split: Split) -> str:
    parts = {"shared": split.shared, "source only": split.lacking, "target only": split.private}
    said = "; ".join(f"{name}: {', '.join(c[:12])}" for name, c in parts.items() if c)
    return f"the setting is {split.setting} ({said})"


def split_of(opened: Opened) -> Split:
    """Which classes are shared. JobError G420 (the source's names are not known), G421 (none is
    shared), G422 (the job says another setting)."""
    protocol, facts = _protocol(opened), opened.model_facts["source"]
    source = protocol.classes or facts.classes
    if source is None or len(source) != facts.n_classes:
        raise JobError(_unnamed(protocol.classes, facts.n_classes))
    place = {name: i for i, name in enumerate(source)}
    judge = opened.judge.classes
    there = [judge[i] for i in torch.unique(opened.answers).tolist()]
    shared = tuple(name for name in there if name in place)
    private = tuple(name for name in there if name not in place)
    lacking = tuple(name for name in source if name not in there)
    role = opened.job.evaluate.data
    if not shared:
        names = (
            f"models.source: {', '.join(source[:12])}",
            f"data.{role}: {', '.join(there[:12])}",
        )
        message = f"`data.{role}` has no class of the source's"
        remedies = ("name them alike: `protocol: {classes: [...]}` names the source's outputs",)
        raise JobError(Problem("G421", message, ("data", role), "", remedies, names))
    setting = {
        (False, False): "closed",
        (True, False): "partial",
        (False, True): "open",
        (True, True): "open-partial",
    }[bool(lacking), bool(private)]
    number = torch.tensor([place.get(name, -1) for name in judge])
    split = Split(setting, source, number, shared, lacking, private)
    if protocol.setting not in ("auto", setting):
        message = f"the setting is {setting} and not {protocol.setting}, as the classes show"
        problem = Problem("G422", message, at=("protocol", "setting"), notes=(_told(split),))
        raise JobError(problem)
    return split


def _protocol(opened: Opened) -> Protocol:
    assert isinstance(opened.job.protocol, Protocol)
    return opened.job.protocol


def _unnamed(said: tuple[str, ...] | None, n: int | None) -> Problem:
    if said is not None:
        message = f"`classes` names {len(said)} classes, and the source has {n} outputs"
        return Problem("G420", message, at=("protocol", "classes"))
    return Problem(
        "G420",
        "the names of the source's classes are not known",
        at=("models", "source"),
        remedies=("name its outputs in order: `protocol: {classes: [cat, dog, ...]}`",),
    )


class Run:
    """One adapted model."""

    offer: Any = None

    def __init__(self, opened: Opened, arm: Arm, seed: int):
        self.opened = opened

    def measure(self, outcome: Outcome, ctx: Context) -> Measured:
        model: Any = outcome.models["model"]
        return measure_adapted(self.opened, model)


def measure_adapted(opened: Opened, model: BoundModel) -> Measured:
    """What its logits on the judging data tell, of known and unknown classes."""
    split, threshold = split_of(opened), _protocol(opened).threshold
    logits, _ = predict(model, opened.judge, opened.device)
    y = split.number[opened.answers]
    u = normalised_entropy(logits.double())
    values, terms = _classified(opened, logits, y)
    opened_up, more = _open_set(logits, y, u, threshold if split.private else 1.0)
    values |= opened_up
    asked = [name for name in opened.job.evaluate.metrics if name in values]
    notes: dict[str, Any] = {
        "setting": split.setting,
        "shared_classes": len(split.shared),
        "source_only_classes": len(split.lacking),
        "target_only_classes": len(split.private),
        "entropy_known": float(u[y >= 0].mean()),
    }
    measured = Measured(
        metrics={**{name: values[name] for name in asked}, **values},
        idx=torch.arange(len(y)),
        terms={**terms, **more},
        model=describe(model, opened.judge, opened.device),
        tables={"classes": _by_class(opened, split, logits, u, threshold)},
        notes=notes,
    )
    if split.private:
        notes |= {"threshold": threshold, "entropy_unknown": float(u[y < 0].mean())}
        measured.curves["threshold"] = _over_thresholds(logits, y, u)
    else:
        measured.answers = {**scores(logits, y), "classes": split.source}
    return measured


def _classified(
    opened: Opened, logits: Tensor, y: Tensor
) -> tuple[dict[str, Metric], dict[str, Tensor]]:
    """The metrics of classification, on samples of known classes, by the largest logit."""
    names = tuple({"accuracy": 0, **dict.fromkeys(opened.job.evaluate.metrics)})
    names = tuple(name for name in names if name in NAMES)
    known = y >= 0
    values = measure(logits[known], y[known], names)
    if not bool(known.all()):
        more = {"counts": "test samples of known classes"}
        values = {name: one.model_copy(update=more) for name, one in values.items()}
    terms = {}
    for name, column in sample_terms(logits[known], y[known], names).items():
        terms[name] = torch.full((len(y),), torch.nan, dtype=torch.float64)
        terms[name][known] = column.double()
    return values, terms


def _open_set(
    logits: Tensor, y: Tensor, u: Tensor, threshold: float
) -> tuple[dict[str, Metric], dict[str, Tensor]]:
    """Metrics of `OPEN_SET`, those that there are samples for; and their terms."""
    answers = _answers(logits, u, threshold)
    terms = {"known_accuracy": known_terms(answers, y)}
    values = {"known_accuracy": float(terms["known_accuracy"].nanmean())}
    unknown = y < 0
    if bool(unknown.any()):
        terms["unknown_accuracy"] = unknown_terms(answers, y)
        values["unknown_accuracy"] = float(terms["unknown_accuracy"].nanmean())
        values["unknown_auroc"] = auroc(u, unknown)
        values["h_score"] = h_score(values["known_accuracy"], values["unknown_accuracy"])
    counted = {"known_accuracy": ~unknown, "unknown_accuracy": unknown}
    metrics = {
        name: Metric(
            value=value,
            direction=OPEN_SET[name],
            n=int(counted[name].sum()) if name in counted else len(y),
            unit=SHARE,
            label=_LABELS[name],
            terms=name in terms,
        )
        for name, value in values.items()
    }
    return metrics, terms


def _answers(logits: Tensor, u: Tensor, threshold: float) -> Tensor:
    """int64 [N]: the output with the largest logit, -1 where the entropy is above the threshold."""
    pred = Predictions(logits, torch.zeros(len(logits), dtype=torch.int64)).pred
    return torch.where(rejected(u, threshold), -1, pred)


def _over_thresholds(logits: Tensor, y: Tensor, u: Tensor) -> Curve:
    """What another threshold would have given; for the reader, chosen by nothing."""
    grid = torch.linspace(0, 1, POINTS).tolist()
    found = [_open_set(logits, y, u, w)[0] for w in grid]
    line: dict[str, list[float | None]] = {
        name: [m[name].value for m in found] for name in OPEN_SET if name != "unknown_auroc"
    }
    return Curve(
        x=grid,
        y=line.pop("h_score"),
        series={_LABELS[name]: values for name, values in line.items()},
        x_label="entropy / log C above which an answer means unknown",
        y_label="H-score",
        title="Other thresholds",
        note="A threshold read off this curve is chosen with target labels.",
        unit=SHARE,
    )


def _by_class(opened: Opened, split: Split, logits: Tensor, u: Tensor, threshold: float) -> Table:
    """Of each class that occurs: samples, share answered right, share answered `unknown`."""
    truth = opened.answers
    answers = _answers(logits, u, threshold if split.private else 1.0)
    rows: list[list[float | str | None]] = []
    names = []
    for c in torch.unique(truth).tolist()[:200]:
        said, output = answers[truth == c], int(split.number[c])
        right = float((said == output).double().mean())
        unknown = float((said < 0).double().mean()) if split.private else None
        rows.append([float(len(said)), "known" if output >= 0 else "unknown", right, unknown])
        names.append(opened.judge.classes[c][:200])
    return Table(
        columns=["samples", "class is", "right", "answered unknown"],
        rows=rows,
        row_names=names,
        title="By class",
    )
