"""Searches are judged by the best candidate they asked about, beside the best there is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from bequeath.blocks.cells import parse_cell
from bequeath.blocks.pool import Oracle
from bequeath.evidence.record import Curve, Direction, Metric, Table
from bequeath.fleet.gates import Opened
from bequeath.fleet.measured import Measured
from bequeath.fleet.protocols._pools import metric_names, objective_of, prepared, public
from bequeath.given.data_schemes.source import listed, near
from bequeath.given.pool import PoolSamples
from bequeath.job.job import Arm
from bequeath.kernel.errors import Problem, RunError
from bequeath.kernel.files import write_json
from bequeath.methods.contract import Outcome
from bequeath.methods.search import Found, Protocol
from bequeath.train.context import Context

FILE = "found.json"
TABULATED = ("regret", "rank")  # need the best there is


def problems(opened: Opened) -> list[Problem]:
    """Whether there is something to search for, and something to search with."""
    pool, settings = opened.samples["pool"], opened.job.protocol
    assert isinstance(settings, Protocol)
    if not isinstance(pool, PoolSamples):
        message = f"`data.pool` holds {pool.kind} samples, not candidates with an objective"
        remedy = "give a table of candidates: `pool:FILE`"
        return [Problem("G461", message, ("data", "pool"), "", (remedy,))]
    return [*_size(pool, settings), *_scores(opened, pool, settings), *_judged(opened, pool)]


class Run:
    """One method with one seed, and its own count of queries."""

    def __init__(self, opened: Opened, arm: Arm, seed: int):
        settings: Any = opened.job.protocol
        held: Any = opened.samples["pool"]
        batch = opened.samples.get("batch")
        self.opened, self.settings = opened, settings
        self.pool: PoolSamples = prepared(held, batch, settings, seed, opened.device)
        self.objective = objective_of(self.pool)
        self.more = 1.0 if self.pool.better == "higher" else -1.0
        seen = public(self.pool)
        self.offer = Oracle(seen, settings.budget, lambda i: self.more * self.objective(i))

    def data(self) -> dict[str, Any]:
        return {"pool": self.pool}

    def measure(self, outcome: Outcome, ctx: Context) -> Measured:
        """RunError T661 when the method hands back a candidate it never asked about."""
        found, asked = outcome.answer, self.offer.asked
        if not isinstance(found, Found) or found.best not in asked:
            message = "the method handed back no candidate, or one it never asked about"
            raise RunError(Problem("T661", message))
        values = np.array([self.more * self.offer.query(i) for i in asked])  # as the user counts
        best = values[asked.index(found.best)]
        unit, better = self.pool.unit, self._direction
        metrics = {"best_found": self._metric(best, better, len(asked), "queries", unit)}
        for place, (name, column) in enumerate(self.pool.report.items()):
            key = "reported" if place == 0 else name
            metrics[key] = self._metric(column[found.best], better, 1, "candidates", unit, name)
        metrics["queries"] = self._metric(len(asked), "lower", len(asked), "queries", None)
        return Measured(
            metrics={**self._tabulated(best), **metrics},
            tables=self._tables(found, best),
            curves={"search": self._curve(values)},
            notes=self._notes(found),
            save=lambda part: self._save(part, found, values.tolist()),
        )

    @property
    def _direction(self) -> Direction:
        return "higher" if self.more > 0 else "lower"

    @property
    def _all(self) -> np.ndarray | None:
        """The objective of every candidate, float64 [N]; None where it must be computed."""
        held = self.pool.objective
        return None if callable(held) else held

    def _metric(
        self, value: float, direction: Direction, n: int, counts: str, unit: str | None,
        label: str | None = None,
    ) -> Metric:  # fmt: skip
        return Metric(
            value=float(value), direction=direction, n=n, counts=counts, unit=unit, label=label
        )

    def _tabulated(self, best: float) -> dict[str, Metric]:
        """regret: how much better the best of the pool is; rank: how many are better, plus one."""
        if self._all is None:
            return {}
        gaps, n = self.more * (self._all - best), len(self.pool)
        regret = self._metric(max(0.0, gaps.max()), "lower", n, "candidates", self.pool.unit)
        rank = self._metric(1 + (gaps > 0).sum(), "lower", n, "candidates", None)
        return {"regret": regret, "rank": rank}

    def _curve(self, values: np.ndarray) -> Curve:
        """The best so far after each query, to the end of the budget also where some was left."""
        so_far = np.maximum.accumulate(self.more * values) * self.more
        budget = self.settings.budget
        so_far = np.pad(so_far, (0, budget - len(so_far)), mode="edge")
        label, unit = "best found so far", self.pool.unit
        if self._all is not None:
            so_far, label = np.max(self.more * self._all) - self.more * so_far, "regret"
        x = [float(t) for t in range(1, budget + 1)]
        y = so_far.tolist()
        return Curve(x=x, y=y, x_label="queries", y_label=label, title="Search", unit=unit)

    def _tables(self, found: Found, best: float) -> dict[str, Table]:
        rows: list[list[float | str | None]] = []
        top = None if self._all is None else float(self.more * np.max(self.more * self._all))
        rows.append([float(best), top])
        for column in self.pool.report.values():
            highest = float(self.more * np.max(self.more * column))
            rows.append([float(column[found.best]), highest])
        tables = {
            "found": Table(
                columns=["found", "best in the pool"],
                row_names=["objective", *self.pool.report],
                rows=rows,
                unit=self.pool.unit,
                title="What was found",
                note="The search sees the objective of what it asks about and nothing else.",
            )
        }
        if found.weights:
            tables["weights"] = Table(
                columns=["weight"],
                row_names=list(found.weights),
                rows=[[float(w)] for w in found.weights.values()],
                title="Weights of the scores",
                note="Of the scores as the method saw them, each brought to 0 to 1.",
            )
        return tables

    def _notes(self, found: Found) -> dict[str, Any]:
        notes: dict[str, Any] = {"found": self.pool.ids[found.best], "candidates": len(self.pool)}
        if found.explored is not None:
            notes["explored"] = found.explored
        missing = int((~np.isfinite(self.pool.metrics)).sum())
        if missing:
            notes["scores_missing"] = missing
        return notes

    def _save(self, part: Path, found: Found, values: list[float]) -> None:
        report = {name: float(column[found.best]) for name, column in self.pool.report.items()}
        trace = [[self.pool.ids[i], value] for i, value in zip(self.offer.asked, values)]
        answer = {"id": self.pool.ids[found.best], "report": report, "asked": trace}
        weights = dict(found.weights) if found.weights is not None else None
        write_json(part / FILE, {**answer, "weights": weights, "explored": found.explored})


def _size(pool: PoolSamples, settings: Protocol) -> Iterable[Problem]:
    n = len(pool)
    if n < 2:
        message = "the pool has one candidate: there is nothing to choose"
        yield Problem("G460", message, ("data", "pool"), "", ("give a table with more rows",))
    elif settings.pool is not None and settings.pool > n:
        message = f"{settings.pool} candidates are asked for, and the pool has {n}"
        yield Problem("G460", message, ("protocol", "pool"), "", ("take fewer, or leave it out",))
    elif settings.budget >= (settings.pool or n):
        yield Problem(
            "G462",
            f"the budget of {settings.budget} pays for all {settings.pool or n} candidates",
            ("protocol", "budget"),
            "nothing to search: ask about every one of them",
            ("lower `budget`, or give more candidates",),
        )


def _scores(opened: Opened, pool: PoolSamples, settings: Protocol) -> Iterable[Problem]:
    names, batch = metric_names(pool, settings), opened.samples.get("batch")
    at = ("protocol", "metrics")
    if not names:
        remedies: tuple[str, ...] = (
            "name the columns of cheap scores: `metrics: [...]` of `data.pool`",
        )
        if pool.space is not None:
            remedies += ("or let them be counted off the cells: `protocol: {metrics: counts}`",)
        yield Problem(
            "G464", "the pool has no scores to search with", ("data", "pool"), "", remedies
        )
    if settings.metrics != "table":
        yield from _cells(pool)
    if settings.metrics == "computed" and (
        batch is None or batch.kind != "image" or batch.y is None or len(batch) < settings.batch
    ):
        message = f"proxies are computed on {settings.batch} labelled images, `data.batch`"
        remedies = ("add `batch:` under `data:`", "or set `protocol.batch` to what there is")
        yield Problem("G467", message, at if batch is None else ("data", "batch"), "", remedies)
    for arm in opened.job.arms:
        for name in getattr(arm.config, "weights", None) or {}:
            if name not in names:
                label = near(name, names) or f"the scores are {listed(names)}"
                message = f"`{arm.label}` weighs `{name}`, which is no score"
                yield Problem("G468", message, (*arm.at, "weights"), label)


def _cells(pool: PoolSamples) -> Iterable[Problem]:
    if pool.space is None:
        message = "scores can be counted or computed only where the candidates' names are cells"
        remedy = "say `space: nas201` of `data.pool`, if they are"
        yield Problem("G465", message, ("protocol", "metrics"), "", (remedy,))
        return
    wrong = []
    for name in pool.ids:
        try:
            parse_cell(name)
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        message = f"{len(wrong)} of {len(pool)} candidates are no cells of NAS-Bench-201"
        remedy = "name the column that holds the cells with `id`"
        yield Problem("G466", message, ("data", "pool"), "", (remedy,), (wrong[0],))


def _judged(opened: Opened, pool: PoolSamples) -> Iterable[Problem]:
    named = opened.job.evaluate.metrics
    for name in [name for name in named if name in TABULATED and callable(pool.objective)]:
        yield Problem(
            "G469",
            f"`{name}` needs the objective of every candidate, and here it is computed as asked",
            ("evaluate", "metrics"),
            "",
            ("judge by what was found: `evaluate: {metrics: [best_found]}`",),
        )
    if "reported" in named and not pool.report:
        message = "`reported` needs a column, and the pool has none"
        remedy = "name one with `report: [...]` of `data.pool`"
        yield Problem("G469", message, ("evaluate", "metrics"), "", (remedy,))
