"""What lies below a difference of classifiers: flips, classes, confusions, calibration.

Every function here is for sides that `answered`, of a bench with answers.
"""

from __future__ import annotations

import numpy as np

from bequeath.evidence import stats
from bequeath.evidence.bench import Bench, Side
from bequeath.evidence.comparison import (
    Bin,
    Calibration,
    ClassChange,
    ClassFlips,
    ClassRow,
    Confusion,
    Flip,
    Flips,
    Mistake,
)

MOST_LISTED = 50
MOST_CLASSES = 50
BINS = 15


def flips(bench: Bench, arm: Side, versus: Side) -> Flips:
    """Samples mended and broken by `arm` against `versus`, pooled over the seeds both have."""
    seeds = _seeds(arm, versus)
    mended, broken = stats.flips(versus.column("correct", seeds), arm.column("correct", seeds))
    n = len(seeds)
    classes = np.unique(bench.label[(mended > 0) | (broken > 0)])
    return Flips(
        arm=arm.name,
        versus=versus.name,
        versus_kind=versus.kind,  # type: ignore[arg-type]
        n_seeds=n,
        n_samples=len(bench.idx),
        mended=mended.sum() / n,
        broken=broken.sum() / n,
        mended_samples=_listed(bench, mended, n),
        broken_samples=_listed(bench, broken, n),
        by_class=[
            ClassFlips(
                label=int(c),
                mended=mended[bench.label == c].sum() / n,
                broken=broken[bench.label == c].sum() / n,
            )
            for c in classes
        ],
        p_mcnemar=stats.mcnemar(int(mended.sum()), int(broken.sum())) if n == 1 else None,
    )


def class_change(bench: Bench, arm: Side, versus: Side) -> ClassChange:
    """Recall of every class in the test data, before (`versus`) and after (`arm`)."""
    seeds = _seeds(arm, versus)
    before = versus.column("correct", seeds).mean(axis=0)
    after = arm.column("correct", seeds).mean(axis=0)
    rows = []
    for c in np.unique(bench.label):
        of = bench.label == c
        old, new = float(before[of].mean()), float(after[of].mean())
        rows.append(
            ClassRow(
                label=int(c),
                name=class_name(bench.classes, int(c)),
                n=int(of.sum()),
                before=old,
                after=new,
                change=new - old,
            )
        )
    return ClassChange(
        arm=arm.name,
        versus=versus.name,
        versus_kind=versus.kind,  # type: ignore[arg-type]
        rows=rows,
    )


def confusion(bench: Bench, arm: Side) -> Confusion:
    """Counts of (label, prediction), summed over the seeds of `arm`."""
    pred = arm.column("pred", arm.seeds)
    k = max(len(bench.classes), int(bench.label.max()) + 1, int(pred.max()) + 1)
    cells, counts = np.unique(bench.label[None, :] * k + pred, return_counts=True)
    label, said = cells // k, cells % k
    wrong = np.flatnonzero(label != said)
    wrong = wrong[np.argsort(-counts[wrong], kind="stable")][:MOST_LISTED]
    full: list[list[int]] | None = None
    if k <= MOST_CLASSES:
        square = np.zeros((k, k), dtype=int)
        square[label, said] = counts
        full = square.tolist()
    return Confusion(
        arm=arm.name,
        n_seeds=len(arm.seeds),
        counts=full,
        top=[Mistake(label=int(label[i]), pred=int(said[i]), count=int(counts[i])) for i in wrong],
    )


def calibration(arm: Side) -> Calibration:
    """Confidence against accuracy in equal-width bins, seeds pooled."""
    confidence = arm.column("confidence", arm.seeds).ravel().astype(np.float64)
    correct = arm.column("correct", arm.seeds).ravel()
    edges = np.linspace(0, 1, BINS + 1)
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    bins, ece = [], 0.0
    for b in range(BINS):
        of = place == b
        n = int(of.sum())
        mean = float(confidence[of].mean()) if n else None
        right = float(correct[of].mean()) if n else None
        if mean is not None and right is not None:
            ece += n / len(correct) * abs(right - mean)
        bins.append(Bin(low=edges[b], high=edges[b + 1], n=n, confidence=mean, accuracy=right))
    return Calibration(arm=arm.name, ece=ece, bins=bins)


def class_name(classes: tuple[str, ...], label: int) -> str:
    return classes[label] if label < len(classes) else str(label)


def _seeds(arm: Side, versus: Side) -> list[int]:
    return arm.seeds if versus.kind == "reference" else sorted(set(arm.seeds) & set(versus.seeds))


def _listed(bench: Bench, counts: np.ndarray, n_seeds: int) -> list[Flip]:
    order = np.argsort(-counts, kind="stable")[:MOST_LISTED]
    return [
        Flip(idx=int(bench.idx[i]), label=int(bench.label[i]), frequency=float(counts[i]) / n_seeds)
        for i in order
        if counts[i]
    ]
