"""Judge a claim on a comparison, and keep the judgement: supported, not supported, inconclusive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from bequeath.evidence import stats
from bequeath.evidence.claims import Claim, ClaimVerdict, Fact, Scale, Statement
from bequeath.evidence.comparison import Comparison, Missing, Pair, Spread
from bequeath.evidence.measure import unit_of
from bequeath.evidence.record import Machine, Part, RunRecord


class StatementResult(Part):
    """A statement with its figures. Differences are arm - versus, in the metric's unit."""

    statement: Statement
    decides: bool = Field(description="counts at this scale")
    arm_mean: float | None = None
    versus_mean: float | None = None
    unit: str = Field(default="", description="of the metric; `share` is written in points")
    difference: float | None = Field(default=None, description="or the arm's mean, without versus")
    low: float | None = Field(default=None, description="95 % interval")
    high: float | None = None
    low90: float | None = Field(default=None, description="90 % interval, for `same`")
    high90: float | None = None
    over: str = "nothing"
    seeds: list[int] = Field(default_factory=list)
    p_sign_flip: float | None = None
    p_sign_flip_least: float | None = None
    least_detectable: float | None = None
    verdict: ClaimVerdict
    why: str


class ArmFigures(Part):
    metrics: dict[str, Spread]
    parameters: int | None = None
    train_s: float | None = None


class JudgementProvenance(Part):
    bequeath: str
    commit: str | None
    dirty: bool | None
    job_hashes: list[str]
    started: str
    versions: dict[str, str]
    machine: Machine
    runs: int
    wall_s: float = Field(description="summed over the runs")


class Judgement(Part):
    schema_version: int = 1
    claim: str
    title: str
    card: int
    paper: str
    source: list[Fact]
    scale: Scale
    verdict: ClaimVerdict
    statements: list[StatementResult]
    sentence: str
    arms: dict[str, ArmFigures]
    missing: list[Missing]
    provenance: JudgementProvenance


@dataclass(frozen=True)
class _Measured:
    """What is known of the difference a statement speaks of; `low` is None without an interval."""

    value: float
    bounds: tuple[float, float] | None
    bounds90: tuple[float, float] | None
    over: str
    seeds: list[int]
    flip: tuple[float | None, float | None]
    least_detectable: float | None


def judge(
    claim: Claim, comparison: Comparison, records: Sequence[RunRecord], scale: Scale
) -> Judgement:
    """Judge every statement of `claim` on what was run at `scale`.

    The primary metric is judged on the comparison's interval (seeds and samples); other metrics
    and notes on their values, paired by seed. ValueError when `records` is empty.
    """
    if not records:
        raise ValueError("nothing was run")
    results = [_judged(s, comparison, records, scale) for s in claim.statements]
    return Judgement(
        claim=claim.id,
        title=claim.title,
        card=claim.card,
        paper=claim.paper,
        source=list(claim.source),
        scale=scale,
        verdict=overall(results),
        statements=results,
        sentence=comparison.sentence,
        arms={
            a.arm: ArmFigures(
                metrics=a.metrics,
                parameters=None if a.model is None else a.model.parameters,
                train_s=a.cost.train_s,
            )
            for a in comparison.arms
        },
        missing=comparison.missing,
        provenance=_provenance(records),
    )


def overall(results: Sequence[StatementResult]) -> ClaimVerdict:
    """Supported when every deciding statement is; not supported when one is not."""
    verdicts = [r.verdict for r in results if r.decides]
    if "not supported" in verdicts:
        return "not supported"
    return "supported" if verdicts and set(verdicts) == {"supported"} else "inconclusive"


def _judged(
    statement: Statement, comparison: Comparison, records: Sequence[RunRecord], scale: Scale
) -> StatementResult:
    known = comparison.measures.get(statement.metric)
    common: dict[str, Any] = {
        "statement": statement,
        "decides": scale in statement.decides,
        "unit": known.unit if known else unit_of(statement.metric, None),
    }
    mine = _values(records, statement.arm, statement.metric)
    theirs: dict[int, float] = {}
    if statement.versus is not None:
        theirs = _values(records, statement.versus, statement.metric)
        theirs = theirs or _of_reference(comparison, statement, list(mine))
    lacking = [
        name
        for name, values in ((statement.arm, mine), (statement.versus, theirs))
        if name is not None and not values
    ]
    if lacking:
        why = f"no run of {' and '.join(f'`{n}`' for n in lacking)} has `{statement.metric}`"
        return StatementResult(**common, verdict="inconclusive", why=why)
    common["arm_mean"] = float(np.mean(list(mine.values())))
    if theirs:
        common["versus_mean"] = float(np.mean(list(theirs.values())))
    measured = _measured(statement, comparison, mine, theirs)
    if measured is None:
        why = "no seed in common, so nothing is paired"
        return StatementResult(**common, verdict="inconclusive", why=why)
    verdict, why = decide(statement, measured.bounds, measured.bounds90, measured.flip[0])
    if len(measured.seeds) == 1:
        verdict, why = "inconclusive", "one seed says nothing of what another training would give"
    low, high = measured.bounds or (None, None)
    low90, high90 = measured.bounds90 or (None, None)
    return StatementResult(
        **common,
        difference=measured.value,
        low=low,
        high=high,
        low90=low90,
        high90=high90,
        over=measured.over,
        seeds=measured.seeds,
        p_sign_flip=measured.flip[0],
        p_sign_flip_least=measured.flip[1],
        least_detectable=measured.least_detectable,
        verdict=verdict,
        why=why,
    )


