"""One run: a method, its settings, a seed -> a folder that is complete or absent."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from bequeath.evidence import predictions
from bequeath.evidence.record import Cache, Run, RunRecord, Seal, Training, save_record
from bequeath.fleet.evaluate import feature_geometry, predict, sample_terms, scores
from bequeath.fleet.gates import Opened, reference_role
from bequeath.fleet.recording import Clock, describe_needs, record_of
from bequeath.given.access import Needs
from bequeath.given.bound import BoundModel
from bequeath.given.given import Given
from bequeath.job.job import Arm
from bequeath.kernel.errors import JobError, Problem, RunError
from bequeath.kernel.files import canonical, digest, whole_folder, write_text
from bequeath.methods.catalog import family_of
from bequeath.train.budget import Deadline
from bequeath.train.context import LOG, Context
from bequeath.train.seeds import seed_everything

EMBEDDING = "embedding.safetensors"


@dataclass(frozen=True)
class Planned:
    """A run to be done: which arm, which seed, and what identifies the experiment."""

    arm: Arm
    seed: int
    key: str

    def folder(self, out: Path) -> Path:
        return out / "runs" / self.arm.label / f"seed-{self.seed}"

    def work(self, out: Path) -> Path:
        """Where it lives until it is complete: checkpoints, and the log so far."""
        return out / "work" / self.arm.label / f"seed-{self.seed}"


def arm_key(opened: Opened, arm: Arm) -> str:
    """What a result depends on besides its seed. Another key is another experiment."""
    job = opened.job
    how = job.train.model_dump(exclude={"threads", "checkpoint_every", "cache", "device"})
    needs = arm.method.needs_for(arm.config)
    models = {
        role: [ref.ref, *_identity(opened, role)]
        for role, ref in job.model_refs.items()
        if role in needs.models
    }
    data = {r: s.hash for r, s in opened.samples.items() if r in {*needs.data, job.evaluate.data}}
    judged = [job.evaluate.data, list(job.evaluate.metrics)]
    settings = arm.config.model_dump()
    what = [job.want, arm.method.name, settings, how, models, data, judged]
    references = [arm.reference, *(str(asked[0]) for asked in models.values())]
    return digest(canonical([*what, *filter(None, map(_own_code, references))]))


def _own_code(reference: str) -> str | None:
    """Digest of the user's own file in `./file.py:name` or `py:file.py:name`: it may change."""
    path = Path(reference.removeprefix("py:").rpartition(":")[0])
    return digest(path.read_bytes()) if path.suffix == ".py" and path.is_file() else None


def _identity(opened: Opened, role: str) -> list[Any]:
    """What a model is besides its reference, which may lead to other files tomorrow."""
    facts = opened.model_facts[role]
    options = opened.job.model_refs[role].options.model_dump()
    return [options, facts.hash, facts.made_of, facts.preprocess, facts.tensors]


def reference_key(opened: Opened, role: str) -> str:
    """What the measurement of a model as it came depends on."""
    job = opened.job
    asked = [job.model_refs[role].ref, *_identity(opened, role)]
    return digest(canonical([asked, opened.judge.hash, list(job.evaluate.metrics)]))


def run_one(opened: Opened, planned: Planned, deadline: Deadline, show: bool | None) -> Path:
    """Train, predict, measure, store. Goes on from a checkpoint when there is one."""
    job, arm = opened.job, planned.arm
    work = _work_folder(planned, job.out)
    seed_everything(planned.seed)
    ctx = Context(
        seed=planned.seed,
        train=job.train,
        store=work,
        device=opened.device,
        budget=deadline,
        memory=job.budget.memory,
        show=show,
    )
    needs = arm.method.needs_for(arm.config)
    given = sealed(opened, needs, planned.seed)
    clock = Clock(opened.device)
    with clock.training():
        outcome = arm.method(ctx, given, arm.config)
    model = outcome.models.get(family_of(job.want).result)
    if not isinstance(model, BoundModel):
        role = family_of(job.want).result
        raise RunError(Problem("T620", f"method `{arm.method.name}` handed back no `{role}`"))
    logits, embedding = predict(model, opened.judge, opened.device, embedding=True)
    cache = ctx.notes.get("cache")
    run = Run(
        arm=arm.label,
        method=arm.method.name,
        want=job.want,
        config=arm.config.model_dump(mode="json"),
        seed=planned.seed,
        baseline=arm.method.name in family_of(job.want).baselines,
    )
    record = record_of(opened, run, planned.key, model, logits, clock).model_copy(
        update={
            "seal": Seal(declared=describe_needs(needs), attempts=list(given.attempts)),
            "train": _training(ctx),
            "notes": {**outcome.notes, **_geometry(opened, embedding)},
        }
    )
    record.cost.cache = Cache(**cache) if cache else None

    def fill(part: Path) -> None:
        model.save(part / "model")
        if (work / LOG).exists():
            shutil.copy(work / LOG, part / LOG)

    folder = _store(planned.folder(job.out), record, opened, logits, fill)
    shutil.rmtree(work, ignore_errors=True)
    return folder


