"""The second half of the gates: what needs torch and the data, before anything heavy or written.

Data are read and scanned, architectures built without weights and held against their files,
classes compared, and what the job will cost measured on a few real steps where a budget is set.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from bequeath.fleet import cost
from bequeath.given.access import Labels
from bequeath.given.facts import ModelFacts
from bequeath.given.samples import Samples
from bequeath.job.job import Arm, Job
from bequeath.job.meaning import class_problems
from bequeath.kernel.errors import JobError, Problem, Problems
from bequeath.methods.catalog import family_of
from bequeath.train.context import pick_device


@dataclass
class Opened:
    """A job that has passed every gate: its data in hand, its models known but not loaded."""

    job: Job
    samples: dict[str, Samples]
    model_facts: dict[str, ModelFacts]
    device: torch.device
    notes: list[str] = field(default_factory=list)

    @property
    def judge(self) -> Samples:
        """The data set that judges. Its labels are for the evaluator alone."""
        return self.samples[self.job.evaluate.data]

    @property
    def answers(self) -> Tensor:
        """The labels that judge, int64 [N] on the CPU."""
        assert self.judge.y is not None, "the gate refuses a judge without labels"
        return self.judge.y.cpu()

    def data_for(self, arm: Arm) -> Samples:
        """The data set an arm learns from (its first), which fixes classes and scaling."""
        roles = [r for r in arm.method.needs_for(arm.config).data if r in self.samples]
        return self.samples[roles[0]] if roles else self.judge

    @property
    def n_classes(self) -> int:
        return len(self.judge.classes)


def check_deep(job: Job) -> Opened:
    """Open everything a job names. JobError with every problem found, each at its place."""
    basket = Problems()
    samples = _open_data(job, basket)
    basket.found = job.located(basket.found)
    basket.raise_if_any()
    facts = _examine_models(job, samples, basket)
    if not basket.found:
        known = {role: one.facts for role, one in samples.items()}
        basket.extend(class_problems(job, facts, known))
        basket.extend(_heads(job, facts))
        basket.extend(_labels(job, samples))
    basket.extend(_device(job))
    basket.found = job.located(basket.found)
    basket.raise_if_any()
    opened = Opened(job, samples, facts, pick_device(job.train.device))
    basket.extend(cost.problems(opened))
    basket.found = job.located(basket.found)
    basket.raise_if_any()
    return opened


def _open_data(job: Job, basket: Problems) -> dict[str, Samples]:
    samples = {}
    for role, handle in job.data.items():
        try:
            samples[role] = handle.load()
        except JobError as error:
            basket.extend(_under("data", role, error))
    return samples


def _examine_models(
    job: Job, samples: dict[str, Samples], basket: Problems
) -> dict[str, ModelFacts]:
    facts = {}
    learnt = next((samples[role] for role in samples if role != job.evaluate.data), None)
    data = learnt if learnt is not None else samples[job.evaluate.data]
    for role, handle in job.models.items():
        try:
            facts[role] = handle.examine(data.facts)
        except JobError as error:
            basket.extend(_under("models", role, error))
    return facts


def _under(section: str, role: str, error: JobError) -> list[Problem]:
    return [p if p.at[:1] == (section,) else p.under(section, role) for p in error.problems]


def _heads(job: Job, facts: dict[str, ModelFacts]) -> list[Problem]:
    """A method that reads the classifier's input needs to know which module the classifier is."""
    problems = {}
    for arm in job.arms:
        for role, need in arm.method.needs_for(arm.config).models.items():
            if need.embedding and role in facts and facts[role].head is None:
                problems[role] = Problem(
                    "M320",
                    f"the classifier of `{role}` was not found, and `{arm.label}` reads its input",
                    at=("models", role),
                    remedies=("name it: `head: path.of.the.module`",),
                )
    return list(problems.values())


def _labels(job: Job, samples: dict[str, Samples]) -> list[Problem]:
    """Data that judge, and data whose labels a method wants, must have labels."""
    wanted = {job.evaluate.data: "it judges the result"}
    for arm in job.arms:
        for role, need in arm.method.needs_for(arm.config).data.items():
            if need.labels > Labels.NONE:
                wanted.setdefault(role, f"`{arm.label}` learns from them")
    return [
        Problem("G410", f"`data.{role}` has no labels, and {why}", at=("data", role))
        for role, why in wanted.items()
        if role in samples and samples[role].y is None
    ]


def _device(job: Job) -> list[Problem]:
    try:
        pick_device(job.train.device)
    except JobError as error:
        return error.problems
    return []


def reference_role(job: Job) -> str | None:
    """The role shown beside the results as it came, if this job has it."""
    role = family_of(job.want).reference
    return role if role in job.models else None
