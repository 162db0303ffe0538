"""Audits are judged by what they found: exposures, secrets that come out, members given away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bequeath.evidence.record import Table
from bequeath.fleet.evaluate import describe, measure, predict, sample_terms
from bequeath.fleet.gates import Opened
from bequeath.fleet.measured import Measured
from bequeath.fleet.protocols._canaries import METRICS, add_canaries, add_terms, canary_problems
from bequeath.fleet.protocols._language import measure_language
from bequeath.given.bound import BoundModel
from bequeath.job.job import Arm
from bequeath.kernel.errors import Problem
from bequeath.methods.audit import SIDES, Audit
from bequeath.methods.contract import Outcome
from bequeath.metrics.language import LANGUAGE
from bequeath.metrics.membership import attack
from bequeath.metrics.names import NAMES
from bequeath.metrics.placements import area
from bequeath.train.context import Context


def problems(opened: Opened) -> Iterator[Problem]:
    """G492 to G494, G410: the data are not what the metrics or the models need."""
    job, samples = opened.job, opened.samples
    facts = {arm.label: next(iter(arm.needs.models)) for arm in job.arms}
    models = {role: opened.model_facts[role] for role in dict.fromkeys(facts.values())}
    one_sided = [side for side in SIDES if side in samples]
    language = all(one.per_token for one in models.values())
    if "canaries" in samples and not language:
        message = "canaries are looked for in language models, and not all of these are"
        yield Problem("G493", message, at=("data", "canaries"))
    elif "canaries" in samples:
        yield from canary_problems(opened, "canaries", models)
    wanted = [*one_sided, *((job.evaluate.data,) if job.judged else ())]
    for role in wanted:
        if samples[role].y is None and not (language and samples[role].kind == "text"):
            message = f"`data.{role}` has no labels, and the losses are about them"
            yield Problem("G410", message, at=("data", role))
    there = set(METRICS) if "canaries" in samples else set()
    there |= {"mia_auc"} if len(one_sided) == 2 else set()
    there |= set(LANGUAGE if language else NAMES) if job.judged else set()
    for name in job.evaluate.metrics:
        if there and name not in there:
            message = f"`{name}` cannot be measured with the data of this job"
            known = ", ".join(f"`{n}`" for n in sorted(there))
            remedy = f"say `evaluate: {{metrics: [{min(there)}]}}`"
            yield Problem("G492", message, job.metric_at(), f"there are {known}", (remedy,))


class Run:
    """One model, audited."""

    offer: Any = None

    def __init__(self, opened: Opened, arm: Arm, seed: int):
        self.opened, self.arm, self.seed = opened, arm, seed

    def measure(self, outcome: Outcome, ctx: Context) -> Measured:
        found: Audit = outcome.answer
        measured = Measured()
        if self.opened.job.judged:
            measured = _quality(self.opened, self.opened.load(found.role, seed=0))
        if found.kept:
            add_canaries(measured, found.canaries, found.kept)
        if found.members is not None and found.nonmembers is not None:
            _add_membership(measured, found)
        return measured


def _quality(opened: Opened, model: BoundModel) -> Measured:
    if model.facts.per_token:
        return measure_language(opened, model, tuple(LANGUAGE))
    logits, _ = predict(model, opened.judge, opened.device)
    names = tuple(name for name in opened.job.evaluate.metrics if name in NAMES) or ("accuracy",)
    return Measured(
        metrics=measure(logits, opened.answers, names),
        idx=range(len(logits)),
        terms=sample_terms(logits, opened.answers, names),
        model=describe(model, opened.judge, opened.device),
    )


def _add_membership(measured: Measured, found: Audit) -> None:
    """The attack by the loss: a member is likelier where it is low."""
    assert found.members is not None and found.nonmembers is not None
    curve = area(-found.members, -found.nonmembers)
    add_terms(measured, "mia_auc", curve.terms.tolist(), "members", "share", "lower")
    judged = attack(-found.members, -found.nonmembers)
    measured.notes["mia_advantage"] = judged.advantage
    measured.tables["membership"] = Table(
        columns=["samples", "mean loss"],
        rows=[[len(side), float(side.mean())] for side in (found.members, found.nonmembers)],
        row_names=["members", "nonmembers"],
        title="Membership by the loss",
        note=f"AUC {curve.auc:.3f}, 95 % interval {curve.low:.3f} to {curve.high:.3f}; found while "
        + ", ".join(
            f"{100 * fpr:g} % of the non-members are accused: {100 * tpr:.1f} % of the members"
            for fpr, tpr in judged.tpr_at.items()
        )
        + ". 0.5 is chance.",
    )
