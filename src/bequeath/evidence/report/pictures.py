"""Which pictures a report has, in which order, with what under them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from bequeath.evidence.comparison import ClassChange, Flips, Pair
from bequeath.evidence.inputs import Inputs
from bequeath.evidence.measure import Measure, within
from bequeath.evidence.record import POINTS, SHARE
from bequeath.evidence.report import figures
from bequeath.evidence.report.words import clean

MOST_CLASSES = 16
MOST_ARMS = 6
MOST_SEEDS = 8
MOST_STEPS = 80


@dataclass(frozen=True)
class Picture:
    title: str
    svg: Markup
    caption: str


def quality_and_cost(inputs: Inputs) -> list[Picture]:
    """Quality against size and time; against latency where one of them says nothing."""
    measure = inputs.comparison.measure
    if measure is None:
        return []
    trained = any(arm.trained for arm in inputs.comparison.arms)
    made: list[Picture] = []
    for name, title, cost, key in (
        ("size", "What a model weighs", "parameters", "parameters"),
        ("time", "What training took", "training time of one run, s", "train_s")
        if trained
        else ("time", "What it took", "time of one run, s", "train_s"),
        ("latency", "What an answer takes", "latency of one sample, ms", "latency_ms"),
    ):
        points = _points(inputs, key, measure)
        costs = {p.cost for p in points}
        if len(points) < 2 or (len(costs) < 2 and name != "time") or len(made) == 2:
            continue
        drawing = figures.pareto(
            name,
            points,
            cost=cost,
            quality=clean(measure.axis, 60),
            percent=measure.unit == SHARE,
            higher=measure.direction == "higher",
            log=max(costs) > 8 * min(costs),
        )
        caption = (
            "Mean over the seeds with its 95 % interval; the line joins the arms that no other "
            "beats on both counts."
        )
        if any(p.reference for p in points):
            caption += " The hollow mark is the model as it came."
        made.append(Picture(title, Markup(drawing), caption))
    return made


def _points(inputs: Inputs, key: str, measure: Measure) -> list[figures.Point]:
    """Arms and references that have both the metric and the cost, in the figure's scale."""
    scale = 100.0 if measure.unit == POINTS else 1.0
    points = []
    for arm in inputs.arms():
        spread = arm.metrics.get(measure.name)
        cost = arm.cost.train_s if key == "train_s" else getattr(arm.model, key, None)
        if spread is None or not cost:
            continue
        low, high = None, None
        if spread.interval is not None:
            low, high = within(spread.interval.low, spread.interval.high, measure)
            low, high = scale * low, scale * high
        points.append(
            figures.Point(
                clean(arm.arm), float(cost), scale * spread.mean, low, high, inputs.look(arm.arm)
            )
        )
    for reference in inputs.comparison.references if key != "train_s" else ():
        cost, spread = getattr(reference.model, key, None), reference.metrics.get(measure.name)
        if spread is not None and cost:
            points.append(
                figures.Point(
                    clean(reference.role), float(cost), scale * spread.mean, look=7, reference=True
                )
            )
    return points


def differences(inputs: Inputs) -> list[Picture]:
    """The forest plots: against the baseline, and against each reference."""
    made: list[Picture] = []
    measure, margin = inputs.comparison.measure, inputs.comparison.margin
    if measure is None:
        return []
    groups = [("baseline", inputs.comparison.baseline, inputs.comparison.versus_baseline)]
    groups += [
        (f"reference{k}", r.role, [p for p in inputs.comparison.versus_reference
                                   if p.versus == r.role])
        for k, r in enumerate(inputs.comparison.references)
    ]  # fmt: skip
    for name, versus, pairs in groups:
        if not versus or not pairs:
            continue
        scale = 100.0 if measure.unit == POINTS else 1.0
        ranked = sorted(pairs, key=lambda p: inputs.order.index(p.arm))[:30]
        drawing = figures.forest(
            name,
            [_row(inputs, p, versus, scale) for p in ranked],
            versus=clean(versus),
            margin=scale * margin,
            percent=measure.unit == SHARE,
            unit=clean(measure.unit),
        )
        caption = (
            f"Paired differences of {clean(measure.label)} with their 95 % intervals, before any "
            "correction for many comparisons; small marks are single seeds. Inside the shaded "
            "band a difference is too small to matter. Blue is better, orange worse, grey "
            "undecided or the same."
        )
        made.append(Picture(f"Difference from {clean(versus)}", Markup(drawing), caption))
    return made


def _row(inputs: Inputs, pair: Pair, versus: str, scale: float) -> figures.Row:
    between = pair.interval
    seeds = _seed_differences(inputs, pair.arm, versus, pair.seeds, pair.metric)
    return figures.Row(
        clean(pair.arm),
        scale * pair.difference,
        scale * between.low if between else None,
        scale * between.high if between else None,
        tuple(scale * seed for seed in seeds),
        pair.verdict,
    )


def _seed_differences(
    inputs: Inputs, arm: str, versus: str, seeds: Sequence[int], metric: str
) -> tuple[float, ...]:
    mine = inputs.arm(arm).metrics[metric].values
    for other in inputs.comparison.arms:
        if other.arm == versus and metric in other.metrics:
            theirs = other.metrics[metric].values
            return tuple(mine[s] - theirs[s] for s in seeds if s in mine and s in theirs)
    return ()


