"""`bequeath reproduce NAME`: run a published claim at a scale and judge what came of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

from rich.console import Console

from bequeath.evidence.claims import Scale, find_claim, scale_jobs
from bequeath.evidence.compare import compare
from bequeath.evidence.judge import Judgement, judge
from bequeath.evidence.record import find_runs, load_records
from bequeath.evidence.verdicts import save_judgement
from bequeath.fleet.executors import check_place, cluster
from bequeath.fleet.folder import alone, writing
from bequeath.fleet.sweep import run_job
from bequeath.fleet.width import Jobs
from bequeath.job.api import load_job
from bequeath.job.job import Job
from bequeath.kernel.errors import JobError, Problem

DATA = "BEQUEATH_DATA"


def reproduce(
    name: str,
    scale: str = "smoke",
    out: str | Path | None = None,
    *,
    claims: Path | None = None,
    evidence: Path | None = None,
    jobs: Jobs = "auto",
    on: str = "local",
    quiet: bool = False,
) -> Judgement:
    """Run the claim `name` at `smoke`, `small` or `paper` and store its judgement.

    The real data of the larger scales are looked for in the folder BEQUEATH_DATA names. out: where
    the runs go (default runs/claims/ID-SCALE; a stopped one goes on). evidence: where the judgement
    goes (default: evidence/ of the checkout, else `out`). jobs, on: as for `run_job`.
    JobError J153 to J156, R510 where another process works there; RunError R522.
    """
    home = claims or claims_folder()
    claim = find_claim(name, home)
    given = os.environ.get(DATA)
    data = Path(given).expanduser().absolute() if given else None
    folder = Path(out) if out is not None else Path("runs") / "claims" / f"{claim.id}-{scale}"
    made: dict[str, Path] = {}
    check_place(on, jobs)
    with cluster(on):
        for part in scale_jobs(claim, scale, data)[0]:
            job = load_job(
                scale_jobs(claim, scale, data, made)[0][part], [f"out={folder}-{part}"], name=part
            )
            made[part] = _prepare(job, jobs, on, quiet)
        job = load_job(scale_jobs(claim, scale, data, made)[1], [f"out={folder}"], name=claim.id)
        run_job(job, jobs=jobs, on=on, quiet=quiet)
    with alone(folder):
        records = load_records(find_runs(folder))
        found = compare(folder, claim.primary, claim.margin, claim.baseline)
    judgement = judge(claim, found, records, cast(Scale, scale))
    there = evidence or home.parent / "evidence"
    with writing(there):
        kept = save_judgement(judgement, there)
    console = Console(quiet=quiet)
    console.print(judgement.sentence, highlight=False)
    console.print(f"kept in {kept}", highlight=False)
    return judgement


def _prepare(job: Job, jobs: Jobs, on: str, quiet: bool) -> Path:
    """Run a job of one arm; -> the folder of its runs, by seed."""
    return run_job(job, jobs=jobs, on=on, quiet=quiet) / "runs" / job.arms[0].label


def claims_folder() -> Path:
    """The claims of this checkout, or of the folder one works in. JobError J156 without any."""
    checkout = Path(__file__).resolve().parents[3] / "claims"
    for folder in (Path("claims"), checkout):
        if any(folder.glob("*.yaml")):
            return folder
    raise JobError(
        Problem(
            "J156",
            "there are no claims here",
            remedies=("run this in a checkout of bequeath, which has them in `claims/`",),
        )
    )
