"""Merged models are judged where there is data to judge them on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bequeath.evidence.record import Model
from bequeath.fleet.gates import Opened
from bequeath.fleet.measured import Measured
from bequeath.fleet.protocols.classifier import measure_classifier, measure_reference
from bequeath.given.models import ModelHandle, load_model, model_handle
from bequeath.given.options import Ref
from bequeath.job.job import Arm
from bequeath.kernel.errors import JobError, Problem
from bequeath.kernel.files import canonical, digest
from bequeath.methods.contract import Outcome
from bequeath.train.context import Context
from bequeath.weights.header import open_checkpoint

__all__ = ["Run", "measure_reference", "problems"]


def problems(opened: Opened) -> Iterator[Problem]:
    """What is to be judged must be more than tensors: each source opens as a model."""
    if not opened.job.judged:
        return
    for role, handle in opened.job.models.items():
        try:
            handle.examine(opened.judge.facts)
        except JobError as error:
            for problem in error.problems:
                yield problem.under("models", role)


def _described(folder: Path) -> Model:
    """Size and hash of what was written; nothing is known of how fast it answers."""
    made = open_checkpoint(folder, at=())
    digests = []
    for path in made.files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return Model(
        architecture=made.architecture or "unknown",
        parameters=sum(math.prod(slot.shape) for slot in made.slots.values()),
        bytes=made.nbytes,
        hash=digest(canonical(digests)),
    )


class Run:
    """One merged model."""

    offer: Any = None

    def __init__(self, opened: Opened, arm: Arm, seed: int):
        self.opened = opened
        first = next(role for role in arm.needs.models if role in opened.job.models)
        self.like: ModelHandle = opened.job.models[first]

    def measure(self, outcome: Outcome, ctx: Context) -> Measured:
        assert outcome.folder is not None
        if not self.opened.job.judged:
            return Measured(model=_described(outcome.folder))
        if (outcome.folder / "config.json").is_file() or (
            outcome.folder / "bequeath.json"
        ).is_file():
            model = load_model(outcome.folder, device=self.opened.device)
        else:  # bare tensors: the architecture is the one said of their sources
            options = self.like.options.model_copy(update={"weights": None})
            ref = Ref("file", str(outcome.folder / "model.safetensors"))
            model = model_handle("merged", ref, options).load(
                data=self.opened.judge, device=self.opened.device
            )
        return measure_classifier(self.opened, model)[0]
