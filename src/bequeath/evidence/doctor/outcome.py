"""Checks of what came out: the teacher, the difference, the seeds, what is missing."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from bequeath.evidence.answer import small
from bequeath.evidence.bench import Side
from bequeath.evidence.comparison import Pair
from bequeath.evidence.doctor.finding import Finding, Level
from bequeath.evidence.inputs import Inputs
from bequeath.evidence.measure import Measure, amount, figure

TEACHER = "teacher"  # the role of a model to imitate; others are changed by the run
MOST_SEEDS = 1000
MORE_SEEDS = "run more seeds: `--seeds 5`"


def worth_imitating(inputs: Inputs) -> Iterator[Finding]:
    """Each model that was measured as it came, beside the arm that does without it."""
    comparison, measure = inputs.comparison, inputs.comparison.measure
    base, want = comparison.baseline, str(inputs.any_record().run.want)
    if measure is None or not comparison.references:
        if want == "distill":
            says = "the teacher was not measured on the data that judges"
            yield Finding(check="teacher", level="unknown", says=says)
        return
    for reference in comparison.references:
        role = reference.role
        taught = role == TEACHER
        alone = inputs.versus_reference(base, role) if base and taught else None
        if alone is not None:
            yield _teacher(role, alone, measure)
            continue
        for arm in (a for a in inputs.arms() if not a.baseline):
            pair = inputs.versus_reference(arm.arm, role)
            if pair is not None:
                yield _as_it_came(role, pair, measure, taught=taught)


def _teacher(role: str, alone: Pair, measure: Measure) -> Finding:
    """alone: the student that was trained without the teacher, against the teacher."""
    by = amount(alone.gain, measure)
    student, numbers = f"the student alone (`{alone.arm}`)", _numbers(alone)
    if alone.verdict == "worse" and not alone.equivalent:
        says = f"`{role}` is {by} ahead of {student}: there is something to hand on"
        return Finding(check="teacher", level="fine", says=says, numbers=numbers)
    more = "a student learns a teacher's mistakes too: take a better teacher, or none"
    if alone.verdict == "better" and not alone.equivalent:
        says = f"{student} is {by} ahead of `{role}` on this data"
        return Finding(check="teacher", level="wrong", says=says, numbers=numbers, do=more)
    says = f"`{role}` is not clearly better than {student} on this data ({_range(alone, measure)})"
    if alone.equivalent and alone.gain:
        way = "behind" if alone.gain > 0 else "ahead of"
        says = f"`{role}` is {by} {way} {student}{small(alone, measure)}"
    do = f"{more}; or judge on more samples"
    return Finding(check="teacher", level="look", says=says, numbers=numbers, do=do)


def _as_it_came(role: str, pair: Pair, measure: Measure, *, taught: bool) -> Finding:
    """An arm's result beside a model that was there before; a taught one may stay behind it."""
    by, numbers = amount(pair.gain, measure), _numbers(pair)
    if pair.verdict == "worse" and not taught and not pair.equivalent:
        says = f"`{pair.arm}` is {by} behind `{role}` as it came: the run made it worse"
        do = f"keep `{role}`, or shorten the training and lower `train.optimizer.lr`"
        return Finding(
            check="as it came", level="wrong", arm=pair.arm, says=says, numbers=numbers, do=do
        )
    way = "ahead of" if pair.gain > 0 else "behind" if pair.gain else "away from"
    less = small(pair, measure)
    says = f"`{pair.arm}` is {by} {way} `{role}` as it came{less} ({pair.verdict})"
    return Finding(check="as it came", level="fine", arm=pair.arm, says=says, numbers=numbers)


def beyond_noise(inputs: Inputs) -> Iterator[Finding]:
    """Each arm asked for against the baseline; how many seeds would tell, where these do not."""
    comparison, measure = inputs.comparison, inputs.comparison.measure
    if measure is None:
        return
    if comparison.baseline is None or not comparison.versus_baseline:
        says = "there is no baseline to hold the result against"
        do = "leave `baselines` on, or name a second method"
        yield Finding(check="difference", level="unknown", says=says, do=do)
        return
    asked = [p for p in comparison.versus_baseline if not inputs.arm(p.arm).baseline]
    for pair in asked or comparison.versus_baseline:
        yield _difference(pair, measure)


