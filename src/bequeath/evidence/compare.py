"""Compare the arms of a job: paired by seed and by sample, with what the answer cost."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

from bequeath.evidence import stats
from bequeath.evidence.answer import sentence
from bequeath.evidence.bench import Bench, Side, counted, open_bench
from bequeath.evidence.comparison import (
    Arm,
    ArmCost,
    Comparison,
    Missing,
    Pair,
    Reference,
    Spread,
)
from bequeath.evidence.detail import calibration, class_change, confusion, flips
from bequeath.evidence.pairs import interval_of, pair, shared, with_holm
from bequeath.evidence.record import Model, RunRecord
from bequeath.kernel.errors import Problem, RunError


def compare(
    out: Path,
    primary: str | None = None,
    margin: float = 0.01,
    baseline: str | None = None,
    references: Sequence[str] | None = None,
    *,
    order: Sequence[str] | None = None,
    expected: Mapping[str, Sequence[int]] | None = None,
    draws: int = stats.DRAWS,
) -> Comparison:
    """Compare the complete runs under `out`.

    primary: the metric that decides; default `accuracy`, else the metric that most arms have, else
    none: nothing was measured. margin: the difference, in that metric's unit, below which two arms
    are as good as each other. baseline: an arm; default the first arm marked as one. references:
    roles under `out/references`, default all. order: arms as they should be shown. expected: arm
    -> seeds that were asked for; default every seed that any arm has.

    Arms are compared in what they share, by sample where a metric is a mean over samples.

    RunError R561-R563 (a run cannot be read), R564 (no runs), R565 (no such metric), R567 (no such
    baseline), R566 (different test samples), R569 (one name, two metrics).
    """
    bench = open_bench(out, order=order, references=references)
    return compare_bench(bench, primary, margin, baseline, expected=expected, draws=draws)


def compare_bench(
    bench: Bench,
    primary: str | None = None,
    margin: float = 0.01,
    baseline: str | None = None,
    *,
    expected: Mapping[str, Sequence[int]] | None = None,
    draws: int = stats.DRAWS,
) -> Comparison:
    """The same of runs that have been opened."""
    primary = _primary(bench) if primary is None else primary
    _check(bench, primary, baseline)
    missing = _missing(bench, expected)
    base = _baseline(bench, baseline)
    others = [a for a in bench.arms if a is not base]

    def pairs(sides: Iterable[tuple[Side, Side]], metric: str | None = primary) -> list[Pair]:
        # The margin is in the primary metric's unit and says nothing of another metric.
        return _pairs(sides, metric, margin if metric == primary else 0.0, draws)

    against = [(a, base) for a in others] if base else []
    details = _details(others, base, bench)
    result = Comparison(
        primary=primary,
        direction=None if primary is None else bench.measures[primary].direction,
        margin=margin,
        baseline=base.name if base else None,
        measures=dict(bench.measures),
        classes=list(bench.classes),
        n_samples=_n_samples(bench, primary),
        models_given={r: m.bytes for r, m in bench.arms[0].first.provenance.models.items()},
        arms=[_arm(a, missing, draws) for a in bench.arms],
        references=[_reference(r, draws) for r in bench.references],
        versus_baseline=with_holm(pairs(against)),
        pairs=with_holm(pairs(itertools.combinations(others, 2))),
        versus_reference=with_holm(pairs((a, r) for r in bench.references for a in bench.arms)),
        other_metrics=[p for m in bench.measures if m != primary for p in pairs(against, m)],
        flips=[flips(bench, a, b) for a, b in details],
        class_change=[class_change(bench, a, b) for a, b in details],
        confusion=[confusion(bench, a) for a in bench.arms if a.answered],
        calibration=[calibration(a) for a in bench.arms if a.answered],
        missing=missing,
        notes=_notes(bench, primary, missing),
    )
    return result.model_copy(update={"sentence": sentence(result)})


def _pairs(
    sides: Iterable[tuple[Side, Side]], metric: str | None, margin: float, draws: int
) -> list[Pair]:
    """The pairs of those sides that both have the metric."""
    if metric is None:
        return []
    both = [(a, b) for a, b in sides if a.has(metric) and b.has(metric)]
    return [pair(a, b, metric, margin, draws=draws) for a, b in both]


def _primary(bench: Bench) -> str | None:
    """`accuracy`, or the metric that most arms have, the first of them as the first arm lists."""
    names = list(dict.fromkeys(m for arm in bench.arms for m in arm.metrics))
    if "accuracy" in names:
        return "accuracy"
    return max(names, key=lambda m: sum(arm.has(m) for arm in bench.arms), default=None)


def _baseline(bench: Bench, name: str | None) -> Side | None:
    """The arm of that name, or the first that was run as a baseline."""
    if name is not None:
        return bench.arm(name)
    return next((a for a in bench.arms if a.first.run.baseline), None)


def _n_samples(bench: Bench, primary: str | None) -> int:
    if primary is None:
        return 0
    return max(side.first.metrics[primary].n for side in bench.arms if side.has(primary))


def _spread(side: Side, metric: str, draws: int) -> Spread:
    terms = counted(side.terms(metric, side.seeds))
    values = side.values(metric, side.seeds)
    of = stats.estimate(values, None if terms is None else terms[0], draws=draws)
    first = side.first.metrics[metric]
    return Spread(
        mean=of.value,
        sd=of.sd_seeds,
        interval=interval_of(of, 0.95),
        direction=first.direction,
        n_seeds=of.n_seeds,
        n_samples=first.n,
        values=dict(zip(side.seeds, values.tolist(), strict=True)),
    )


def _arm(side: Side, missing: list[Missing], draws: int) -> Arm:
    records = [side.records[s] for s in side.seeds]
    run = side.first.run
    return Arm(
        arm=side.name,
        method=run.method,
        want=run.want,
        baseline=run.baseline,
        seeds=side.seeds,
        missing=[m.seed for m in missing if m.arm == side.name],
        metrics={m: _spread(side, m, draws) for m in side.metrics},
        cost=_cost(records),
        trained=any(r.train is not None and r.train.steps > 0 for r in records),
        model=_model(records),
    )


def _model(records: list[RunRecord]) -> Model | None:
    """The first seed's model, with the median latencies of all."""
    models = [r.model for r in records if r.model is not None]
    if not models:
        return None
    one = [m.latency_ms for m in models if m.latency_ms is not None]
    many = [m.latency_batch_ms for m in models if m.latency_batch_ms is not None]
    return models[0].model_copy(
        update={
            "latency_ms": median(one) if one else None,
            "latency_batch_ms": median(many) if many else None,
        }
    )


