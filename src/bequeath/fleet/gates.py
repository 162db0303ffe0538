"""The second half of the gates: what needs torch and the data, before anything heavy or written.

Data are read and scanned, architectures built without weights and held against their files,
classes compared, and what the job will cost measured on a few real steps where a budget is set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bequeath.fleet import cost
from bequeath.fleet.folder import refuse_strangers
from bequeath.fleet.protocols import protocol_of
from bequeath.given.access import ANY, Labels, Needs
from bequeath.given.facts import ModelFacts
from bequeath.given.samples import Samples, shared_samples
from bequeath.job.job import Arm, Job
from bequeath.job.meaning import answer_problems, class_problems, speaks
from bequeath.kernel.errors import JobError, Problem, Problems
from bequeath.kernel.own_code import located
from bequeath.methods.catalog import family_of
from bequeath.train.context import pick_device, refuse_precision, refuse_sharding, settled
from bequeath.train.processes import ALONE, Processes
from bequeath.train.quicker import compile_problems
from bequeath.train.shard import shard_problems

if TYPE_CHECKING:
    from bequeath.given.bound import BoundModel
    from bequeath.given.graphs import Graph


@dataclass
class Opened:
    """A job that has passed every gate: its data in hand, its models known but not loaded."""

    job: Job
    samples: dict[str, Samples]
    model_facts: dict[str, ModelFacts]
    device: torch.device
    graphs: dict[str, Graph] = field(default_factory=dict)
    varying: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    processes: Processes = ALONE

    def sharing(self, needs: Needs) -> Processes:
        """The processes that share the gradients of a method with these needs.

        One that trains none of the job's models is done by the main process alone.
        """
        trains = any(need.trains for need in needs.models.values())
        return self.processes if trains else ALONE

    peak: int | None = None  # bytes a run holds, where a budget made the gate measure it

    @property
    def judge(self) -> Samples:
        """The data set that judges. Its labels are for the evaluator alone. KeyError without one:
        families whose judge is optional ask `job.judged` first."""
        return self.samples[self.job.evaluate.data]

    @property
    def answers(self) -> Tensor:
        """The labels that judge, int64 [N] on the CPU."""
        assert self.judge.y is not None, "the gate refuses a judge without labels"
        return self.judge.y.cpu()

    def data_for(self, arm: Arm) -> Samples | None:
        """The data set an arm learns from (its first), which fixes classes and scaling.

        The one that judges where an arm learns from none; None where there is neither.
        """
        roles = [*arm.needs.data, self.job.evaluate.data]
        return next((self.samples[role] for role in roles if role in self.samples), None)

    @property
    def n_classes(self) -> int:
        return len(self.judge.classes)

    def for_seed(self, seed: int) -> Opened:
        """The same with the models that one seed means, where a job's models vary with it."""
        if not self.varying:
            return self
        job = self.job.for_seed(seed)
        basket = Problems()
        facts = examine_models(job, self.samples, basket)
        basket.found = job.located(basket.found)
        basket.raise_if_any()
        return replace(self, job=job, model_facts=facts)

    def identity(self, role: str) -> list[Any]:
        """What a model is: its reference, and what that led to, which may be another tomorrow."""
        ref, facts = self.job.model_refs[role], self.model_facts[role]
        options = ref.options.model_dump()
        return [ref.ref, options, facts.hash, facts.made_of, facts.preprocess, facts.tensors]

    def load(
        self,
        role: str,
        *,
        data: Samples | None = None,
        seed: int = 0,
        n_classes: int | None = None,
    ) -> BoundModel:
        """A model of the job. data: what fixes classes and scaling (default: what judges).

        n_classes: outputs, where neither the job nor the weights decide on them.
        """
        judge = self.samples.get(self.job.evaluate.data)
        data = data if data is not None else judge
        # models of methods that want the classes the same are made to judge's, others to theirs
        if n_classes is None and judge is not None and self._same_classes:
            n_classes = self.n_classes
        if _keeps_classes(self.job, role):
            n_classes = self.model_facts[role].n_classes
        try:
            return self.job.models[role].load(
                n_classes=n_classes, data=data, seed=seed, device=self.device
            )
        except JobError as error:
            raise JobError(p.under("models", role) for p in error.problems) from None

    @property
    def _same_classes(self) -> bool:
        return any(arm.needs.same_classes for arm in self.job.arms)


@located(JobError)
def check_deep(job: Job, processes: Processes = ALONE, *, trial: bool = True) -> Opened:
    """Open everything a job names. JobError with every problem found, each at its place.

    The job of what is returned has its `train.precision` decided. trial: also hold the job's cost
    against its budget. What has passed that once, and is opened again beside other runs, would
    measure those.
    """
    basket = Problems()
    basket.extend(_folder(job))
    basket.extend(_device(job, processes))
    samples = _open("data", job.data, basket)
    known = {role: one.facts for role, one in samples.items()}
    if len(samples) == len(job.data):
        basket.extend(_labels(job, samples))
        basket.extend(class_problems(job, {}, known))
        basket.extend(_seen(job, samples))
    graphs = _open("graphs", job.graphs, basket)
    basket.found = job.located(basket.found)
    basket.raise_if_any()
    facts = examine_models(job, samples, basket)
    for seed in job.seeds[1:] if job.varying else ():
        examine_models(job.for_seed(seed), samples, basket)
    if not basket.found:
        basket.extend(class_problems(job, facts, known))
        basket.extend(_heads(job, facts))
        basket.extend(answer_problems(job, facts))
    basket.found = job.located(basket.found)
    basket.raise_if_any()
    device = pick_device(job.train.device)
    job = job.but(train=settled(job.train, device))
    opened = Opened(job, samples, facts, device, graphs, job.varying, processes=processes)
    basket.extend(getattr(protocol_of(job.want), "problems", lambda _: [])(opened))
    basket.found = job.located(basket.found)
    basket.raise_if_any()
    opened.notes += _remarks(opened)
    if trial:
        basket.extend(cost.problems(opened))
    basket.found = job.located(basket.found)
    basket.raise_if_any()
    return opened