def decide(
    statement: Statement,
    bounds: tuple[float, float] | None,
    bounds90: tuple[float, float] | None,
    p_sign_flip: float | None = None,
) -> tuple[ClaimVerdict, str]:
    """The verdict on a difference with these bounds, and its reason; None: no interval."""
    if bounds is None or bounds90 is None:
        return "inconclusive", "one seed and no per-sample terms: no interval"
    least = statement.least
    if statement.direction == "same":
        if bounds90[0] >= -least and bounds90[1] <= least:
            return "supported", f"the 90 % interval lies within ±{least:g}"
        if bounds[0] > least or bounds[1] < -least:
            return "not supported", f"the 95 % interval lies beyond ±{least:g}"
        return "inconclusive", f"the intervals neither lie within ±{least:g} nor exclude it"
    if statement.direction in ("not lower", "not higher"):
        down = statement.direction == "not higher"
        worst, best = (-bounds90[1], -bounds[0]) if down else (bounds90[0], bounds[1])
        if worst >= -least:
            return "supported", f"the 90 % interval excludes a loss of more than {least:g}"
        if best < -least:
            return "not supported", f"the whole 95 % interval is a loss of more than {least:g}"
        return "inconclusive", f"the intervals neither exclude a loss of {least:g} nor show one"
    up = statement.direction == "higher"
    turned = bounds if up else (-bounds[1], -bounds[0])
    # The arm's own value is `lower` below `least`; a difference is, below the negative of `least`.
    limit = least if up or statement.versus is not None else -least
    said = f"{statement.direction} by more than {least:g}"
    if statement.versus is None:
        said = f"{'above' if up else 'below'} {least:g}"
    low, high = turned
    if low > limit:
        if statement.rule == "interval and sign-flip" and not (p_sign_flip or 1.0) <= 0.05:
            return "inconclusive", f"the interval is {said}, the sign-flip test is not below 0.05"
        return "supported", f"the whole 95 % interval is {said}"
    if high <= limit:
        return "not supported", f"the 95 % interval excludes an effect that is {said}"
    return "inconclusive", f"the 95 % interval neither is {said} nor excludes it"


def _measured(
    statement: Statement,
    comparison: Comparison,
    mine: dict[int, float],
    theirs: dict[int, float],
) -> _Measured | None:
    pair = _find_pair(statement, comparison)
    if pair is not None and pair.interval is not None and pair.interval90 is not None:
        sign = 1.0 if pair.arm == statement.arm else -1.0
        return _Measured(
            value=sign * pair.difference,
            bounds=_signed(sign, pair.interval.low, pair.interval.high),
            bounds90=_signed(sign, pair.interval90.low, pair.interval90.high),
            over=pair.interval.over,
            seeds=pair.seeds,
            flip=(pair.p_sign_flip, pair.p_sign_flip_least),
            least_detectable=pair.least_detectable,
        )
    seeds = sorted(set(mine) & set(theirs)) if theirs else sorted(mine)
    if not seeds:
        return None
    values = np.array([mine[s] - theirs.get(s, 0.0) for s in seeds])
    of = stats.estimate(values)
    known = of.draws is not None
    return _Measured(
        value=of.value,
        bounds=stats.interval(of.draws, 0.95) if of.draws is not None else None,
        bounds90=stats.interval(of.draws, 0.90) if of.draws is not None else None,
        over=of.over,
        seeds=seeds,
        flip=stats.sign_flip(values) if known and theirs else (None, None),
        least_detectable=stats.least_detectable(of),
    )


def _signed(sign: float, low: float, high: float) -> tuple[float, float]:
    return (low, high) if sign > 0 else (-high + 0.0, -low + 0.0)


def _find_pair(statement: Statement, comparison: Comparison) -> Pair | None:
    if statement.metric != comparison.primary or statement.versus is None:
        return None
    asked = {statement.arm, statement.versus}
    everything = (*comparison.versus_baseline, *comparison.pairs, *comparison.versus_reference)
    return next((p for p in everything if {p.arm, p.versus} == asked), None)


def _values(records: Sequence[RunRecord], arm: str, metric: str) -> dict[int, float]:
    """Seed -> value of a metric or a note, for the runs of `arm` that have it."""
    found = {}
    for record in records:
        value = _value(record, metric) if record.run.arm == arm else None
        if value is not None:
            found[record.run.seed] = value
    return found


def _value(record: RunRecord, metric: str) -> float | None:
    if metric in record.metrics:
        return record.metrics[metric].value
    node: Any = record.notes
    for key in metric.removeprefix("notes.").split("."):
        if not isinstance(node, dict) or key not in node:
            return None
        node = node[key]
    number_like = isinstance(node, int | float) and not isinstance(node, bool)
    return float(node) if number_like and np.isfinite(node) else None


def _of_reference(
    comparison: Comparison, statement: Statement, seeds: list[int]
) -> dict[int, float]:
    """A reference has one value; it stands beside every seed."""
    for reference in comparison.references:
        if reference.role == statement.versus and statement.metric in reference.metrics:
            return dict.fromkeys(seeds, reference.metrics[statement.metric].mean)
    return {}


def _provenance(records: Sequence[RunRecord]) -> JudgementProvenance:
    first = min(records, key=lambda r: r.provenance.started).provenance
    commits = {r.provenance.commit for r in records}
    dirty = [r.provenance.dirty for r in records]
    return JudgementProvenance(
        bequeath=first.bequeath,
        commit=first.commit if len(commits) == 1 else None,
        # Runs of several commits are no better known than runs of changed source.
        dirty=True if len(commits) > 1 or any(dirty) else first.dirty,
        job_hashes=sorted({r.provenance.job_hash for r in records}),
        started=first.started,
        versions=first.versions,
        machine=first.machine,
        runs=len(records),
        wall_s=sum(r.cost.wall_s for r in records),
    )