def _reference(side: Side, draws: int) -> Reference:
    metrics = {m: _spread(side, m, draws) for m in side.metrics}
    return Reference(role=side.name, metrics=metrics, model=side.first.model)


def _cost(records: list[RunRecord]) -> ArmCost:
    costs = [r.cost for r in records]
    method = [c.train_s for c in costs if c.train_s is not None]
    device = [c.peak_device_bytes for c in costs if c.peak_device_bytes is not None]
    caches = [c.cache for c in costs if c.cache is not None]
    return ArmCost(
        wall_s=median(c.wall_s for c in costs),
        train_s=median(method) if method else None,
        cpu_s=median(c.cpu_s for c in costs),
        peak_rss_bytes=int(median(c.peak_rss_bytes for c in costs)),
        peak_device_bytes=int(median(device)) if device else None,
        cache_hits=sum(c.hit for c in caches),
        cache_saved_s=sum(c.saved_s for c in caches),
    )


def _details(others: list[Side], base: Side | None, bench: Bench) -> list[tuple[Side, Side]]:
    """Each arm against the baseline, then every arm against each reference; classifiers only."""
    found = [(a, base) for a in others if base is not None and shared(a, base)]
    found += [(a, r) for r in bench.references for a in bench.arms]
    return [(a, b) for a, b in found if a.answered and b.answered]


def _missing(bench: Bench, expected: Mapping[str, Sequence[int]] | None) -> list[Missing]:
    every = sorted({s for a in bench.arms for s in a.seeds})
    have = {a.name: set(a.seeds) for a in bench.arms}
    wanted = expected or {a.name: every for a in bench.arms}
    return [
        Missing(arm=name, seed=seed, reason="no complete run folder; the run failed or was stopped")
        for name, seeds in wanted.items()
        for seed in sorted(seeds)
        if seed not in have.get(name, set())
    ]


def _notes(bench: Bench, primary: str | None, missing: list[Missing]) -> list[str]:
    notes = [] if primary is None else _notes_on(bench, primary)
    if missing:
        listed = ", ".join(f"{m.arm} seed {m.seed}" for m in missing[:10])
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        notes.append(f"Runs that are missing: {listed}{more}. Pairs use the seeds both arms have.")
    return notes


def _notes_on(bench: Bench, primary: str) -> list[str]:
    """How the intervals of the primary metric came about."""
    have = [a for a in bench.arms if a.has(primary)]
    measure = bench.measures[primary]
    least = min(len(a.seeds) for a in have)
    means = counted(have[0].terms(primary, have[0].seeds)) is not None
    notes = []
    if means and least > 1:
        notes.append(
            f"Differences are paired by seed and by {_one(measure.counts)}. Intervals resample "
            "both; the seed part is widened to what so few seeds can support (tails of Student's "
            "t)."
        )
    elif means:
        notes.append(
            f"One seed: the interval is over {measure.counts} only. What another run would give "
            "is not in it."
        )
    elif least > 1:
        notes.append(
            f"The metric {measure.label} is no mean over samples: differences are paired by seed, "
            "and its interval is over seeds only (tails of Student's t)."
        )
    else:
        notes.append(
            f"The metric {measure.label} is no mean over samples, and one seed has no interval."
        )
    if 1 < least < 6:
        notes.append(
            f"With {least} seeds the exact sign-flip test cannot fall below "
            f"p = {2.0 ** (1 - least):g}; the verdicts rest on the intervals."
        )
    lacking = [a.name for a in bench.arms if a not in have]
    if lacking:
        notes.append(f"The metric {measure.label} was not measured for {', '.join(lacking)}.")
    return notes


def _one(counts: str) -> str:
    """`test samples` -> `test sample`; what has no plain plural stays."""
    if counts.endswith("ies"):
        return counts[:-3] + "y"
    return counts.removesuffix("s")


def _check(bench: Bench, primary: str | None, baseline: str | None) -> None:
    if primary is not None and not any(arm.has(primary) for arm in bench.arms):
        known = sorted({m for arm in bench.arms for m in arm.metrics})
        raise RunError(
            Problem(
                "R565",
                f"no arm has the metric `{primary}` in every seed",
                label=f"they have: {', '.join(known) or 'none'}",
                remedies=("name one of those, or evaluate that metric in the job",),
            )
        )
    names = [a.name for a in bench.arms]
    if baseline is not None and baseline not in names:
        raise RunError(
            Problem(
                "R567",
                f"the baseline `{baseline}` is not among the runs",
                label=f"there are: {', '.join(names)}",
                remedies=("name one of those arms as the baseline",),
            )
        )


__all__ = ["compare", "compare_bench", "pair", "sentence", "with_holm"]
