"""What is the matter with a run: questions a colleague would ask, answered with a number each.

    bequeath doctor runs/photos

Is the teacher better than the student on this data? Do the loss terms' gradients fight? Is a term
silent? Did it learn, and to the end? Did classes collapse? Was the seal tried? Do the seeds matter,
is something missing, and is the difference beyond noise? Only what the runs left is read. The
thresholds are ours, and each stands beside the number it is held against. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from bequeath.evidence.doctor import answers, outcome, training
from bequeath.evidence.doctor.finding import LEVELS, Finding
from bequeath.evidence.inputs import Inputs, read_inputs

CHECKS: tuple[Callable[[Inputs], Iterator[Finding]], ...] = (
    outcome.worth_imitating,
    outcome.beyond_noise,
    training.gradients_fight,
    training.silent_terms,
    training.learnt,
    answers.collapsed,
    answers.seal_tried,
    outcome.seeds_matter,
    outcome.all_there,
)


def diagnose(out: Path) -> list[Finding]:
    """Everything the checks have to say of the runs of a job's folder, the worst first.

    RunError R561 to R569 as for a report: no runs, or runs that cannot be read.
    """
    return findings(read_inputs(out))


def findings(inputs: Inputs) -> list[Finding]:
    """The same, of runs that have been read."""
    found = [finding for check in CHECKS for finding in check(inputs)]
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


__all__ = ["Finding", "diagnose", "findings"]
