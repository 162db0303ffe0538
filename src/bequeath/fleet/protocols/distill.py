"""Students are judged as what they are: classifiers, or language models.

Beside a teacher whose features are known, a classifier's features are too. Language models are
audited with `data.canaries`, if there are any: what a student kept of the secrets in the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from bequeath.evidence.record import RECORD_FILE, load_record
from bequeath.fleet.evaluate import feature_geometry
from bequeath.fleet.gates import Opened, reference_role
from bequeath.fleet.measured import Measured
from bequeath.fleet.protocols._canaries import METRICS, add_canaries, canary_problems, look_for
from bequeath.fleet.protocols._language import measure_language, prompt_problems, same_tokens
from bequeath.fleet.protocols._written import judge_written, written_problems
from bequeath.fleet.protocols.classifier import measure_classifier
from bequeath.given.bound import BoundModel
from bequeath.given.canaries import Canary
from bequeath.job.job import Arm
from bequeath.kernel.errors import Problem
from bequeath.methods.contract import Outcome
from bequeath.metrics.exposure import kept as kept_of
from bequeath.metrics.language import LANGUAGE
from bequeath.metrics.names import NAMES
from bequeath.train.context import Context

EMBEDDING = "embedding.safetensors"
CANARIES = "canaries"


def problems(opened: Opened) -> Iterator[Problem]:
    """G491 to G495, and G410 for a classifier's judge without labels."""
    yield from same_tokens(opened)
    yield from prompt_problems(opened)
    yield from written_problems(opened)
    audited = CANARIES in opened.samples
    language = any(facts.per_token for facts in opened.model_facts.values())
    there = {*LANGUAGE, *(METRICS if audited else ())} if language else set(NAMES)
    for i, name in enumerate(opened.job.evaluate.metrics):
        if name not in there:
            kind = "language models" if language else "classifiers"
            more = "" if audited or name not in METRICS else " without `data.canaries`"
            message = f"`{name}` is not measured for {kind}{more}"
            notes = (f"there are {', '.join(sorted(there))}",)
            yield Problem("G492", message, at=opened.job.metric_at(i), notes=notes)
    if audited and not language:
        message = "canaries are looked for in language models, and these are classifiers"
        yield Problem("G493", message, at=("data", CANARIES))
    elif audited:
        facts = {role: one for role, one in opened.model_facts.items() if one.per_token}
        yield from canary_problems(opened, CANARIES, facts)
    if not language and opened.judge.y is None:
        role = opened.job.evaluate.data
        message = f"`data.{role}` has no labels, and it judges the result"
        yield Problem("G410", message, at=("data", role))


def measure_reference(opened: Opened, model: BoundModel) -> Measured:
    """The teacher as it came; a classifier's features are kept for the students' geometry."""
    if model.facts.per_token:
        return _measure_language(opened, model, 0)
    measured, embedding = measure_classifier(opened, model)

    def save(part: Path) -> None:
        if embedding is not None:
            save_file({"embedding": embedding}, part / EMBEDDING)

    measured.save = save
    return measured


def _measure_language(opened: Opened, model: BoundModel, seed: int) -> Measured:
    names = opened.job.evaluate.metrics
    measured = measure_language(opened, model, tuple(n for n in names if n in LANGUAGE))
    if CANARIES in opened.samples:
        add_canaries(measured, *look_for(model, opened.samples[CANARIES], seed))
    return measured


class Run:
    """One student."""

    offer: Any = None

    def __init__(self, opened: Opened, arm: Arm, seed: int):
        self.opened, self.seed = opened, seed
        self.notes: dict[str, Any] = {}

    def stage(self, name: str, objects: dict[str, Any]) -> None:
        """`privacy score`: how well `rho(batch)` finds the secrets that are known to be there."""
        train = self.opened.samples.get("train")
        if name == "privacy score" and CANARIES in self.opened.samples and train is not None:
            batch = self.opened.samples[CANARIES].fetch(
                torch.arange(len(self.opened.samples[CANARIES]))
            )
            canaries = [Canary(*row) for row in zip(batch["prefix"], batch["secret"])]
            self.notes = _detection(objects["rho"], train, canaries, self.opened.device)

    def measure(self, outcome: Outcome, ctx: Context) -> Measured:
        model: Any = outcome.models["student"]
        folder = self.opened.job.out / "references" / str(reference_role(self.opened.job))
        if model.facts.per_token:
            measured = _measure_language(self.opened, model, self.seed)
            measured.notes |= self.notes
            if getattr(self.opened.job.protocol, "write", 0):
                measured.notes |= judge_written(self.opened, model.eval(), self.seed)
            if "exposure_mean" in measured.metrics and (folder / RECORD_FILE).is_file():
                teacher = load_record(folder).metrics.get("exposure_mean")
                mine, least = measured.metrics["exposure_mean"], measured.notes["exposure_floor"]
                if teacher is not None and teacher.value > least:
                    share = kept_of(mine.value, teacher.value, least)
                    measured.notes["exposure_kept"] = share
            return measured
        measured, embedding = measure_classifier(self.opened, model)
        if embedding is not None and (folder / EMBEDDING).is_file():
            theirs = load_file(folder / EMBEDDING)["embedding"]
            answers, n_classes = self.opened.answers, self.opened.n_classes
            measured.notes |= feature_geometry(embedding, theirs, answers, n_classes)
        return measured


def _detection(rho: Any, train: Any, canaries: list[Canary], device: torch.device) -> dict:
    """rho on average, and as a detector at 1/2 of the characters of hidden secrets.

    rho: batch -> (Targets, rho [N], characters int64 [N, 2] of each row's token). Precision counts
    other numbers in the text as false alarms, though they may be private too.
    """
    secrets = {canary.text: len(canary.prefix) for canary in canaries}
    total = hit = alarms = true = 0.0
    rows = 0
    for idx in torch.arange(len(train), device=device).split(256):
        batch = train.fetch(idx)
        asked, score, spans = rho(batch)
        starts = [secrets.get(text, len(text)) for text in batch["text"]]
        start = torch.tensor(starts)[asked.sample.cpu()]
        private = (spans[:, 1] > start) & (spans[:, 1] > spans[:, 0])
        alarm = (score >= 0.5).cpu()
        total, rows = total + float(score.sum()), rows + len(score)
        hit, alarms = hit + float((alarm & private).sum()), alarms + float(alarm.sum())
        true += float(private.sum())
    found = {"rho_mean": total / max(1, rows), "rho_alarms": alarms / max(1, rows)}
    if alarms:
        found["rho_precision"] = hit / alarms
    if true:
        found["rho_recall"] = hit / true
    return found
