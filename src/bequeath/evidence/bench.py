"""The runs of one output folder, opened and aligned: same samples, same order, everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bequeath.evidence.predictions import Predictions, load_predictions
from bequeath.evidence.record import RunRecord, find_references, find_runs, load_record
from bequeath.kernel.errors import Problem, RunError

# Metrics that are a mean over samples of a column of predictions.parquet.
TERMS = {"accuracy": "correct", "nll": "nll"}


@dataclass(frozen=True)
class Side:
    """An arm with its seeds, or a reference model (`kind`) whose one record serves every seed."""

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

    def record(self, seed: int) -> RunRecord:
        return self.first if self.kind == "reference" else self.records[seed]

    def has(self, metric: str) -> bool:
        return all(metric in record.metrics for record in self.records.values())

    def values(self, metric: str, seeds: Sequence[int]) -> np.ndarray:
        """The metric of each seed, float64 [S]."""
        return np.array([self.record(s).metrics[metric].value for s in seeds])

    def column(self, name: str, seeds: Sequence[int]) -> np.ndarray:
        """A column of the predictions, [S, N]."""
        if self.kind == "reference":
            seeds = [self.seeds[0]] * len(seeds)
        return np.stack([getattr(self.predictions[s], name) for s in seeds])

    def terms(self, metric: str, seeds: Sequence[int]) -> np.ndarray | None:
        """Per-sample terms, float64 [S, N]; None for a metric that is no mean over samples."""
        column = TERMS.get(metric)
        return None if column is None else self.column(column, seeds).astype(np.float64)


@dataclass(frozen=True)
class Bench:
    arms: tuple[Side, ...]
    references: tuple[Side, ...]
    classes: tuple[str, ...]
    label: np.ndarray
    idx: np.ndarray

    def arm(self, name: str) -> Side:
        return next(a for a in self.arms if a.name == name)

    def side(self, name: str) -> Side | None:
        """An arm or, when there is no such arm, a reference."""
        return next((s for s in (*self.arms, *self.references) if s.name == name), None)


def open_bench(
    out: Path, *, order: Sequence[str] | None = None, references: Sequence[str] | None = None
) -> Bench:
    """Open every complete run of `out`.

    order: arms in the order to show; default baselines first, then by name. references: roles to
    take, default all. RunError R564 (no runs), R566 (runs of different test samples).
    """
    opened: dict[str, list[tuple[RunRecord, Predictions]]] = {}
    for folder in find_runs(out):
        pair = (load_record(folder), load_predictions(folder))
        opened.setdefault(pair[0].run.arm, []).append(pair)
    if not opened:
        raise RunError(
            Problem(
                "R564",
                f"`{out.name}` holds no complete run",
                label="no runs/<arm>/seed-<s>/record.json",
                remedies=("run the job first: `bequeath run JOB`",),
            )
        )
    arms = [_side(name, "arm", pairs) for name, pairs in opened.items()]
    wanted = list(order or [])
    arms.sort(
        key=lambda a: (
            wanted.index(a.name) if a.name in wanted else len(wanted),
            not a.first.run.baseline,
            a.name,
        )
    )
    others = [
        _side(folder.name, "reference", [(load_record(folder), load_predictions(folder))])
        for folder in find_references(out)
        if references is None or folder.name in references
    ]
    return _aligned(tuple(arms), tuple(others))


def _side(name: str, kind: str, pairs: list[tuple[RunRecord, Predictions]]) -> Side:
    return Side(
        name=name,
        kind=kind,
        records={record.run.seed: record for record, _ in pairs},
        predictions={record.run.seed: predictions for record, predictions in pairs},
    )


def _aligned(arms: tuple[Side, ...], references: tuple[Side, ...]) -> Bench:
    first = arms[0].predictions[arms[0].seeds[0]]
    for side in (*arms, *references):
        for seed, other in side.predictions.items():
            if other.classes != first.classes or not (
                np.array_equal(other.idx, first.idx) and np.array_equal(other.label, first.label)
            ):
                raise RunError(_not_the_same(side, seed, first, other))
    return Bench(arms, references, first.classes, first.label, first.idx)


def _not_the_same(side: Side, seed: int, first: Predictions, other: Predictions) -> Problem:
    what = (
        f"{len(other)} samples, the others {len(first)}"
        if len(other) != len(first)
        else "other classes"
        if other.classes != first.classes
        else "other samples or labels"
    )
    return Problem(
        "R566",
        f"{side.kind} `{side.name}`, seed {seed}, was measured on different test data",
        label=what,
        remedies=("run the job again with `--fresh`, so that every run sees the same test data",),
    )
