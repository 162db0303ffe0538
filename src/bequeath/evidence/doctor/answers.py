"""Checks of what was answered, and of what was looked at without leave."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bequeath.evidence.bench import Bench, Side
from bequeath.evidence.doctor.finding import Finding
from bequeath.evidence.inputs import Inputs

COLLAPSED = 0.5  # effective number of classes answered / of classes there
FEWEST = 10  # samples of a class from which it should be answered at least once
MOST_NAMED = 5


def collapsed(inputs: Inputs) -> Iterator[Finding]:
    """Classes that are never answered, and models that answer little else than one."""
    for side in inputs.bench.arms:
        if side.answered:
            yield _collapse(side, inputs.bench)


def _collapse(side: Side, bench: Bench) -> Finding:
    k, label = len(bench.classes), bench.label
    there = np.bincount(label, minlength=k)
    pred = side.column("pred", side.seeds)  # [S, N]
    counts = np.stack([np.bincount(row, minlength=k) for row in pred])
    never = ((counts == 0) & (there >= FEWEST)).any(0)
    spread = float(np.mean([_effective(row) for row in counts]) / _effective(there))
    commonest = there.max() / there.sum()
    right = float((pred == label).mean())
    missing = [bench.classes[i] for i in np.flatnonzero(never)]
    numbers = {
        "effective_classes": spread,
        "never_answered": float(len(missing)),
        "accuracy": right,
        "commonest_class": float(commonest),
    }
    arm = side.name
    said = f"`{arm}` spreads its answers over {spread:.0%} of the classes there (effective number)"
    if right <= commonest and np.count_nonzero(there) > 1:
        says = f"`{arm}` is right for {right:.1%}: no more than always answering the commonest "
        says += f"class, which is right for {commonest:.1%}"
        do = "look at `train.optimizer.lr`, the preprocessing, and the order of the classes"
        return Finding(check="collapse", level="wrong", arm=arm, says=says, numbers=numbers, do=do)
    do = "balance the classes or the loss, lower the rate; see the confusions in the report"
    if spread < COLLAPSED:
        says = f"{said}, less than {COLLAPSED:.0%}: it collapsed"
        return Finding(check="collapse", level="wrong", arm=arm, says=says, numbers=numbers, do=do)
    if missing:
        named = ", ".join(f"`{name}`" for name in missing[:MOST_NAMED])
        more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
        says = f"`{arm}` never answers {named}{more} in some seed, though there are samples of it"
        return Finding(check="collapse", level="look", arm=arm, says=says, numbers=numbers, do=do)
    says = f"{said}; every class is answered"
    return Finding(check="collapse", level="fine", arm=arm, says=says, numbers=numbers)


def _effective(counts: np.ndarray) -> float:
    """exp of the entropy of a distribution over classes: how many it is spread over."""
    p = counts[counts > 0] / counts.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def seal_tried(inputs: Inputs) -> Iterator[Finding]:
    """What methods reached for beyond what they declared."""
    for arm in inputs.order:
        tries = [one for record in inputs.runs_of(arm) for one in record.seal.attempts]
        if tries:
            named = "; ".join(dict.fromkeys(tries[:MOST_NAMED]))
            says = f"`{arm}` reached {len(tries)} times for what it had not declared: {named}"
            yield Finding(
                check="seal",
                level="wrong",
                arm=arm,
                says=says,
                numbers={"attempts": float(len(tries))},
                do="it was refused; mend the method, or declare the need",
            )
    if not any(record.seal.attempts for record in inputs.records.values()):
        says = f"nothing sealed was reached for in {len(inputs.records)} runs"
        yield Finding(check="seal", level="fine", says=says, numbers={"attempts": 0.0})