def measure_reference(opened: Opened, role: str) -> Path:
    """A model as it came, measured like the results: `out/references/<role>/`."""
    job = opened.job
    clock = Clock(opened.device)
    # scaled by the data the methods learn from, as the methods see it
    model = load_model(opened, role, opened.data_for(job.arms[0]), seed=0)
    logits, embedding = predict(model, opened.judge, opened.device, embedding=True)
    run = Run(arm=role, method="as it came", want=job.want, seed=0)
    record = record_of(opened, run, reference_key(opened, role), model, logits, clock)

    def fill(part: Path) -> None:
        if embedding is not None:
            save_file({"embedding": embedding}, part / EMBEDDING)

    return _store(job.out / "references" / role, record, opened, logits, fill)


def sealed(opened: Opened, needs: Needs, seed: int, data: Mapping[str, Any] | None = None) -> Given:
    """What the user owns, as far as a method with these needs may see it.

    data: in place of the job's data sets (part of them, for a trial).
    """
    learnt = [opened.samples[role] for role in needs.data if role in opened.samples]
    fixes = learnt[0] if learnt else opened.judge

    def loader(role: str) -> Callable[[], BoundModel]:
        # What does not train is one model, the one measured as it came, also if it is a fresh one.
        trains = role in needs.models and needs.models[role].trains
        return lambda: load_model(opened, role, fixes, seed if trains else 0)

    loaders = {role: loader(role) for role in opened.job.models}
    return Given(needs, loaders=loaders, facts=opened.model_facts, data=data or opened.samples)


def load_model(opened: Opened, role: str, data: Any, seed: int) -> BoundModel:
    handle = opened.job.models[role]
    try:
        return handle.load(n_classes=opened.n_classes, data=data, seed=seed, device=opened.device)
    except JobError as error:
        raise JobError(p.under("models", role) for p in error.problems) from None


def _work_folder(planned: Planned, out: Path) -> Path:
    """The run's scratch, emptied when what lies there belongs to another experiment."""
    work = planned.work(out)
    mark = work / "key"
    if not mark.is_file() or mark.read_text(encoding="utf-8") != planned.key:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        write_text(mark, planned.key)
    return work


def _store(
    folder: Path,
    record: RunRecord,
    opened: Opened,
    logits: Tensor,
    fill: Callable[[Path], None],
) -> Path:
    with whole_folder(folder) as part:
        fill(part)
        columns = scores(logits, opened.answers)
        predictions.save_predictions(
            predictions.from_arrays(
                arm=record.run.arm,
                seed=record.run.seed,
                idx=columns["idx"],
                terms=sample_terms(logits, opened.answers, opened.job.evaluate.metrics),
                answers={**columns, "classes": opened.judge.classes},
            ),
            part,
        )
        save_record(record, part)
    return folder


def _geometry(opened: Opened, embedding: Tensor | None) -> dict[str, float]:
    """The student's features beside the teacher's, where both are known."""
    role = reference_role(opened.job)
    path = opened.job.out / "references" / str(role) / EMBEDDING
    if embedding is None or role is None or not path.is_file():
        return {}
    theirs = load_file(path)["embedding"]
    return feature_geometry(embedding, theirs, opened.answers, opened.n_classes)


def _training(ctx: Context) -> Training | None:
    if not ctx.fits:
        return None
    fits = list(ctx.fits.values())
    return Training(
        steps=sum(f.steps for f in fits),
        epochs=sum(f.epochs for f in fits),
        stopped="budget" if any(f.stopped == "budget" for f in fits) else "done",
    )
