"""The runs of one output folder, opened and aligned: same samples, same order, everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bequeath.evidence.measure import Measure, measure_of
from bequeath.evidence.predictions import (
    Answers,
    Predictions,
    has_predictions,
    load_predictions,
)
from bequeath.evidence.record import RunRecord, find_references, find_runs, load_record
from bequeath.kernel.errors import Problem, RunError


@dataclass(frozen=True)
class Side:
    """An arm with its seeds, or a reference model (`kind`) whose one record serves every seed.

    predictions: of the seeds that have per-sample terms; empty where a metric is all there is.
    """

    name: str
    kind: str
    records: Mapping[int, RunRecord]
    predictions: Mapping[int, Predictions]

    @property
    def seeds(self) -> list[int]:
        return sorted(self.records)

    @property
    def first(self) -> RunRecord:
        return self.records[self.seeds[0]]

    @property
    def answered(self) -> bool:
        """Whether every run is a classifier's, with an answer to each sample."""
        found = [self.predictions.get(seed) for seed in self.seeds]
        return all(p is not None and p.answers is not None for p in found)

    @property
    def metrics(self) -> list[str]:
        """The metrics that every seed has, as the first run lists them."""
        return [m for m in self.first.metrics if self.has(m)]

    def record(self, seed: int) -> RunRecord:
        return self.first if self.kind == "reference" else self.records[seed]

    def has(self, metric: str) -> bool:
        return all(metric in record.metrics for record in self.records.values())

    def values(self, metric: str, seeds: Sequence[int]) -> np.ndarray:
        """The metric of each seed, float64 [S]."""
        return np.array([self.record(s).metrics[metric].value for s in seeds])

    def column(self, name: str, seeds: Sequence[int]) -> np.ndarray:
        """A column of the answers, [S, N]; only of a side that `answered`."""
        found = [self.predictions[s].answers for s in self._own(seeds)]
        return np.stack([getattr(answers, name) for answers in found])

    def terms(self, metric: str, seeds: Sequence[int]) -> np.ndarray | None:
        """Per-sample terms, float64 [S, N], NaN where a sample does not count in the metric.

        None for a metric that is no mean over samples in one of the runs.
        """
        rows = []
        for seed in self._own(seeds):
            held = self.predictions.get(seed)
            row = None if held is None else held.term(metric)
            if row is None:
                return None
            rows.append(row)
        return np.stack(rows).astype(np.float64)

    def _own(self, seeds: Sequence[int]) -> Sequence[int]:
        return [self.seeds[0]] * len(seeds) if self.kind == "reference" else seeds


def counted(*terms: np.ndarray | None) -> list[np.ndarray] | None:
    """The terms [S, N'] of the samples that count in all of them, or None.

    None too when the runs do not count the same samples: then a difference of means is no mean of
    differences.
    """
    have = [t for t in terms if t is not None]
    if len(have) < len(terms):
        return None
    counts = ~np.isnan(have[0][0])
    if any((~np.isnan(t) != counts).any() for t in have):
        return None
    return [t[:, counts] for t in have]


@dataclass(frozen=True)
class Bench:
    """answers: of the classifiers among them, which all saw the same samples in this order."""

    arms: tuple[Side, ...]
    references: tuple[Side, ...]
    measures: Mapping[str, Measure]
    answers: Answers | None
    idx: np.ndarray

    @property
    def label(self) -> np.ndarray:
        assert self.answers is not None, "only for benches with answers"
        return self.answers.label

    @property
    def classes(self) -> tuple[str, ...]:
        return () if self.answers is None else self.answers.classes

    @property
    def sides(self) -> tuple[Side, ...]:
        return (*self.arms, *self.references)

    def arm(self, name: str) -> Side:
        return next(a for a in self.arms if a.name == name)

    def side(self, name: str) -> Side | None:
        """An arm or, when there is no such arm, a reference."""
        return next((s for s in self.sides if s.name == name), None)


Opened = tuple[RunRecord, Predictions | None]


