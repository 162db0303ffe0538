"""Students are judged as classifiers; beside a teacher whose features are known, so are theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from bequeath.fleet.evaluate import feature_geometry
from bequeath.fleet.gates import Opened, reference_role
from bequeath.fleet.measured import Measured
from bequeath.fleet.protocols.classifier import measure_classifier
from bequeath.given.bound import BoundModel
from bequeath.job.job import Arm
from bequeath.methods.contract import Outcome
from bequeath.train.context import Context

EMBEDDING = "embedding.safetensors"


def measure_reference(opened: Opened, model: BoundModel) -> Measured:
    """The teacher as it came; its features are kept for the students' geometry."""
    measured, embedding = measure_classifier(opened, model)

    def save(part: Path) -> None:
        if embedding is not None:
            save_file({"embedding": embedding}, part / EMBEDDING)

    measured.save = save
    return measured


class Run:
    """One student."""

    offer: Any = None

    def __init__(self, opened: Opened, arm: Arm, seed: int):
        self.opened = opened

    def measure(self, outcome: Outcome, ctx: Context) -> Measured:
        model: Any = outcome.models["student"]
        measured, embedding = measure_classifier(self.opened, model)
        job = self.opened.job
        path = job.out / "references" / str(reference_role(job)) / EMBEDDING
        if embedding is not None and path.is_file():
            theirs = load_file(path)["embedding"]
            answers, n_classes = self.opened.answers, self.opened.n_classes
            measured.notes |= feature_geometry(embedding, theirs, answers, n_classes)
        return measured
