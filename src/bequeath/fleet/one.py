"""One run: a method, its settings, a seed -> a folder that is complete or absent."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from bequeath.evidence import predictions
from bequeath.evidence.record import (
    Alone,
    Cache,
    Run,
    RunRecord,
    Seal,
    Together,
    Training,
    save_record,
)
from bequeath.fleet.found import found_of
from bequeath.fleet.gates import Opened
from bequeath.fleet.measured import Measured
from bequeath.fleet.protocols import protocol_of
from bequeath.fleet.recording import Clock, describe_needs, record_of
from bequeath.given.access import Needs
from bequeath.given.bound import BoundModel
from bequeath.given.given import Given
from bequeath.job.job import Arm
from bequeath.kernel.errors import Problem, RunError
from bequeath.kernel.files import canonical, digest, remove, whole_folder, write_text
from bequeath.kernel.own_code import located, place_in
from bequeath.methods.catalog import family_of
from bequeath.methods.contract import Outcome
from bequeath.methods.family import Family
from bequeath.train.budget import Deadline
from bequeath.train.context import LOG, Context
from bequeath.train.seeds import seed_everything


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
    family = family_of(job.want)
    needs = arm.needs
    models = {
        role: opened.identity(role)
        for role in job.model_refs
        if role in needs.models or role in family.judges
    }
    used = {*needs.data, job.evaluate.data, *family.judges}
    data = {r: s.hash for r, s in opened.samples.items() if r in used}
    graphs = {role: opened.graphs[role].hash for role in needs.graphs}
    judged = [job.evaluate.data, list(job.evaluate.metrics)]
    settings = arm.config.model_dump()
    how = job.train.identity
    what: list[Any] = [job.want, arm.method.name, settings, how, models, data, judged]
    if family.protocol is not None:
        what.append(job.protocol.model_dump() if job.protocol is not None else None)
    if graphs:
        what.append(graphs)
    if (world := opened.sharing(needs).world) > 1:  # a step has that many times the samples
        what.append({"processes": world})
    references = [arm.reference, *(str(asked[0]) for asked in models.values())]
    return digest(canonical([*what, *filter(None, map(_own_code, references))]))


def _own_code(reference: str) -> str | None:
    """Digest of the user's own file in `./file.py:name` or `py:file.py:name`: it may change."""
    path = Path(reference.removeprefix("py:").rpartition(":")[0])
    return digest(path.read_bytes()) if path.suffix == ".py" and path.is_file() else None


def reference_key(opened: Opened, role: str) -> str:
    """What the measurement of a model as it came depends on."""
    job = opened.job
    asked = opened.identity(role)
    judge = opened.samples.get(job.evaluate.data)
    judges = [opened.samples[r].hash for r in family_of(job.want).judges if r in opened.samples]
    return digest(canonical([asked, judge and judge.hash, list(job.evaluate.metrics), *judges]))


@dataclass(frozen=True)
class Begun:
    """A run that is about to call its method. judge: the family's protocol for it."""

    opened: Opened
    ctx: Context
    given: Given
    judge: Any


def begin(opened: Opened, planned: Planned, deadline: Deadline, show: bool | None) -> Begun:
    """Everything seeded, and what the method will be handed."""
    opened = opened.for_seed(planned.seed)
    job = opened.job
    work = _work_folder(planned, job.out)
    ctx, judge, given = _begun(opened, planned, work, deadline, show)
    ctx.on_stage = getattr(judge, "stage", None)
    return Begun(opened, ctx, given, judge)


