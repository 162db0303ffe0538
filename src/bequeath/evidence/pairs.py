"""Two sides on one metric: the paired difference, its interval, tests and verdict."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from bequeath.evidence import stats
from bequeath.evidence.bench import Side, counted
from bequeath.evidence.comparison import Interval, Pair, Verdict

ALPHA = 0.05


def pair(arm: Side, versus: Side, metric: str, margin: float, *, draws: int = stats.DRAWS) -> Pair:
    """One paired comparison on one metric; p_holm is p until `with_holm` sees the whole list."""
    direction = arm.first.metrics[metric].direction
    seeds = arm.seeds if versus.kind == "reference" else shared(arm, versus)
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
    terms = counted(arm.terms(metric, seeds), versus.terms(metric, seeds))
    of = stats.estimate(values, None if terms is None else terms[0] - terms[1], draws=draws)
    flip = stats.sign_flip(values) if len(seeds) > 1 else (None, None)
    known = of.draws is not None
    p = stats.p_value(of.draws) if of.draws is not None else None
    return _decided(
        Pair(
            **common,
            n_samples=of.n_samples,
            difference=of.value,
            gain=sign * of.value + 0.0,
            interval=interval_of(of, 0.95),
            interval90=interval_of(of, 0.90),
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


def interval_of(of: stats.Estimate, level: float) -> Interval | None:
    if of.draws is None:
        return None
    low, high = stats.interval(of.draws, level)
    return Interval(low=low, high=high, level=level, over=of.over)  # type: ignore[arg-type]


def shared(a: Side, b: Side) -> list[int]:
    """The seeds that both have."""
    return sorted(set(a.seeds) & set(b.seeds))


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


def _time_ratio(arm: Side, versus: Side, seeds: Sequence[int]) -> float | None:
    """Median over seeds of the method's time against the other's; None where one has no time."""
    if versus.kind == "reference":
        return None
    ratios = []
    for seed in seeds:
        mine, theirs = arm.records[seed].cost.train_s, versus.records[seed].cost.train_s
        if mine is None or not theirs:
            return None
        ratios.append(mine / theirs)
    return float(median(ratios))


__all__ = ["interval_of", "pair", "shared", "with_holm"]
