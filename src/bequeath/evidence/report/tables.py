"""The tables of the page as heads and rows of text; a column that says nothing is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bequeath.evidence.comparison import Arm, Pair, Reference
from bequeath.evidence.inputs import Inputs
from bequeath.evidence.measure import Measure, change, interval, value
from bequeath.evidence.measure import spread as deviation
from bequeath.evidence.preparation import load_preparation
from bequeath.evidence.record import Alone, RunRecord, Training
from bequeath.evidence.report.words import (
    clean,
    flat,
    milliseconds,
    p_value,
    show_seconds,
    show_size,
)

NOTHING = "–"
MOST_PAIRS = 60


@dataclass(frozen=True)
class Head:
    """kind: `text` (left), `wrap` (left, several lines), `code`, or a number (right)."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Cell:
    text: str
    sort: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Grid:
    """A table: heads after the first column, and for each row its name and cells."""

    title: str
    heads: list[Head]
    rows: list[tuple[str, list[Cell]]]
    first: str = "arm"
    note: str = ""
    total: int = 0


def grid(
    title: str,
    heads: Sequence[Head],
    rows: Sequence[tuple[str, Sequence[Cell]]],
    **more: Any,
) -> Grid:
    """A grid without the columns in which every cell is a dash."""
    keep = [k for k in range(len(heads)) if any(cells[k].text != NOTHING for _, cells in rows)]
    kept = [(name, [cells[k] for k in keep]) for name, cells in rows]
    return Grid(title, [heads[k] for k in keep], kept, **more)


def tables(inputs: Inputs) -> list[Grid]:
    """Every table of the section, those with rows only."""
    made = [metric_table(inputs), *pair_tables(inputs), cost_table(inputs), run_table(inputs)]
    return [one for one in made if one.rows and one.heads]


def metric_table(inputs: Inputs) -> Grid:
    """Arms and references x metrics."""
    comparison = inputs.comparison
    holders: list[Arm | Reference] = [*inputs.arms(), *comparison.references]
    names = list(dict.fromkeys(m for arm in inputs.arms() for m in arm.metrics))
    measures = [comparison.measures[name] for name in names]
    heads = [Head(clean(m.label) + (" ↓" if m.direction == "lower" else " ↑")) for m in measures]
    rows = []
    for holder in holders:
        label = holder.arm if isinstance(holder, Arm) else f"{holder.role} (as it came)"
        rows.append((clean(label), [_metric_cell(holder, m) for m in measures]))
    note = "Mean over the seeds ± standard deviation; ↑ more is better, ↓ less is better."
    return grid("Metrics", heads, rows, note=note)


def _metric_cell(holder: Arm | Reference, measure: Measure) -> Cell:
    spread = holder.metrics.get(measure.name)
    if spread is None:
        return Cell(NOTHING)
    sd = "" if spread.sd is None else f" ± {deviation(spread.sd, measure)}"
    return Cell(value(spread.mean, measure) + sd, f"{spread.mean:.6g}")


def pair_tables(inputs: Inputs) -> list[Grid]:
    """The pairwise comparisons, one table a list of the comparison."""
    comparison = inputs.comparison
    groups = [
        ("Against the baseline", comparison.versus_baseline),
        ("Against the models as they came", comparison.versus_reference),
        ("The other arms among each other", comparison.pairs),
        ("Other metrics against the baseline (descriptive, uncorrected)", comparison.other_metrics),
    ]
    made: list[Grid] = []
    for title, pairs in groups:
        if not pairs:
            continue
        note = ""
        if not made:
            note = "“Least seen” is the effect that would have been found four times in five."
            if any(comparison.measures[p.metric].hundredfold for p in pairs):
                note = f"Differences of shares are in points. {note}"
        several = {p.metric for p in pairs} != {comparison.primary}
        made.append(_pairs(inputs, title, pairs, note, several))
    return made


def _pairs(inputs: Inputs, title: str, pairs: list[Pair], note: str, several: bool) -> Grid:
    time = "training time" if any(arm.trained for arm in inputs.comparison.arms) else "time"
    heads = [
        Head("against", "text"), Head("metric", "text"), Head("difference"), Head("95 % interval"),
        Head("verdict", "text"), Head("p"), Head("p, Holm"), Head("p, sign flip"),
        Head("equivalent"), Head("least seen"), Head(time), Head("why", "text"),
    ]  # fmt: skip
    rows = [
        (clean(p.arm), _pair_cells(p, inputs.comparison.measures[p.metric], several))
        for p in pairs[:MOST_PAIRS]
    ]
    return grid(title, heads, rows, note=note, total=len(pairs))