def open_bench(
    out: Path, *, order: Sequence[str] | None = None, references: Sequence[str] | None = None
) -> Bench:
    """Open every complete run of `out`.

    order: arms in the order to show; default baselines first, then by name. references: roles to
    take, default all. RunError R564 (no runs), R566 (runs of different test samples), R569 (a
    metric that is not the same thing in every run).
    """
    opened: dict[str, list[Opened]] = {}
    for folder in find_runs(out):
        found = _open(folder)
        opened.setdefault(found[0].run.arm, []).append(found)
    if not opened:
        raise RunError(
            Problem(
                "R564",
                f"`{out.name}` holds no complete run",
                label="no runs/<arm>/seed-<s>/record.json",
                remedies=("run the job first: `bequeath run JOB`",),
            )
        )
    arms = [_side(name, "arm", found) for name, found in opened.items()]
    wanted = list(order or [])
    arms.sort(
        key=lambda a: (
            wanted.index(a.name) if a.name in wanted else len(wanted),
            not a.first.run.baseline,
            a.name,
        )
    )
    others = [
        _side(folder.name, "reference", [_open(folder)])
        for folder in find_references(out)
        if references is None or folder.name in references
    ]
    sides = (*arms, *others)
    measures = _measures(sides)
    first = _aligned(sides)
    answers, idx = None, np.empty(0, dtype=np.int64)
    if "answers" in first:
        answers, idx = first["answers"].answers, first["answers"].idx
    return Bench(tuple(arms), tuple(others), measures, answers, idx)


def _open(folder: Path) -> Opened:
    record = load_record(folder)
    needed = any(metric.terms for metric in record.metrics.values())
    return record, load_predictions(folder) if needed or has_predictions(folder) else None


def _side(name: str, kind: str, found: list[Opened]) -> Side:
    return Side(
        name=name,
        kind=kind,
        records={record.run.seed: record for record, _ in found},
        predictions={record.run.seed: p for record, p in found if p is not None},
    )


def _measures(sides: Iterable[Side]) -> dict[str, Measure]:
    """Every metric of every run; the same name means the same direction and unit everywhere."""
    known: dict[str, Measure] = {}
    for side in sides:
        for record in side.records.values():
            for name, metric in record.metrics.items():
                found = measure_of(name, metric)
                first = known.setdefault(name, found)
                if (first.direction, first.unit) != (found.direction, found.unit):
                    raise RunError(_two_meanings(side, name, first, found))
    return known


def _aligned(sides: Iterable[Side]) -> dict[str, Predictions]:
    """What is compared sample by sample must be about the same samples, metric by metric.

    Returns the first predictions of each metric with terms, and of `answers`.
    """
    known: dict[str, Predictions] = {}
    for side in sides:
        for seed, held in side.predictions.items():
            for block in (*held.metrics, *(["answers"] if held.answers is not None else [])):
                first = known.setdefault(block, held)
                if first is not held and (why := _difference(first, held, block)):
                    raise RunError(_not_the_same(side, seed, why))
    return known


def _difference(first: Predictions, other: Predictions, block: str) -> str:
    """What is not the same in `other`; empty when all is."""
    if len(other) != len(first):
        return f"{len(other)} samples, the others {len(first)}"
    if not np.array_equal(other.idx, first.idx):
        return "other samples"
    if block != "answers" or other.answers is None or first.answers is None:
        return ""
    if other.answers.classes != first.answers.classes:
        return "other classes"
    return "" if np.array_equal(other.answers.label, first.answers.label) else "other labels"


def _not_the_same(side: Side, seed: int, why: str) -> Problem:
    return Problem(
        "R566",
        f"{side.kind} `{side.name}`, seed {seed}, was measured on different test data",
        label=why,
        remedies=("run the job again with `--fresh`, so that every run sees the same test data",),
    )


def _two_meanings(side: Side, name: str, first: Measure, found: Measure) -> Problem:
    def said(measure: Measure) -> str:
        return f"{measure.direction} is better, {measure.unit or 'no unit'}"

    return Problem(
        "R569",
        f"the metric `{name}` of {side.kind} `{side.name}` is not that of the other runs",
        label=f"{said(found)}; elsewhere: {said(first)}",
        remedies=("give the two quantities different names", "run the job again with `--fresh`"),
    )
