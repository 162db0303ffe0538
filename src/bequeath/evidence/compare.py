"""Compare the arms of a job: paired by seed and by sample, with what the answer cost."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bequeath.evidence import stats
from bequeath.evidence.answer import sentence
from bequeath.evidence.bench import Bench, Side, open_bench
from bequeath.evidence.comparison import (
    Arm,
    ArmCost,
    Comparison,
    Interval,
    Missing,
    Pair,
    Reference,
    Spread,
    Verdict,
)
from bequeath.evidence.detail import calibration, class_change, confusion, flips
from bequeath.evidence.record import RunRecord
from bequeath.kernel.errors import Problem, RunError

ALPHA = 0.05


def compare(
    out: Path,
    primary: str = "accuracy",
    margin: float = 0.01,
    baseline: str | None = None,
    references: Sequence[str] | None = None,
    *,
    order: Sequence[str] | None = None,
    expected: Mapping[str, Sequence[int]] | None = None,
    draws: int = stats.DRAWS,
) -> Comparison:
    """Compare the complete runs under `out`.

    primary: the metric that decides. margin: the difference, in that metric's unit, below which
    two arms are as good as each other. baseline: an arm; default the first arm marked as one.
    references: roles under `out/references`, default all. order: arms as they should be shown.
    expected: arm -> seeds that were asked for; default every seed that any arm has.

    RunError R561-R563 (a run cannot be read), R564 (no runs), R565 (no such metric), R566
    (different test samples), R567 (no such baseline).
    """
    bench = open_bench(out, order=order, references=references)
    _check(bench, primary, baseline)
    if baseline is None:
        baseline = next((a.name for a in bench.arms if a.first.run.baseline), None)
    missing = _missing(bench, expected)
    base = bench.arm(baseline) if baseline is not None else None
    others = [a for a in bench.arms if a is not base]

    def pairs(sides: Iterable[tuple[Side, Side]], metric: str = primary) -> list[Pair]:
        # The margin is in the primary metric's unit and says nothing of another metric.
        limit = margin if metric == primary else 0.0
        return [pair(a, b, metric, limit, draws=draws) for a, b in sides]

    against = [(a, base) for a in others] if base else []
    secondary = [m for m in bench.arms[0].first.metrics if m != primary and _everywhere(bench, m)]
    result = Comparison(
        primary=primary,
        direction=bench.arms[0].first.metrics[primary].direction,
        margin=margin,
        baseline=baseline,
        classes=list(bench.classes),
        n_samples=len(bench.idx),
        arms=[_arm(a, missing, draws) for a in bench.arms],
        references=[_reference(r, draws) for r in bench.references],
        versus_baseline=with_holm(pairs(against)),
        pairs=with_holm(pairs(itertools.combinations(others, 2))),
        versus_reference=with_holm(
            pairs((a, r) for r in bench.references if r.has(primary) for a in bench.arms)
        ),
        other_metrics=[p for m in secondary for p in pairs(against, m)],
        flips=[flips(bench, a, b) for a, b in _details(others, base, bench)],
        class_change=[class_change(bench, a, b) for a, b in _details(others, base, bench)],
        confusion=[confusion(bench, a) for a in bench.arms],
        calibration=[calibration(a) for a in bench.arms],
        missing=missing,
        notes=_notes(bench, primary, missing),
    )
    return result.model_copy(update={"sentence": sentence(result)})


def pair(arm: Side, versus: Side, metric: str, margin: float, *, draws: int = stats.DRAWS) -> Pair:
    """One paired comparison on one metric; p_holm is p until `with_holm` sees the whole list."""
    direction = arm.first.metrics[metric].direction
    seeds = arm.seeds if versus.kind == "reference" else _shared(arm, versus)
    common: dict[str, Any] = {
        "arm": arm.name,
        "versus": versus.name,
        "versus_kind": versus.kind,
        "metric": metric,
        "direction": direction,
        "seeds": seeds,
        "margin": margin,
    }
    sign = 1.0 if direction == "higher" else -1.0
    if not seeds:
        gap = float(
            arm.values(metric, arm.seeds).mean() - versus.values(metric, versus.seeds).mean()
        )
        why = "no seed in common, so nothing is paired"
        return _decided(Pair(**common, n_samples=0, difference=gap, gain=sign * gap,
                             verdict="not distinguishable", why=why))  # fmt: skip
    values = arm.values(metric, seeds) - versus.values(metric, seeds)
    mine, theirs = arm.terms(metric, seeds), versus.terms(metric, seeds)
    terms = mine - theirs if mine is not None and theirs is not None else None
    of = stats.estimate(values, terms, draws=draws)
    flip = stats.sign_flip(values) if len(seeds) > 1 else (None, None)
    known = of.draws is not None
    p = stats.p_value(of.draws) if of.draws is not None else None
    return _decided(
        Pair(
            **common,
            n_samples=of.n_samples,
            difference=of.value,
            gain=sign * of.value + 0.0,
            interval=_interval(of, 0.95),
            interval90=_interval(of, 0.90),
            sd_seeds=of.sd_seeds,
            p=p,
            p_holm=p,
            p_sign_flip=flip[0],
            p_sign_flip_least=flip[1],
            equivalent=stats.equivalent(of.draws, margin) if of.draws is not None else None,
            verdict="not distinguishable",
            why="" if known else "one seed of a metric that is no mean over samples: no interval",
            least_detectable=stats.least_detectable(of),
            time_ratio=_time_ratio(arm, versus, seeds),
        )
    )


def with_holm(pairs: list[Pair]) -> list[Pair]:
    """The pairs with p adjusted over their number, and verdicts that hold after it."""
    adjusted = stats.holm([p.p for p in pairs])
    return [
        _decided(p.model_copy(update={"p_holm": value}), len(pairs))
        for p, value in zip(pairs, adjusted, strict=True)
    ]


def _decided(pair: Pair, family: int = 1) -> Pair:
    if pair.interval is None:
        return pair
    low, high = pair.interval.low, pair.interval.high
    clear = low > 0 or high < 0
    holds = pair.p_holm is not None and pair.p_holm <= ALPHA
    verdict: Verdict = "not distinguishable"
    if clear and holds:
        verdict = "better" if pair.gain > 0 else "worse"
        why = "the 95 % interval excludes zero"
        why += f", and p does after Holm over {family} comparisons" if family > 1 else ""
        why += "; the difference is smaller than the margin" if pair.equivalent else ""
        why += "; of these two models only, there is one seed" if len(pair.seeds) == 1 else ""
    elif pair.equivalent:
        verdict = "equivalent"
        why = f"the 90 % interval lies within ±{pair.margin:g} (two one-sided tests)"
    elif clear:
        why = f"the 95 % interval excludes zero, but not after Holm over {family} comparisons"
    else:
        why = "the 95 % interval holds zero and reaches beyond the margin"
    return pair.model_copy(update={"verdict": verdict, "why": why})


def _interval(of: stats.Estimate, level: float) -> Interval | None:
    if of.draws is None:
        return None
    low, high = stats.interval(of.draws, level)
    return Interval(low=low, high=high, level=level, over=of.over)  # type: ignore[arg-type]


def _spread(side: Side, metric: str, draws: int) -> Spread:
    values, terms = side.values(metric, side.seeds), side.terms(metric, side.seeds)
    of = stats.estimate(values, terms, draws=draws)
    first = side.first.metrics[metric]
    return Spread(
        mean=of.value,
        sd=of.sd_seeds,
        interval=_interval(of, 0.95),
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
        metrics={m: _spread(side, m, draws) for m in side.first.metrics if side.has(m)},
        cost=_cost(records),
        model=side.first.model.model_copy(
            update={
                "latency_ms": median(r.model.latency_ms for r in records),
                "latency_batch_ms": median(r.model.latency_batch_ms for r in records),
            }
        ),
    )


def _reference(side: Side, draws: int) -> Reference:
    metrics = {m: _spread(side, m, draws) for m in side.first.metrics}
    return Reference(role=side.name, metrics=metrics, model=side.first.model)


def _cost(records: list[RunRecord]) -> ArmCost:
    costs = [r.cost for r in records]
    device = [c.peak_device_bytes for c in costs if c.peak_device_bytes is not None]
    caches = [c.cache for c in costs if c.cache is not None]
    return ArmCost(
        wall_s=median(c.wall_s for c in costs),
        train_s=median(c.train_s for c in costs),
        cpu_s=median(c.cpu_s for c in costs),
        peak_rss_bytes=int(median(c.peak_rss_bytes for c in costs)),
        peak_device_bytes=int(median(device)) if device else None,
        cache_hits=sum(c.hit for c in caches),
        cache_saved_s=sum(c.saved_s for c in caches),
    )


def _time_ratio(arm: Side, versus: Side, seeds: Sequence[int]) -> float | None:
    if versus.kind == "reference" or any(versus.records[s].cost.train_s <= 0 for s in seeds):
        return None
    pairs = ((arm.records[s].cost.train_s, versus.records[s].cost.train_s) for s in seeds)
    return float(median(mine / theirs for mine, theirs in pairs))


def _shared(a: Side, b: Side) -> list[int]:
    return sorted(set(a.seeds) & set(b.seeds))


def _everywhere(bench: Bench, metric: str) -> bool:
    return all(arm.has(metric) for arm in bench.arms)


def _details(others: list[Side], base: Side | None, bench: Bench) -> list[tuple[Side, Side]]:
    """Each arm against the baseline, then every arm against each reference."""
    found = [(a, base) for a in others if base is not None and _shared(a, base)]
    return found + [(a, r) for r in bench.references for a in bench.arms]


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


def _notes(bench: Bench, primary: str, missing: list[Missing]) -> list[str]:
    least = min(len(a.seeds) for a in bench.arms)
    notes = [
        "Differences are paired by seed and by test sample. Intervals resample both; the seed part "
        "is widened to what so few seeds can support (tails of Student's t).",
    ]
    if least == 1:
        notes.append(
            "One seed: the interval is over test samples only. What another training would give "
            "is not in it."
        )
    elif least < 6:
        notes.append(
            f"With {least} seeds the exact sign-flip test cannot fall below "
            f"p = {2.0 ** (1 - least):g}; the verdicts rest on the intervals."
        )
    if bench.arms[0].terms(primary, bench.arms[0].seeds) is None:
        notes.append(f"`{primary}` is no mean over samples: its interval is over seeds only.")
    if missing:
        listed = ", ".join(f"{m.arm} seed {m.seed}" for m in missing[:10])
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        notes.append(f"Runs that are missing: {listed}{more}. Pairs use the seeds both arms have.")
    return notes


def _check(bench: Bench, primary: str, baseline: str | None) -> None:
    for arm in bench.arms:
        if not arm.has(primary):
            raise RunError(
                Problem(
                    "R565",
                    f"arm `{arm.name}` has no metric `{primary}`",
                    label=f"it has: {', '.join(sorted(arm.first.metrics)) or 'none'}",
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


__all__ = ["compare", "pair", "sentence", "with_holm"]