def _pair_cells(pair: Pair, of: Measure, several: bool) -> list[Cell]:
    between, least = pair.interval, pair.least_detectable
    flip = p_value(pair.p_sign_flip)
    if pair.p_sign_flip is not None and pair.p_sign_flip_least is not None:
        flip += f" (least {pair.p_sign_flip_least:.3g})"
    equivalent = NOTHING
    if pair.equivalent is not None and pair.margin:
        equivalent = "yes" if pair.equivalent else "no"
    tone = pair.verdict if pair.verdict in ("better", "worse") else ""
    return [
        Cell(clean(pair.versus)),
        Cell(clean(of.label) if several else NOTHING),
        Cell(change(pair.difference, of), f"{pair.difference:.6g}"),
        Cell(interval(between.low, between.high, of, signed=True) if between else NOTHING),
        Cell(pair.verdict, tone=tone),
        Cell(p_value(pair.p)),
        Cell(p_value(pair.p_holm)),
        Cell(flip),
        Cell(equivalent),
        Cell(NOTHING if least is None else change(abs(least), of).lstrip("+")),
        Cell(NOTHING if pair.time_ratio is None else f"{pair.time_ratio:.2f} ×"),
        Cell(pair.why or NOTHING),
    ]


def cost_table(inputs: Inputs) -> Grid:
    trained = any(arm.trained for arm in inputs.comparison.arms)
    heads = [
        Head("training" if trained else "method"), Head("whole run"), Head("processor"),
        Head("peak memory"), Head("device memory"), Head("one answer"), Head("a batch"),
        Head("teacher cache", "text"),
    ]  # fmt: skip
    rows = [(clean(arm.arm), _cost_cells(inputs, arm)) for arm in inputs.arms()]
    note = f"Medians over the seeds. {cache_sentence(inputs)}".strip()
    return grid("Cost", heads, rows, note=note)


def _cost_cells(inputs: Inputs, arm: Arm) -> list[Cell]:
    cost, model = arm.cost, arm.model
    caches = [c for c in (r.cost.cache for r in inputs.runs_of(arm.arm)) if c is not None]
    batch, cached = NOTHING, NOTHING
    if model is not None and model.latency_batch_ms is not None:
        batch = milliseconds(model.latency_batch_ms)
        batch += f" for {model.batch}" if model.batch else ""
    if caches:
        cached = (
            f"{show_seconds(cost.cache_saved_s)} saved, {cost.cache_hits} of {len(caches)} runs "
            f"found it, {show_size(max(c.bytes for c in caches))}"
        )
    device = cost.peak_device_bytes
    return [
        Cell(NOTHING if cost.train_s is None else show_seconds(cost.train_s)),
        Cell(show_seconds(cost.wall_s)),
        Cell(show_seconds(cost.cpu_s)),
        Cell(show_size(cost.peak_rss_bytes)),
        Cell(NOTHING if device is None else show_size(device)),
        Cell(milliseconds(model.latency_ms) if model else NOTHING),
        Cell(batch),
        Cell(cached),
    ]


def cache_sentence(inputs: Inputs) -> str:
    made = load_preparation(inputs.out).seconds  # asking the teacher is no single run's cost
    saved = sum(arm.cost.cache_saved_s for arm in inputs.comparison.arms) - made
    if saved <= 0:
        return ""
    spent = sum(r.cost.wall_s for r in inputs.records.values())
    return (
        f"The cache of the teacher's answers saved {show_seconds(saved)} in all, what it took to "
        f"make taken off; the runs took {show_seconds(spent)}."
    )


def run_table(inputs: Inputs) -> Grid:
    measure = inputs.comparison.measure
    heads = [
        Head("seed"), Head(clean(measure.label) if measure else ""), Head("steps"),
        Head("stopped", "text"), Head("seeds as one", "wrap"), Head("took"),
        Head("model hash", "code"),
        Head("method and settings", "wrap"),
    ]  # fmt: skip
    rows = [
        (clean(record.run.arm), _run_cells(record, measure))
        for name in inputs.order
        for record in inputs.runs_of(name)
    ]
    return grid("Runs", heads, rows, note="Every run that the answer rests on.")


def _run_cells(record: RunRecord, measure: Measure | None) -> list[Cell]:
    metric = record.metrics.get(measure.name) if measure else None
    train = record.train
    shown = value(metric.value, measure) if metric and measure else NOTHING
    settings = flat(record.run.config)
    return [
        Cell(str(record.run.seed)),
        Cell(shown, f"{metric.value:.6g}" if metric else ""),
        Cell(NOTHING if train is None else f"{train.steps:,}"),
        Cell(NOTHING if train is None else train.stopped),
        Cell(_as_one(train)),
        Cell(show_seconds(record.cost.wall_s)),
        Cell(NOTHING if record.model is None else clean(record.model.hash[:12])),
        Cell(clean(record.run.method) + ("" if settings == NOTHING else f": {settings}")),
    ]


def _as_one(train: Training | None) -> str:
    """Whether a run trained with other seeds as one model, what that gave, or why it did not."""
    found = train and (train.together or train.alone)
    if not found:
        return NOTHING
    said = f"no: {clean(found.why, 300)}" if isinstance(found, Alone) else f"{found.runs} seeds"
    if found.alone_s is None or found.together_s is None:
        return said
    times = [milliseconds(1e3 * seconds) for seconds in (found.together_s, found.alone_s)]
    return f"{said} ({times[0]} a step of all, {times[1]} one by one)"


__all__ = [
    "Cell", "Grid", "Head", "cost_table", "grid", "metric_table", "pair_tables", "run_table",
    "tables",
]  # fmt: skip