def _difference(pair: Pair, measure: Measure) -> Finding:
    by, versus = amount(pair.gain, measure), f"`{pair.versus}`"
    said = f"`{pair.arm}` and {versus} do not differ"
    if pair.gain:
        said = f"`{pair.arm}` is {by} {'ahead of' if pair.gain > 0 else 'behind'} {versus}"
    said += f" ({_range(pair, measure)})"
    numbers, do = _numbers(pair), ""
    level: Level = "fine"
    if pair.interval is None:
        level, do = "unknown", MORE_SEEDS
        said += ": what another seed would give is not known"
    elif pair.verdict in ("better", "worse") and pair.equivalent and len(pair.seeds) > 1:
        said += f": beyond noise{small(pair, measure)}"
    elif pair.verdict == "worse":
        level, do = "wrong", f"take {versus}, or other settings of `{pair.arm}`"
        said += ": it is worse, beyond noise"
    elif pair.verdict == "better" and len(pair.seeds) == 1:
        level, do = "look", MORE_SEEDS
        said += ", beyond noise for these two models; one seed says nothing of the next"
    elif pair.verdict == "better":
        said += ": beyond noise"
    elif pair.verdict == "equivalent":
        said += f": as good as it, within {amount(pair.margin, measure)}"
    else:
        level, do = "look", _how_many(pair, measure, numbers)
        said += ": within noise"
    return Finding(check="difference", level=level, arm=pair.arm, says=said, numbers=numbers, do=do)


def _how_many(pair: Pair, measure: Measure, numbers: dict[str, float]) -> str:
    """How many seeds would tell; the number goes into `numbers` too."""
    effect, n = abs(pair.gain) or pair.margin, len(pair.seeds)
    if not (pair.least_detectable and effect and n > 1):
        return "run more seeds or judge on more samples"
    needed = math.ceil(n * (pair.least_detectable / effect) ** 2)
    numbers["seeds_needed"] = float(needed)
    seeds = f"about {needed:,} seeds" if needed <= MOST_SEEDS else "more seeds than are sane"
    return (
        f"a difference of {figure(effect, measure)} would be seen in four of five tries with "
        f"{seeds} at this spread; what these {n} would have shown so is "
        f"{figure(pair.least_detectable, measure)}"
    )


def seeds_matter(inputs: Inputs) -> Iterator[Finding]:
    """Seeds that give the same numbers to the last digit are one seed, counted often."""
    primary = inputs.comparison.primary
    if primary is None:
        return
    for side in inputs.bench.arms:
        if len(side.seeds) < 2 or not side.has(primary):
            continue
        values = side.values(primary, side.seeds)
        if np.ptp(values) == 0.0 and _same_answers(side):
            says = f"all {len(side.seeds)} seeds of `{side.name}` gave the same result"
            yield Finding(
                check="seeds",
                level="look",
                arm=side.name,
                says=says,
                numbers={"value": float(values[0])},
                do="nothing in it is random: its interval is over samples alone",
            )


def _same_answers(side: Side) -> bool:
    if not side.answered:
        return True
    pred = side.column("pred", side.seeds)
    return bool((pred == pred[:1]).all())


def all_there(inputs: Inputs) -> Iterator[Finding]:
    """Runs that are missing, and runs that their budget stopped."""
    for missing in inputs.comparison.missing:
        says = f"`{missing.arm}`, seed {missing.seed} is missing: {missing.reason}"
        yield Finding(
            check="runs",
            level="look",
            arm=missing.arm,
            says=says,
            do="run the job again: it does what is missing",
        )
    for arm in inputs.order:
        runs = inputs.runs_of(arm)
        cut = [r for r in runs if r.train is not None and r.train.stopped == "budget"]
        if cut:
            epochs = min(r.train.epochs for r in cut if r.train is not None)
            says = f"the time budget ended {len(cut)} of {len(runs)} runs of `{arm}`, the first "
            says += f"after {epochs:.3g} epochs"
            yield Finding(
                check="budget",
                level="look",
                arm=arm,
                says=says,
                numbers={"runs": float(len(cut)), "epochs": epochs},
                do="raise `budget.time` and start over with `--fresh`",
            )


def _numbers(pair: Pair) -> dict[str, float]:
    numbers = {"difference": pair.difference, "seeds": float(len(pair.seeds))}
    if pair.interval is not None:
        numbers |= {"low": pair.interval.low, "high": pair.interval.high}
    if pair.least_detectable is not None:
        numbers["least_detectable"] = pair.least_detectable
    return numbers


def _range(pair: Pair, measure: Measure) -> str:
    """`95 % interval of arm - versus: -0.4 to 1.2, 5 seeds`."""
    seeds = f"{len(pair.seeds)} seed" + ("" if len(pair.seeds) == 1 else "s")
    if pair.interval is None:
        return f"no interval, {seeds}"
    low, high = figure(pair.interval.low, measure), figure(pair.interval.high, measure)
    return f"95 % interval of the difference {low} to {high}, {seeds}"