@located(RunError)
def run_one(opened: Opened, planned: Planned, deadline: Deadline, show: bool | None) -> Path:
    """Let the method work, measure what it hands back, store. Goes on from a checkpoint."""
    begun = begin(opened, planned, deadline, show)
    opened, ctx, given, judge = begun.opened, begun.ctx, begun.given, begun.judge
    job, arm = opened.job, planned.arm
    family = family_of(job.want)
    clock = Clock(opened.device)
    with clock.training():
        outcome = arm.method(ctx, given, arm.config)
    model = _result(arm, outcome, family.result)
    with ctx.alone():
        measured = judge.measure(outcome, ctx)
    cache = ctx.notes.get("cache")
    run = Run(
        arm=arm.label,
        method=arm.method.name,
        want=job.want,
        config=arm.config.model_dump(mode="json"),
        seed=planned.seed,
        baseline=_is_baseline(arm, family),
    )
    record = record_of(opened, run, planned.key, measured, clock).model_copy(
        update={
            "seal": Seal(declared=describe_needs(arm.needs), attempts=list(given.attempts)),
            "train": _training(ctx, _why_alone(planned, job.out)),
            "notes": {**outcome.notes, **measured.notes},
        }
    )
    record.cost.cache = Cache(**cache) if cache else None
    _bear_share(record)

    def fill(part: Path) -> None:
        if outcome.folder is not None:
            shutil.move(outcome.folder, part / "model")
        elif isinstance(model, BoundModel):
            model.save(part / "model")
        if (ctx.store / LOG).exists():
            shutil.copy(ctx.store / LOG, part / LOG)

    folder = _store(planned.folder(job.out), record, measured, fill)
    remove(ctx.store)
    return folder


def _result(arm: Arm, outcome: Any, role: str | None) -> Any:
    """The model of the family's role. RunError T620 where a method hands back something else."""
    wrong = ""
    if not isinstance(outcome, Outcome):
        wrong = f"a {type(outcome).__name__} and no `Outcome`"
    elif not isinstance(outcome.models, dict) or not isinstance(outcome.notes, dict):
        wrong = "`models` or `notes` that are no dict"
    elif outcome.folder is not None and not Path(outcome.folder).is_dir():
        wrong = f"a folder that is not there: `{outcome.folder}`"
    else:
        try:
            to_json(outcome.notes)
        except ValueError as error:
            wrong = f"notes that are no JSON: {error}"
    model = outcome.models.get(role) if not wrong and role is not None else None
    if not wrong and role is not None and not isinstance(model, BoundModel):
        wrong = f"no `{role}`" if outcome.folder is None else ""
    if wrong:
        message = f"method `{arm.method.name}` handed back {wrong}"
        raise RunError(Problem("T620", message, place=place_in(arm.method.run)))
    return model


@located(RunError)
def share_one(opened: Opened, planned: Planned, deadline: Deadline) -> None:
    """What a process that writes nothing does of a run: the method, in scratch of its own."""
    with tempfile.TemporaryDirectory(prefix="bequeath-shares-") as scratch:
        out = Path(scratch)
        opened = replace(opened, job=opened.job.but(out=out)).for_seed(planned.seed)
        ctx, _, given = _begun(opened, planned, planned.work(out), deadline, False)
        planned.arm.method(ctx, given, planned.arm.config)


def _begun(
    opened: Opened, planned: Planned, store: Path, deadline: Deadline, show: bool | None
) -> tuple[Context, Any, Given]:
    """The context of a run, who judges it, and what its method is given."""
    job, arm = opened.job, planned.arm
    seed_everything(planned.seed)
    ctx = Context(
        seed=planned.seed,
        train=job.train,
        store=store,
        device=opened.device,
        budget=deadline,
        memory=job.budget.memory,
        show=show,
        processes=opened.sharing(arm.needs),
    )
    judge = protocol_of(job.want).Run(opened, arm, planned.seed)
    return ctx, judge, sealed(opened, arm.needs, planned.seed, judge=judge)


@located(RunError)
def measure_reference(opened: Opened, role: str) -> Path:
    """A model as it came, measured like the results: `out/references/<role>/`."""
    job = opened.job
    clock = Clock(opened.device)
    # scaled by the data the methods learn from, as the methods see it
    model = opened.load(role, data=opened.data_for(job.arms[0]))
    run = Run(arm=role, method="as it came", want=job.want, seed=0)
    measured = protocol_of(job.want).measure_reference(opened, model)
    record = record_of(opened, run, reference_key(opened, role), measured, clock)
    record.notes |= measured.notes
    return _store(job.out / "references" / role, record, measured, lambda part: None)


