"""Selections are judged by what a model reaches that is trained on them.

The methods see the pilots of the sources and may have small trials made on them; the rest of the
sources, the target's labels and the data that judge are used here only. Trials and the check of
predictions at full size are the same for all arms of a seed: they are made once and kept in the
job's scratch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bequeath.blocks import mixtures
from bequeath.blocks.manifest import Kept, save_manifest
from bequeath.blocks.scaling import n_coefficients
from bequeath.evidence.record import Metric, Table
from bequeath.fleet.gates import Opened
from bequeath.fleet.measured import Measured
from bequeath.fleet.protocols.classifier import measure_classifier
from bequeath.fleet.sources import MODEL, TARGET, VALIDATION, Sources, settings_of, source_roles
from bequeath.fleet.transfer import transferred
from bequeath.given.samples import Samples
from bequeath.given.subset import Joined, Rows
from bequeath.job.job import Arm
from bequeath.kernel.errors import Problem
from bequeath.kernel.files import write_json
from bequeath.methods.contract import Outcome
from bequeath.methods.select import Selection
from bequeath.metrics.names import NAMES
from bequeath.train.context import Context
from bequeath.train.many import cross_entropy_step

MOST_ROWS = 500  # of the table of mixtures


class Run:
    """One selection: made by the method, trained on here, measured."""

    def __init__(self, opened: Opened, arm: Arm, seed: int):
        self.opened, self.seed = opened, seed
        self.sources = Sources(opened, seed)
        self.offer = self.sources.question()

    def data(self) -> dict[str, Samples] | None:
        """The pilots."""
        return self.sources.pilots if self.sources.changed else None

    def measure(self, outcome: Outcome, ctx: Context) -> Measured:
        chosen: Selection = outcome.answer
        if not self.opened.job.judged:
            return self._untrained(chosen)
        rows = self._rows(chosen, ctx)
        full = self.sources.full
        parts = [Rows(full[role], torch.from_numpy(r)) for role, r in rows.items() if len(r)]
        train = Joined(parts)
        model = self.opened.load(MODEL, data=train, seed=self.seed)
        fitted = ctx.fit(model, train, cross_entropy_step(model), name="selected")
        if TARGET in self.opened.samples:
            says = self.sources.says
            model = transferred(
                ctx,
                self.opened,
                MODEL,
                model,
                self.opened.samples[TARGET],
                tune=says.tune,
                epochs=says.tune_epochs,
                lr=says.tune_lr,
                seed=self.seed,
            )
        measured = self._classified(model)
        there = sum(len(one) for one in full.values())
        measured.metrics["kept_share"] = _metric(len(train) / there, "lower", there, "samples")
        measured.metrics["train_seconds"] = Metric(
            value=fitted.seconds, direction="lower", n=fitted.steps, counts="steps", unit="s"
        )
        self._judge_predictions(chosen, measured, ctx)
        measured.notes |= _facts(chosen)

        def save(part: Path) -> None:
            model.save(part / "model")
            self._save(chosen, rows, part / "selection")

        measured.save = save
        return measured

    def _rows(self, chosen: Selection, ctx: Context) -> dict[str, np.ndarray]:
        """The rows of each source that are trained on, ascending; no more than N in all."""
        full, size = self.sources.full, self.sources.size
        if chosen.rows:
            kept = {role: np.asarray(rows, dtype=np.int64) for role, rows in chosen.rows.items()}
            if self.sources.says.size is None or sum(map(len, kept.values())) <= size:
                return kept
            shares = np.array([len(rows) for rows in kept.values()], dtype=np.float64)
            orders = [rows[_order(ctx, i, len(rows))] for i, rows in enumerate(kept.values())]
            drawn = mixtures.draw(orders, size, shares / shares.sum())
            return {role: np.sort(rows) for role, rows in zip(kept, drawn)}
        p = np.array([chosen.shares[name] for name in full])
        orders = [_order(ctx, i, len(one)) for i, one in enumerate(full.values())]
        counts = np.minimum(mixtures.counts(size, p), [len(order) for order in orders])
        return {name: np.sort(order[:k]) for name, order, k in zip(full, orders, counts)}

    def _classified(self, model: Any) -> Measured:
        """As classifiers are measured; accuracy always, of the others those that the job names."""
        asked = (name for name in self.opened.job.evaluate.metrics if name in NAMES)
        names = tuple(dict.fromkeys(("accuracy", *asked)))
        return measure_classifier(self.opened, model, names)[0]

    def _judge_predictions(self, chosen: Selection, measured: Measured, ctx: Context) -> None:
        """What was promised beside what came: of the choice, and of mixtures trained to check."""
        accuracy = measured.metrics["accuracy"].value
        if chosen.expected is not None:
            error = abs(chosen.expected.value - accuracy)
            measured.metrics["prediction_error"] = _metric(error, "lower", 1, "mixtures")
            inside = chosen.expected.low <= accuracy <= chosen.expected.high
            measured.notes["expected_holds"] = inside
        src = self.sources
        if src.says.check == "none" or len(src.names) < 2 or TARGET in self.opened.samples:
            return
        which = np.ones(len(src.grid), dtype=bool) if src.says.check == "grid" else src.held
        if not which.any():
            return
        found = np.full(len(src.grid), np.nan)
        trials = src.check().accuracy(ctx, src.size, src.grid[which], src.says.repeats)
        found[which] = np.median(trials, axis=1)
        if src.says.check == "grid":
            best = float(np.nanmax(found))
            measured.metrics["regret"] = _metric(best - accuracy, "lower", len(found), "mixtures")
            measured.notes["best_of_grid"] = best
        if chosen.predicted is not None and src.held.any():
            promised, came = chosen.predicted[src.held], found[src.held]
            mae = float(np.abs(promised - came).mean())
            measured.metrics["mae"] = _metric(mae, "lower", len(came), "mixtures")
            spread = float(((came - came.mean()) ** 2).sum())
            if spread > 0:
                r2 = 1 - float(((promised - came) ** 2).sum()) / spread
                measured.metrics["r2"] = Metric(
                    value=r2, direction="higher", n=len(came), counts="mixtures"
                )
        measured.tables["mixtures"] = self._table(chosen, found)

    def _table(self, chosen: Selection, found: np.ndarray) -> Table:
        src = self.sources
        promised = chosen.predicted if chosen.predicted is not None else np.full(len(found), np.nan)
        rows: list[list[float | str | None]] = []
        for p, held, said, came in zip(src.grid, src.held, promised, found):
            numbers = [None if np.isnan(v) else float(v) for v in (said, came)]
            rows.append([*map(float, p), "predicted only" if held else "tried", *numbers])
        return Table(
            columns=[*src.names, "trials", "predicted", "measured"],
            rows=rows[:MOST_ROWS],
            title=f"Accuracy of mixtures at {src.size:,} samples",
            note="measured: median over repeats of models trained on the full sources",
        )

    def _untrained(self, chosen: Selection) -> Measured:
        def save(part: Path) -> None:
            self._save(chosen, dict(chosen.rows), part / "selection")

        return Measured(notes=_facts(chosen), save=save)

    def _save(self, chosen: Selection, rows: Mapping[str, np.ndarray], folder: Path) -> None:
        """`selection.json`, and the manifest of the rows where they are known."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "selection.json", _facts(chosen) | {"scores": chosen.scores})
        full = self.sources.full
        kept = {role: Kept(r, full[role].hash, len(full[role])) for role, r in rows.items()}
        if kept:
            save_manifest(folder, kept)


