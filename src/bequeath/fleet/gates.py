"""The second half of the gates: what needs torch and the data, before anything heavy or written.

Data are read and scanned, architectures built without weights and held against their files,
classes compared, and what the job will cost measured on a few real steps where a budget is set.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from bequeath.fleet import cost
from bequeath.fleet.folder import refuse_strangers
from bequeath.given.access import Labels
from bequeath.given.facts import ModelFacts
from bequeath.given.samples import Samples, shared_samples
from bequeath.job.job import Arm, Job
from bequeath.job.meaning import class_problems
from bequeath.kernel.errors import JobError, Problem, Problems
from bequeath.methods.catalog import family_of
from bequeath.train.context import pick_device, refuse_precision


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
    basket.extend(_folder(job))
    basket.extend(_device(job))
    samples = _open_data(job, basket)
    known = {role: one.facts for role, one in samples.items()}
    if len(samples) == len(job.data):
        basket.extend(_labels(job, samples))
        basket.extend(class_problems(job, {}, known))
        basket.extend(_seen(job, samples))
    basket.found = job.located(basket.found)
    basket.raise_if_any()
    facts = _examine_models(job, samples, basket)
    if not basket.found:
        basket.extend(class_problems(job, facts, known))
        basket.extend(_heads(job, facts))
    basket.found = job.located(basket.found)
    basket.raise_if_any()
    opened = Opened(job, samples, facts, pick_device(job.train.device))
    opened.notes += _remarks(opened)
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
    wanted: dict[str, tuple[str, tuple[str, ...]]] = {
        job.evaluate.data: ("it judges the result", ())
    }
    for arm in sorted(job.arms, key=lambda arm: arm.added):
        for role, need in arm.method.needs_for(arm.config).data.items():
            if need.labels > Labels.NONE:
                what = f"`{arm.label}`, which is added to compare with," if arm.added else ""
                remedies = ("leave it out with `baselines: false`",) if arm.added else ()
                why = f"{what or f'`{arm.label}`'} learns from them"
                wanted.setdefault(role, (why, remedies))
    return [
        Problem("G410", f"`data.{role}` has no labels, and {why}", ("data", role), "", remedies)
        for role, (why, remedies) in wanted.items()
        if role in samples and samples[role].y is None
    ]


def _seen(job: Job, samples: dict[str, Samples]) -> list[Problem]:
    """G406 where the content that judges was all trained on, whatever the files are called."""
    judge = samples[job.evaluate.data]
    learnt = {role for arm in job.arms for role in arm.method.needs_for(arm.config).data}
    return [
        Problem(
            "G406",
            f"every sample of `data.{job.evaluate.data}` is in `data.{role}` too, "
            "on which the methods train",
            ("data", job.evaluate.data),
            "what was trained on cannot judge",
            ("give another file, or another part with ?split=test",),
        )
        for role in sorted(learnt & samples.keys() - {job.evaluate.data})
        if shared_samples(samples[role], judge) == len(judge)
    ]


def _remarks(opened: Opened) -> list[str]:
    """What is allowed, and worth knowing before one believes a result."""
    job, notes = opened.job, []
    learnt = {role for arm in job.arms for role in arm.method.needs_for(arm.config).data}
    for role in sorted(learnt & opened.samples.keys() - {job.evaluate.data}):
        if same := shared_samples(opened.samples[role], opened.judge):
            notes.append(
                f"{same} of {len(opened.judge)} samples of data.{job.evaluate.data} are in "
                f"data.{role} too: the result is partly memory"
            )
    reference = reference_role(job)
    for role, facts in opened.model_facts.items():
        theirs = opened.model_facts[reference].hash if reference in opened.model_facts else None
        if role != reference and theirs is not None and facts.hash == theirs:
            notes.append(f"models.{role} begins with the weights of models.{reference}")
    return notes


def _folder(job: Job) -> list[Problem]:
    try:
        refuse_strangers(job.out)
    except JobError as error:
        return error.problems
    return []


def _device(job: Job) -> list[Problem]:
    try:
        refuse_precision(pick_device(job.train.device), job.train.precision)
    except JobError as error:
        return error.problems
    return []


def reference_role(job: Job) -> str | None:
    """The role shown beside the results as it came, if this job has it."""
    role = family_of(job.want).reference
    return role if role in job.models else None
