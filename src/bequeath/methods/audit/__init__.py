"""Audits: how much of its training data a model holds, and can be made to give back.

An audit trains nothing and hands back no model; it asks a model and reports. It is allowed to see
all labels and secrets, since that is what it looks for. To audit several models side by side, name
each by a role of your own and let the method run once for each of them:

    method:
      - {name: exposure, as: teacher, model: teacher}
      - {name: exposure, as: student, model: student}

The report then has a row for each model, and their differences are paired canary by canary. With a
data set `test` the models' quality on it stands beside what they leak: less exposure can also be
got by learning less.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bequeath.kernel.errors import JobPath, Problem
from bequeath.methods.family import Family
from bequeath.metrics.names import NAMES, Direction

if TYPE_CHECKING:
    from torch import Tensor

    from bequeath.blocks.canaries import Kept
    from bequeath.given.canaries import Canary

LEAKS: dict[str, Direction] = {
    "exposure_mean": "lower",
    "extraction_rate": "lower",
    "mia_auc": "lower",
}
QUALITY: dict[str, Direction] = {"perplexity": "lower", "bits_per_token": "lower"}

SIDES = ("members", "nonmembers")


def problems(job: Any) -> Iterable[Problem]:
    """G493: neither canaries nor both sides of a membership attack, or one side alone."""
    sides = [side for side in SIDES if side in job.data_refs]
    if len(sides) == 1 or ("canaries" not in job.data_refs and not sides):
        other = f"`data.{sides[0]}` alone tells nothing" if sides else "there is no data for it"
        at: JobPath = ("data",) if job.data_refs else ("want",)
        remedies = ("add `canaries`: canaries:FILE.csv", "or both `members` and `nonmembers`")
        yield Problem("G493", f"nothing to audit with: {other}", at, remedies=remedies)


FAMILY = Family(
    own="a model, and a worry",
    get="how much it leaks, holds, or can be made to give back",
    result=None,
    judge="optional",
    judge_labelled=False,
    metrics={**LEAKS, **NAMES, **QUALITY},
    seeds=1,
    problems=problems,
)


@dataclass(frozen=True)
class Audit:
    """What was found out about one model.

    canaries, kept: what was looked for and what was found, in the same order. members, nonmembers:
    the loss of each sample, float64 [N]; None where they were not given. role: of the model.
    """

    role: str
    canaries: list[Canary] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    members: Tensor | None = None
    nonmembers: Tensor | None = None