def _facts(chosen: Selection) -> dict[str, Any]:
    expected = chosen.expected
    said = None if expected is None else [expected.value, expected.low, expected.high]
    return {"shares": chosen.shares, **({} if said is None else {"expected": said})}


def _metric(value: float, direction: Any, n: int, counts: str) -> Metric:
    return Metric(value=value, direction=direction, n=n, counts=counts, unit="share")


def _order(ctx: Context, i: int, n: int) -> np.ndarray:
    return torch.randperm(n, generator=ctx.rng("selection", i)).numpy()


def problems(opened: Opened) -> Iterator[Problem]:
    """What would stop a run half-way."""
    wrong = [*_skew_problems(opened), *_class_problems(opened), *_judge_problems(opened)]
    yield from wrong
    if not wrong:
        yield from _size_problems(opened)


def _skew_problems(opened: Opened) -> Iterator[Problem]:
    says, sources = settings_of(opened), source_roles(opened)
    for name, skew in says.skew.items():
        at = ("protocol", "skew", name)
        if name not in sources:
            message = f"`protocol.skew` speaks of `{name}`, which is no source"
            yield Problem("J102", message, at, f"the sources: {', '.join(sources)}")
            continue
        there = opened.samples[name]
        if there.y is None:
            yield Problem("G410", f"`data.{name}` has no labels to skew", ("data", name))
        elif max(skew.classes, default=0) >= len(there.classes):
            message = f"`data.{name}` has no class {max(skew.classes)}"
            label = f"its {len(there.classes)} classes are numbered from 0"
            yield Problem("J102", message, (*at, "classes"), label)
    if says.held_source is not None and says.held_source not in sources:
        message = f"`held_source` is `{says.held_source}`, which is no source"
        label = f"the sources: {', '.join(sources)}"
        yield Problem("J102", message, ("protocol", "held_source"), label)


