"""Checks of how it was trained, from the lines of `log.jsonl`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, median
from typing import Any

from bequeath.evidence.doctor.finding import Finding, Level
from bequeath.evidence.inputs import Inputs

FIGHT, OPPOSED = -0.1, -0.5  # cosine of two terms' gradients
SILENT = 0.01  # share of a term in the gradient
LEARNT = 0.02  # relative fall of the loss below which nothing was learnt
FALLING = 0.05  # relative fall over the last tenth of the steps
FEWEST = 20  # lines of a log from which its end can be judged
LOOKS = 3  # steps of a run at which the gradients were looked at; fewer tell of its start only

Lines = Sequence[Mapping[str, Any]]


def gradients_fight(inputs: Inputs) -> Iterator[Finding]:
    """Angles between the gradients of two terms, as they were measured now and then."""
    for arm, lines in _arms(inputs):
        angles: dict[str, list[float]] = {}
        for line in lines:
            for pair, cosine in dict(line.get("cosines") or {}).items():
                angles.setdefault(pair, []).append(float(cosine))
        for pair, found in angles.items():
            yield _angle(arm, pair, found)


def _angle(arm: str, pair: str, found: list[float]) -> Finding:
    middle, least = median(found), min(found)
    a, _, b = pair.partition(" & ")
    says = f"the gradients of `{a}` and `{b}` in `{arm}` have a cosine of {middle:.2f} "
    says += f"(median of {len(found)} looks, lowest {least:.2f})"
    numbers = {"cosine": middle, "lowest": least, "looks": float(len(found))}
    if middle >= FIGHT:
        return Finding(check="gradients", level="fine", arm=arm, says=says, numbers=numbers)
    level: Level = "wrong" if middle < OPPOSED else "look"
    do = f"below {FIGHT:g} a step for one undoes part of the other: lower the weight of the less "
    do += "important of the two, or leave it out and compare"
    return Finding(
        check="gradients", level=level, arm=arm, says=f"{says}: they fight", numbers=numbers, do=do
    )


def silent_terms(inputs: Inputs) -> Iterator[Finding]:
    """Terms of the loss that have no part in the gradient."""
    for arm, lines in _arms(inputs):
        shares: dict[str, list[float]] = {}
        for line in lines:
            for name, term in dict(line.get("terms") or {}).items():
                if "share" in term:
                    shares.setdefault(name, []).append(float(term["share"]))
        for name, found in shares.items():
            middle, most = median(found), max(found)
            if middle >= SILENT or not _enough(lines, found):
                continue
            numbers = {"share": middle, "highest": most, "looks": float(len(found))}
            says = f"`{name}` makes {middle:.1%} of the gradient of `{arm}` (median of "
            says += f"{len(found)} looks, {most:.1%} at most): it is silent"
            do = "raise its weight, or leave it out: the run is as good as one without it"
            yield Finding(
                check="silent term",
                level="wrong" if most == 0 else "look",
                arm=arm,
                says=says,
                numbers=numbers,
                do=do,
            )
        looked = {name: found for name, found in shares.items() if _enough(lines, found)}
        if shares and len(looked) < len(shares):
            says = f"the gradients of `{arm}` were looked at in its first steps only"
            yield Finding(
                check="silent term",
                level="unknown",
                arm=arm,
                says=says,
                do="a run of more steps is looked at more often",
            )
        elif shares and all(median(found) >= SILENT for found in shares.values()):
            least = min(shares, key=lambda name: median(shares[name]))
            says = f"every term of `{arm}` is heard; the quietest, `{least}`, makes "
            says += f"{median(shares[least]):.0%} of the gradient"
            yield Finding(
                check="silent term",
                level="fine",
                arm=arm,
                says=says,
                numbers={"share": median(shares[least])},
            )


def learnt(inputs: Inputs) -> Iterator[Finding]:
    """Whether the loss fell, and whether it was still falling when the training ended."""
    for arm in inputs.order:
        falls, ends = [], []
        for seed in inputs.arm(arm).seeds:
            for lines in _fits(inputs.logs.get((arm, seed), [])).values():
                losses = [float(x["loss"]) for x in lines if isinstance(x.get("loss"), int | float)]
                if len(losses) >= FEWEST and losses[0] > 0:
                    tenth = max(1, len(losses) // 10)
                    start, end = fmean(losses[:tenth]), fmean(losses[-tenth:])
                    before = fmean(losses[-2 * tenth : -tenth])
                    falls.append((start - end) / abs(start) if start else 0.0)
                    ends.append((before - end) / abs(before) if before else 0.0)
        if falls:
            yield _learnt(arm, median(falls), median(ends))


def _learnt(arm: str, fall: float, end: float) -> Finding:
    numbers = {"fall": fall, "last_tenth": end}
    if fall < LEARNT:
        says = f"the loss of `{arm}` fell by {fall:.1%} from its first tenth to its last"
        do = "raise `train.optimizer.lr` or the epochs; if the model began trained, it may be well"
        return Finding(check="learning", level="look", arm=arm, says=says, numbers=numbers, do=do)
    if end > FALLING:
        says = f"the loss of `{arm}` still fell by {end:.1%} over the last tenth of the steps"
        return Finding(
            check="learning",
            level="look",
            arm=arm,
            says=says,
            numbers=numbers,
            do="train longer: raise `train.epochs`",
        )
    says = f"the loss of `{arm}` fell by {fall:.0%} and by {max(end, 0.0):.1%} over the last tenth"
    return Finding(check="learning", level="fine", arm=arm, says=says, numbers=numbers)


def _arms(inputs: Inputs) -> Iterator[tuple[str, Lines]]:
    """Each arm with the lines of all its seeds."""
    for arm in inputs.order:
        seeds = inputs.arm(arm).seeds
        yield arm, [line for seed in seeds for line in inputs.logs.get((arm, seed), [])]


def _enough(lines: Lines, found: Sequence[float]) -> bool:
    """Whether each seed was looked at a few times, not at its beginning alone."""
    return len(found) >= LOOKS * max(1, sum(line.get("step") == 1 for line in lines))


def _fits(lines: Lines) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        found.setdefault(str(line.get("fit", "fit")), []).append(line)
    return found
