"""How long a fit is."""

from __future__ import annotations

from dataclasses import dataclass

from bequeath.kernel.errors import Problem, RunError
from bequeath.train.config import Train


@dataclass(frozen=True)
class Until:
    """When to stop, in place of what the job says: optimizer `steps`, or `epochs`.

    share: or from where to where of the job's own steps this fit goes, each 0 to 1. Fits that
    divide them without a gap have together as many steps as the job says.
    """

    epochs: int | None = None
    steps: int | None = None
    share: tuple[float, float] | None = None


def lengths(batches: int, until: Until, train: Train) -> tuple[int, int]:
    """(optimizer steps of the fit, optimizer steps of an epoch of so many batches)

    RunError T608 where there is no batch.
    """
    if batches == 0:
        raise RunError(Problem("T608", "there is nothing to train on: the data set is empty"))
    per_epoch = -(-batches // train.accumulate)
    if until.steps is not None or until.epochs is not None:
        steps, epochs = until.steps, until.epochs
    else:
        steps, epochs = train.steps, train.epochs
    total = steps if steps is not None else (epochs or 0) * per_epoch
    if until.share is not None:
        begin, end = (int(total * at + 1e-9) for at in until.share)  # 0.29 of 100 is 29
        total = end - begin
    return total, per_epoch