def _class_problems(opened: Opened) -> Iterator[Problem]:
    """Sources are trained on together, and what judges them speaks of the same classes."""
    judge, there = opened.job.evaluate.data, opened.samples
    together = [*source_roles(opened), *(r for r in (VALIDATION,) if r in there)]
    if opened.job.judged and TARGET not in there:
        together.append(judge)
    pairs = [(together[0], role) for role in together[1:]]
    if opened.job.judged and TARGET in there:
        pairs.append((TARGET, judge))
    for one, other in pairs:
        first, second = there[one], there[other]
        at = ("data", other)
        if first.classes != second.classes:
            message = f"the classes of `data.{other}` are not those of `data.{one}`"
            yield Problem("G405", message, at, f"they are {', '.join(second.classes[:8])}")
        elif (first.kind, first.shape) != (second.kind, second.shape):
            message = f"the samples of `data.{other}` have another form than those of `data.{one}`"
            forms = tuple(f"{s.kind} {'x'.join(map(str, s.shape))}" for s in (first, second))
            yield Problem("G407", message, at, "", (), forms)


def _judge_problems(opened: Opened) -> Iterator[Problem]:
    """What training on the selection and judging it needs."""
    job, there = opened.job, opened.samples
    if not job.judged:
        return
    if MODEL not in job.models:
        yield Problem("G455", "there is no model `model` to train on the selection", ("method",))
    if TARGET in there and there[TARGET].y is None:
        yield Problem("G454", "`data.target` has no labels to judge with", ("data", TARGET))
    for role in source_roles(opened):
        if there[role].y is None:
            message = f"`data.{role}` has no labels, and `model` is trained on what is kept of it"
            yield Problem("G410", message, ("data", role))


def _size_problems(opened: Opened) -> Iterator[Problem]:
    """Whether the sources last for N, and the pilots for the trials that arms ask for."""
    job, says = opened.job, settings_of(opened)
    src = Sources(opened, job.seeds[0])
    held = sum(len(one) for one in src.full.values())
    if job.judged and src.size > held:
        message = f"`size` is {src.size:,}, and the sources hold {held:,} samples"
        yield Problem("G451", message, ("protocol", "size"), f"at most {held}")
        return
    arms = [a for a in job.arms if VALIDATION in a.needs.data and hasattr(a.config, "form")]
    if not arms:
        return
    pilots = {role: len(one) for role, one in src.pilots.items()}
    where = "pilot" if says.pilot is not None else "sizes"
    if sum(pilots.values()) < says.sizes[1]:
        message = f"a trial has {says.sizes[1]} samples, and all pilots {sum(pilots.values())}"
        yield Problem("G450", message, ("protocol", where))
        return
    n_fit = int((~src.held).sum())
    for arm in arms:
        k = n_coefficients(getattr(arm.config, "form"), len(pilots))  # noqa: B009
        if k > n_fit:
            short = min(pilots, key=lambda role: pilots[role])
            notes = (f"`{short}` reveals {pilots[short]} samples; trials go to {says.sizes[1]}",)
            message = f"`{arm.label}` fits {k} coefficients to {n_fit} mixtures"
            yield Problem("G452", message, ("protocol", where), "", (), notes)
