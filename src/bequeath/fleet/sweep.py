"""A whole job: gates, folder, references, every arm with every seed, comparison, report.

What is complete is never done again: a run folder is complete or absent, so a job that was
stopped anywhere goes on where it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import joblib
import torch
from rich.console import Console

from bequeath.evidence.card import write_card
from bequeath.evidence.provenance import without_passwords
from bequeath.evidence.record import load_record
from bequeath.evidence.report import write_report
from bequeath.fleet.folder import (
    claim,
    clean,
    doing,
    missing_or_other,
    ours,
    reporting,
    writing,
)
from bequeath.fleet.gates import Opened, check_deep, references
from bequeath.fleet.one import Planned, arm_key, measure_reference, reference_key, run_one
from bequeath.fleet.teachers import ask_teacher, tell_saved
from bequeath.job.job import Job
from bequeath.kernel.errors import JobError, visible
from bequeath.kernel.files import write_text
from bequeath.kernel.units import show_seconds
from bequeath.methods.catalog import family_of
from bequeath.train.budget import Deadline


def run_job(job: Job, *, fresh: bool = False, jobs: int = 1, quiet: bool = False) -> Path:
    """Do everything a job asks and return its output folder.

    fresh: throw away what an earlier run of this folder left. jobs: processes at a time, each with
    its share of the cores. JobError when a gate fails, RunError when a run does; what was complete
    by then is kept.
    """
    if job.train.threads is not None:
        torch.set_num_threads(job.train.threads)
    console = Console(stderr=True, quiet=quiet, markup=False)
    opened = check_deep(job)
    for note in opened.notes:
        console.print(note, style="dim", highlight=False)
    planned = plan(opened)
    folders = [(p.folder(job.out), p.key) for p in planned]
    with located(job), writing(job.out), claim(job.out, folders, fresh=fresh):
        write_text(job.out / "job.yaml", without_passwords(job.to_yaml()))
        _measure_references(opened)
        _run_all(opened, planned, jobs, console)
        tell_saved(job.out, planned, console)
        clean(job.out)
        report = _write_reports(job.out)
    console.print(_answer(job.out), highlight=False)
    console.print(visible(f"report: {report}"), highlight=False)
    return job.out


@contextmanager
def located(job: Job) -> Iterator[None]:
    """Gives the problems of a JobError raised in the block their places in the job file."""
    try:
        yield
    except JobError as error:
        raise job.error(*error.problems) from None


def render_report(out: Path) -> Path:
    """(Re)write report.html, report.json and MODEL_CARD.md of a job's folder; -> report.html.

    The job may be running: the report then says what is there so far.
    """
    out = Path(out)
    with writing(out):
        return _write_reports(out)


def _write_reports(out: Path) -> Path:
    with reporting(out) if ours(out) else nullcontext():
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
    for i, one in enumerate(waiting):
        label = f"[{done + i + 1}/{len(planned)}] {one.arm.label}, seed {one.seed}"
        show = None if not console.quiet else False
        folder = run_one(opened, one, deadline.part(1 / (len(waiting) - i)), show)
        record = load_record(folder)
        first = record.metrics.get(opened.job.evaluate.metrics[0])
        found = f"{opened.job.evaluate.metrics[0]} {first.value:.4f} in" if first else "done in"
        console.print(f"{label}: {found} {show_seconds(record.cost.wall_s)}", highlight=False)


def _side_by_side(opened: Opened, waiting: list[Planned], jobs: int, deadline: Deadline) -> None:
    cores = joblib.cpu_count()
    threads = max(1, cores // jobs)
    share = min(1.0, jobs / len(waiting))
    tasks = (
        joblib.delayed(_in_a_process)(
            opened.job, one.arm.label, one.seed, threads, deadline, share, os.getpid()
        )
        for one in waiting
    )
    joblib.Parallel(n_jobs=jobs, backend="loky")(tasks)


def _in_a_process(
    job: Job, label: str, seed: int, threads: int, deadline: Deadline, share: float, parent: int
) -> None:
    """One run in a worker: the job is opened there anew, since models and data do not travel."""
    torch.set_num_threads(job.train.threads or threads)
    opened = _opened_here(job)
    one = next(p for p in plan(opened) if p.arm.label == label and p.seed == seed)
    with doing(one.work(job.out)):
        if os.getppid() == parent:  # else it was killed, and another may have begun in the folder
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