def _open(section: str, handles: Mapping[str, Any], basket: Problems) -> dict[str, Any]:
    opened = {}
    for role, handle in handles.items():
        try:
            opened[role] = handle.load()
        except JobError as error:
            basket.extend(_under(section, role, error))
    return opened


def examine_models(
    job: Job, samples: dict[str, Samples], basket: Problems
) -> dict[str, ModelFacts]:
    facts = {}
    learnt = sorted(samples, key=lambda role: role == job.evaluate.data)  # what judges comes last
    data = samples[learnt[0]].facts if learnt else None
    for role, handle in job.models.items():
        if job.only_files(role):
            facts[role] = replace(handle.facts, hash=handle.stamp)
            continue
        seen = data
        if data is not None and _keeps_classes(job, role):
            seen = replace(data, n_classes=None, classes=None)
        try:
            facts[role] = handle.examine(seen)
        except JobError as error:
            basket.extend(_under("models", role, error))
    return facts


def _keeps_classes(job: Job, role: str) -> bool:
    """Whether a model's classes may be others than those of the data."""
    return any(arm.needs.models[role].own_classes for arm in job.arms if role in arm.needs.models)


def _under(section: str, role: str, error: JobError) -> list[Problem]:
    return [p if p.at[:1] == (section,) else p.under(section, role) for p in error.problems]


def _heads(job: Job, facts: dict[str, ModelFacts]) -> list[Problem]:
    """A method that reads the classifier's input needs to know which module the classifier is."""
    problems = {}
    for arm in job.arms:
        for role, need in arm.needs.models.items():
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
    wanted: dict[str, tuple[str, tuple[str, ...]]] = {}
    if family_of(job.want).judge_labelled:
        wanted[job.evaluate.data] = ("it judges the result", ())
    for arm in sorted(job.arms, key=lambda arm: arm.added):
        for role, need in arm.needs.data.items():
            if need.labels > Labels.NONE:
                what = f"`{arm.label}`, which is added to compare with," if arm.added else ""
                remedies = ("leave it out with `baselines: false`",) if arm.added else ()
                why = f"{what or f'`{arm.label}`'} learns from them"
                wanted.setdefault(role, (why, remedies))
    return [
        Problem("G410", f"`data.{role}` has no labels, and {why}", ("data", role), "", remedies)
        for role, (why, remedies) in wanted.items()
        if role in samples and samples[role].y is None and not speaks(job, samples[role].kind)
    ]


def _seen(job: Job, samples: dict[str, Samples]) -> list[Problem]:
    """G406 where the content that judges was all trained on, whatever the files are called."""
    if not job.judged:
        return []
    judge = samples[job.evaluate.data]
    learnt = _learnt(job, Labels.FEW)
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


def _learnt(job: Job, least: Labels = Labels.NONE) -> set[str]:
    """The data that methods are given; least: with so much of their labels."""
    needs = [need for arm in job.arms for need in arm.needs.data.items()]
    return {role for role, need in needs if need.labels >= least}


def _remarks(opened: Opened) -> list[str]:
    """What is allowed, and worth knowing before one believes a result."""
    job, notes = opened.job, []
    if job.train.shard != "off" and opened.processes.world == 1:
        notes.append(f"train.shard: {job.train.shard} shares nothing out: there is one process")
    learnt = _learnt(job) if job.judged else set()
    for role in sorted(learnt & opened.samples.keys() - {job.evaluate.data}):
        if same := shared_samples(opened.samples[role], opened.judge):
            told = "the result is partly memory"
            if role not in _learnt(job, Labels.FEW):
                told = "the methods adapt to them, without their labels"
            notes.append(
                f"{same} of {len(opened.judge)} samples of data.{job.evaluate.data} are in "
                f"data.{role} too: {told}"
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


def _device(job: Job, processes: Processes) -> list[Problem]:
    if processes.world > 1 and job.train.device not in ("auto", "cpu", "cuda"):
        message = f"{processes.world} processes cannot share the device `{job.train.device}`"
        remedies = ("set `train.device: auto`: each process takes a GPU of its own",)
        return [Problem("T613", message, at=("train", "device"), remedies=remedies)]
    try:
        device = pick_device(job.train.device)
        refuse_sharding()
        refuse_precision(device, job.train.precision)
    except JobError as error:
        return error.problems
    shared = shard_problems(job.train) if processes.world > 1 else []
    return [*shared, *(compile_problems(device) if job.train.compile else [])]


def reference_role(job: Job) -> str | None:
    """The role that teaches, shown beside the results as it came, if this job has it."""
    role = family_of(job.want).reference
    return role if role in job.models else None


def references(job: Job) -> list[str]:
    """The roles shown beside the results as they came; none where nothing judges."""
    if not job.judged:
        return []
    if family_of(job.want).reference == ANY:
        return list(job.models)
    return [role] if (role := reference_role(job)) is not None else []