def sealed(
    opened: Opened,
    needs: Needs,
    seed: int,
    *,
    judge: Any = None,
    data: Mapping[str, Any] | None = None,
) -> Given:
    """What the user owns, as far as a method with these needs may see it.

    judge: the family's protocol for this run, which may offer something of its own and give other
    data. data: in place of the job's data sets (part of them, for a trial).
    """
    if data is None and hasattr(judge, "data"):
        data = judge.data()
    data = {**opened.samples, **(data or {})}
    fixes = next((data[role] for role in needs.data if role in data), None)

    def loader(role: str) -> Callable[[], BoundModel]:
        # What does not train is one model, the one measured as it came, also if it is a fresh one.
        trains = role in needs.models and needs.models[role].trains
        return lambda: opened.load(role, data=fixes, seed=seed if trains else 0)

    return Given(
        needs,
        loaders={role: loader(role) for role in opened.job.models},
        facts=opened.model_facts,
        data=data,
        graphs=opened.graphs,
        paths={role: handle.path for role, handle in opened.job.models.items()},
        protocol=getattr(judge, "offer", None),
    )


def _is_baseline(arm: Arm, family: Family) -> bool:
    """The family's baseline as it is: under another name and with settings it is what was asked."""
    name = arm.method.name
    return name in family.baselines and (arm.added or arm.label == name)


def _work_folder(planned: Planned, out: Path) -> Path:
    """The run's scratch, emptied when what lies there belongs to another experiment."""
    work = planned.work(out)
    mark = work / "key"
    if not mark.is_file() or mark.read_text(encoding="utf-8") != planned.key:
        remove(work)
        work.mkdir(parents=True)
        write_text(mark, planned.key)
    return work


def _store(
    folder: Path,
    record: RunRecord,
    measured: Measured,
    fill: Callable[[Path], None],
) -> Path:
    with whole_folder(folder) as part:
        fill(part)
        if measured.save is not None:
            measured.save(part)
        if measured.rows is not None:
            found = predictions.from_arrays(
                arm=record.run.arm,
                seed=record.run.seed,
                idx=list(measured.rows) if isinstance(measured.rows, range) else measured.rows,
                terms=measured.terms,
                answers=measured.answers,
            )
            predictions.save_predictions(found, part)
        save_record(record, part)
    return folder


def _bear_share(record: RunRecord) -> None:
    """Add to a run's cost its share of what it was trained together with other seeds for."""
    share = record.train.together if record.train is not None else None
    if share is None:
        return
    cost = record.cost
    cost.wall_s, cost.cpu_s = cost.wall_s + share.wall_s, cost.cpu_s + share.cpu_s
    cost.train_s = (cost.train_s or 0.0) + share.wall_s
    cost.peak_rss_bytes = max(cost.peak_rss_bytes, share.peak_rss_bytes)
    if share.peak_device_bytes is not None:
        cost.peak_device_bytes = max(cost.peak_device_bytes or 0, share.peak_device_bytes)
    if cost.cache is not None:
        cost.cache.saved_s += share.cache_s


def _why_alone(planned: Planned, out: Path) -> Alone | None:
    """What was found where this run's seed might have trained with others, and did not."""
    found = found_of(out, planned.arm.label, planned.key, planned.seed)
    if found is None or found.verdict.batched:
        return None
    told = {k: v for k, v in asdict(found.verdict).items() if k != "batched"}
    return Alone(runs=len(found.seeds), **told)


def _training(ctx: Context, alone: Alone | None) -> Training | None:
    if not ctx.fits:
        return None
    fits = list(ctx.fits.values())
    shares = [f.together for f in fits if f.together]
    return Training(
        together=Together(**shares[0]) if shares else None,
        alone=None if shares else alone,
        steps=sum(f.steps for f in fits),
        epochs=sum(f.epochs for f in fits),
        stopped="budget" if any(f.stopped == "budget" for f in fits) else "done",
        processes=ctx.processes.world,
        step_samples=ctx.train.batch_size * ctx.train.accumulate * ctx.processes.world,
    )
