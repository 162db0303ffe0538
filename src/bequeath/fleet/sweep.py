"""A whole job: gates, folder, references, every arm with every seed, comparison, report.

What is complete is never done again: a run folder is complete or absent, so a job that was
stopped anywhere goes on where it was.
"""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from rich.console import Console

from bequeath.evidence.card import write_card
from bequeath.evidence.provenance import without_passwords
from bequeath.evidence.record import load_record
from bequeath.evidence.report import write_report
from bequeath.fleet.executors import check_place, pool_for
from bequeath.fleet.folder import claim, clean, missing_or_other, ours, reporting, writing
from bequeath.fleet.gates import Opened, check_deep, references
from bequeath.fleet.groups import groups_of, told
from bequeath.fleet.one import Planned, measure_reference, reference_key, share_one
from bequeath.fleet.teachers import ask_teacher, tell_saved
from bequeath.fleet.units import Unit, drive, plan, units_of
from bequeath.fleet.width import Jobs
from bequeath.job.job import Job
from bequeath.kernel.errors import JobError, visible
from bequeath.kernel.files import write_text
from bequeath.kernel.units import show_seconds
from bequeath.methods.catalog import family_of
from bequeath.train.budget import Deadline
from bequeath.train.processes import join


def run_job(
    job: Job, *, fresh: bool = False, jobs: Jobs = "auto", on: str = "local", quiet: bool = False
) -> Path:
    """Do everything a job asks and return its output folder.

    fresh: throw away what an earlier run of this folder left. jobs: runs at a time, each with its
    share of the cores; `auto` decides by the job and the machine. on: `local`, processes on this
    machine; `ray`, and `ray:auto`, `ray:HOST:PORT` or `ray://HOST:PORT` for a cluster that is
    there. JobError when a gate fails, RunError when a run does; what was complete by then is kept.
    """
    processes = join(job.train.device)
    if job.train.threads is not None:
        torch.set_num_threads(job.train.threads)
    with processes.together():
        check_place(on, jobs)
        opened = check_deep(job, processes)
        planned = plan(opened)
        if processes.main:
            console = Console(stderr=True, quiet=quiet, markup=False)
            _lead(opened, planned, console, fresh=fresh, jobs=jobs, on=on)
        else:
            _follow(opened, planned)
    return job.out


def _lead(
    opened: Opened, planned: list[Planned], console: Console, *, fresh: bool, jobs: Jobs, on: str
) -> None:
    """What the process does that writes and speaks: the only one, or the first of several."""
    job = opened.job
    for note in [*opened.notes, *_several(opened)]:
        console.print(note, style="dim", highlight=False)
    folders = [(p.folder(job.out), p.key) for p in planned]
    with located(job), writing(job.out), claim(job.out, folders, fresh=fresh):
        write_text(job.out / "job.yaml", without_passwords(job.to_yaml()))
        _measure_references(opened)
        _run_all(opened, planned, jobs, on, console)
        opened.processes.task(None)
        tell_saved(job.out, planned, console)
        clean(job.out)
        report = _write_reports(job.out)
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
    shared = "" if train.shard == "off" else f"; train.shard: {train.shard}"
    return [f"{world} processes: {world * each} samples a step, {each} of each{shared}"]


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


def _measure_references(opened: Opened) -> None:
    for role in references(opened.job):
        folder = opened.job.out / "references" / role
        if missing_or_other(folder, reference_key(opened, role)):
            measure_reference(opened, role)


def _run_all(opened: Opened, planned: list[Planned], jobs: Jobs, on: str, console: Console) -> None:
    job = opened.job
    waiting = [p for p in planned if missing_or_other(p.folder(job.out), p.key)]
    done = itertools.count(len(planned) - len(waiting) + 1)
    if len(waiting) < len(planned):
        there = len(planned) - len(waiting)
        console.print(f"{there} of {len(planned)} runs were complete already", style="dim")
    if not waiting:
        return
    deadline = Deadline(job.budget.time)
    ask_teacher(opened, waiting, deadline, console)

    def say(text: str) -> None:
        console.print(text, style="dim", highlight=False)

    def tell(unit: Unit) -> None:
        if unit.together:
            for line in told(job.out, unit, insisted=job.train.batch_seeds == "on"):
                say(line)
            return
        for name in unit.runs:
            record = load_record(job.out / "runs" / name.label / f"seed-{name.seed}")
            first = record.metrics.get(job.evaluate.metrics[0])
            found = f"{job.evaluate.metrics[0]} {first.value:.4f} in" if first else "done in"
            text = f"[{next(done)}/{len(planned)}] {name}: {found} "
            console.print(text + show_seconds(record.cost.wall_s), highlight=False)

    show = None if not console.quiet else False
    with pool_for(opened, planned, len(waiting), jobs=jobs, on=on, show=show, say=say) as pool:
        groups = groups_of(opened, waiting, pool.width)
        units = units_of(waiting, family_of(job.want).first, groups)
        drive(units, pool, deadline, done=tell, say=say)


def _answer(out: Path) -> str:
    return str(json.loads((out / "report.json").read_text(encoding="utf-8"))["sentence"])
