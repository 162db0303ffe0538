"""A whole job: gates, folder, references, every arm with every seed, comparison, report.

What is complete is never done again: a run folder is complete or absent, so a job that was
stopped anywhere goes on where it was.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import joblib
import torch
from rich.console import Console

from bequeath.evidence.card import write_card
from bequeath.evidence.record import load_record
from bequeath.evidence.report import write_report
from bequeath.fleet.folder import claim, clean, missing_or_other, writing
from bequeath.fleet.gates import Opened, check_deep, references
from bequeath.fleet.one import (
    Planned,
    arm_key,
    measure_reference,
    reference_key,
    run_one,
    share_one,
)
from bequeath.fleet.teachers import ask_teacher, tell_saved
from bequeath.job.job import Job
from bequeath.kernel.errors import JobError, Problem, visible
from bequeath.kernel.files import write_text
from bequeath.kernel.units import show_seconds
from bequeath.methods.catalog import family_of
from bequeath.train.budget import Deadline
from bequeath.train.processes import join


def run_job(job: Job, *, fresh: bool = False, jobs: int = 1, quiet: bool = False) -> Path:
    """Do everything a job asks and return its output folder.

    fresh: throw away what an earlier run of this folder left. jobs: processes at a time, each with
    its share of the cores. JobError when a gate fails, RunError when a run does; what was complete
    by then is kept.
    """
    processes = join(job.train.device)
    if job.train.threads is not None:
        torch.set_num_threads(job.train.threads)
    with processes.together():
        if jobs > 1 and processes.world > 1:
            raise job.error(_two_ways(jobs, processes.world))
        opened = check_deep(job, processes)
        planned = plan(opened)
        if processes.main:
            console = Console(stderr=True, quiet=quiet, markup=False)
            _lead(opened, planned, console, fresh=fresh, jobs=jobs)
        else:
            _follow(opened, planned)
    return job.out


def _lead(
    opened: Opened, planned: list[Planned], console: Console, *, fresh: bool, jobs: int
) -> None:
    """What the process does that writes and speaks: the only one, or the first of several."""
    job = opened.job
    for note in [*opened.notes, *_several(opened)]:
        console.print(note, style="dim", highlight=False)
    folders = [(p.folder(job.out), p.key) for p in planned]
    with located(job), writing(job.out), claim(job.out, folders, fresh=fresh):
        write_text(job.out / "job.yaml", job.to_yaml())
        _measure_references(opened)
        _run_all(opened, planned, jobs, console)
        tell_saved(job.out, planned, console)
        clean(job.out)
        report = render_report(job.out)
    console.print(_answer(job.out), highlight=False)
    console.print(visible(f"report: {report}"), highlight=False)


def _follow(opened: Opened, planned: list[Planned]) -> None:
    """What the others do: their share of the runs that the first one names, until it names none."""
    runs = {(p.arm.label, p.seed): p for p in planned}
    with located(opened.job), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the first one says it
        while (told := opened.processes.task()) is not None:
            label, seed, seconds = told
            share_one(opened, runs[label, seed], Deadline(seconds))


def _several(opened: Opened) -> list[str]:
    """A line for a job that several processes share."""
    world, train = opened.processes.world, opened.job.train
    if world == 1:
        return []
    each = train.batch_size * train.accumulate
    return [f"{world} processes: {world * each} samples a step, {each} of each"]


def _two_ways(jobs: int, world: int) -> Problem:
    return Problem(
        "T613",
        f"`--jobs {jobs}` runs several runs at a time, and {world} processes share each run",
        remedies=("launch several processes, or give `--jobs`, not both",),
    )


@contextmanager
def located(job: Job) -> Iterator[None]:
    """Gives the problems of a JobError raised in the block their places in the job file."""
    try:
        yield
    except JobError as error:
        raise job.error(*error.problems) from None


def render_report(out: Path) -> Path:
    """(Re)write report.html, report.json and MODEL_CARD.md of a finished job; -> report.html."""
    out = Path(out)
    path = write_report(out)
    write_card(out)
    return path


def plan(opened: Opened) -> list[Planned]:
    """Seeds first, then arms: stopped half way, every arm has had the same seeds.

    Within a seed the family's `first` method comes first: the others are measured against it.
    """
    first = family_of(opened.job.want).first
    arms = sorted(opened.job.arms, key=lambda arm: arm.method.name != first)
    return [
        Planned(arm, seed, arm_key(seeded, arm))
        for seed in opened.job.seeds
        for seeded in [opened.for_seed(seed)]
        for arm in arms
    ]


def _measure_references(opened: Opened) -> None:
    for role in references(opened.job):
        folder = opened.job.out / "references" / role
        if missing_or_other(folder, reference_key(opened, role)):
            measure_reference(opened, role)


def _run_all(opened: Opened, planned: list[Planned], jobs: int, console: Console) -> None:
    out = opened.job.out
    waiting = [p for p in planned if missing_or_other(p.folder(out), p.key)]
    done = len(planned) - len(waiting)
    if done:
        console.print(f"{done} of {len(planned)} runs were complete already", style="dim")
    deadline = Deadline(opened.job.budget.time)
    ask_teacher(opened, waiting, deadline, console)
    if jobs > 1 and len(waiting) > 1:
        _side_by_side(opened, waiting, jobs, deadline)
        return
    processes = opened.processes
    for i, one in enumerate(waiting):
        label = f"[{done + i + 1}/{len(planned)}] {one.arm.label}, seed {one.seed}"
        show = None if not console.quiet else False
        part = deadline.part(1 / (len(waiting) - i))
        if opened.sharing(one.arm.needs) is processes and processes.world > 1:
            processes.task([one.arm.label, one.seed, part.total and part.left()])
        folder = run_one(opened, one, part, show)
        record = load_record(folder)
        first = record.metrics.get(opened.job.evaluate.metrics[0])
        found = f"{opened.job.evaluate.metrics[0]} {first.value:.4f} in" if first else "done in"
        console.print(f"{label}: {found} {show_seconds(record.cost.wall_s)}", highlight=False)
    processes.task(None)


def _side_by_side(opened: Opened, waiting: list[Planned], jobs: int, deadline: Deadline) -> None:
    cores = joblib.cpu_count()
    threads = max(1, cores // jobs)
    share = min(1.0, jobs / len(waiting))
    tasks = (
        joblib.delayed(_in_a_process)(opened.job, one.arm.label, one.seed, threads, deadline, share)
        for one in waiting
    )
    joblib.Parallel(n_jobs=jobs, backend="loky")(tasks)


def _in_a_process(
    job: Job, label: str, seed: int, threads: int, deadline: Deadline, share: float
) -> None:
    """One run in a worker: the job is opened there anew, since models and data do not travel."""
    torch.set_num_threads(job.train.threads or threads)
    opened = _opened_here(job)
    one = next(p for p in plan(opened) if p.arm.label == label and p.seed == seed)
    run_one(opened, one, deadline.part(share), show=False)


_OPEN: dict[str, Opened] = {}


def _opened_here(job: Job) -> Opened:
    key = job.to_yaml() + str(job.out)
    if key not in _OPEN:
        _OPEN.clear()
        _OPEN[key] = check_deep(job)
    return _OPEN[key]


def _answer(out: Path) -> str:
    return str(json.loads((out / "report.json").read_text(encoding="utf-8"))["sentence"])