def learning_curves(inputs: Inputs) -> list[Picture]:
    """Loss terms and their gradient share, arm by arm; the first arms only when there are many."""
    drawn: dict[str, list[list[dict[str, Any]]]] = {}
    for arm in inputs.order:
        logs = [inputs.logs[key] for key in sorted(inputs.logs) if key[0] == arm]
        if any(_series(log, "value") for log in logs) and len(drawn) < MOST_ARMS:
            drawn[arm] = logs[:MOST_SEEDS]
    values = {arm: [_series(log, "value") for log in logs] for arm, logs in drawn.items()}
    terms = dict.fromkeys(term for seeds in values.values() for seed in seeds for term in seed)
    looks = {term: k for k, term in enumerate(sorted(terms))}
    made: list[Picture] = []
    for k, (arm, logs) in enumerate(drawn.items()):
        shares = [_series(log, "share") for log in logs]
        drawing = figures.curves(f"curves{k}", clean(arm), values[arm], shares, looks)
        lines = "One seed." if len(logs) == 1 else f"{len(logs)} seeds, one thin line each."
        made.append(Picture(clean(arm), Markup(drawing), lines))
    return made


def _series(log: Iterable[dict[str, Any]], what: str) -> dict[str, list[tuple[float, float]]]:
    """term -> its points. A run of several fits (a stream of tasks) is one line, end to end."""
    series: dict[str, list[tuple[float, float]]] = {}
    fit, before, last = None, 0.0, 0.0
    for line in log:
        terms, step = line.get("terms"), line.get("step")
        if not isinstance(terms, dict) or not isinstance(step, int | float):
            continue
        if line.get("fit") != fit:
            fit, before = line.get("fit"), last
        step = last = before + float(step)
        for term, entry in terms.items():
            number = entry.get(what) if isinstance(entry, dict) else None
            if isinstance(number, int | float):
                series.setdefault(clean(term, 40), []).append((step, float(number)))
    return {term: _thin(points) for term, points in series.items()}


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `MOST_STEPS` points: means of equal runs of them, so that noise does not alias."""
    if len(points) <= MOST_STEPS:
        return points
    size = -(-len(points) // MOST_STEPS)
    groups = [points[k : k + size] for k in range(0, len(points), size)]
    return [tuple(sum(c) / len(g) for c in zip(*g)) for g in groups]


def flip_pictures(inputs: Inputs) -> list[Picture]:
    """By arm against each partner, then the headline arm by class."""
    made: list[Picture] = []
    partners = dict.fromkeys((f.versus_kind, f.versus) for f in inputs.comparison.flips)
    for k, (kind, versus) in enumerate(partners):
        group = [f for f in inputs.comparison.flips if (f.versus_kind, f.versus) == (kind, versus)]
        group.sort(key=lambda f: inputs.order.index(f.arm))
        rows = [figures.Flip(clean(f.arm), f.mended, f.broken) for f in group[:20]]
        drawing = figures.flips(f"flips{k}", rows, versus=clean(versus), unit="samples")
        caption = (
            f"Of {group[0].n_samples:,} test samples: those {clean(versus)} had wrong and the arm "
            "has right (mended), and the reverse (broken); mean over the seeds."
        )
        made.append(Picture(f"Mended and broken against {clean(versus)}", Markup(drawing), caption))
        mine = next((f for f in group if f.arm == inputs.headline), None)
        if mine is not None and mine.by_class:
            made.append(_flips_by_class(inputs, mine, k))
    return made


def _flips_by_class(inputs: Inputs, flips: Flips, k: int) -> Picture:
    names = inputs.comparison.classes
    ranked = sorted(flips.by_class, key=lambda c: (-(c.mended + c.broken), c.label))
    shown = ranked[:MOST_CLASSES]
    rows = [figures.Flip(_class(names, c.label), c.mended, c.broken) for c in shown]
    arm, versus = clean(flips.arm), clean(flips.versus)
    drawing = figures.flips(f"flipclass{k}", rows, versus=versus, unit="samples")
    caption = "Samples, mean over the seeds; most changed first."
    if len(ranked) > len(shown):
        caption = f"The {len(shown)} most changed of {len(names):,} classes; mean over the seeds."
    return Picture(f"{arm} against {versus}, by class", Markup(drawing), caption)


def class_pictures(inputs: Inputs) -> list[Picture]:
    """Per-class change of the headline arm against the baseline and against each reference."""
    made: list[Picture] = []
    for k, item in enumerate(c for c in inputs.comparison.class_change if c.arm == inputs.headline):
        if item.rows:
            made.append(_class_change(item, k))
    return made


def _class_change(item: ClassChange, k: int) -> Picture:
    ranked = sorted(item.rows, key=lambda r: (-abs(r.change), r.label))[:MOST_CLASSES]
    ranked.sort(key=lambda r: (-r.change, r.label))
    rows = [figures.Row(f"{clean(r.name, 60)}", r.change) for r in ranked]
    arm, versus = clean(item.arm), clean(item.versus)
    drawing = figures.class_change(f"class{k}", rows, versus=versus)
    sizes = [r.n for r in item.rows]
    many = f"{len(ranked)} most changed of {len(item.rows):,} classes; a" if len(ranked) < len(
        item.rows
    ) else "A"  # fmt: skip
    caption = (
        f"{many} class has {min(sizes):,} to {max(sizes):,} test samples, so that one sample is up "
        f"to {100 / max(1, min(sizes)):.1f} points."
    )
    return Picture(f"{arm} against {versus}, class by class", Markup(drawing), caption)


def _class(names: Sequence[str], label: int) -> str:
    return clean(names[label], 60) if 0 <= label < len(names) else str(label)


__all__ = [
    "Picture", "class_pictures", "differences", "flip_pictures", "learning_curves",
    "quality_and_cost",
]  # fmt: skip
