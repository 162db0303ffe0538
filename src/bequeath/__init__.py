"""bequeath moves knowledge between models, and proves what came of it.

import bequeath
job = bequeath.load_job("job.yaml", ["train.epochs=3"])
folder = bequeath.run(job)
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from bequeath.evidence.judge import Judgement
    from bequeath.given.models import load_model
    from bequeath.job.api import load_job
    from bequeath.job.job import Job
    from bequeath.kernel.errors import (
        AccessDenied,
        BequeathError,
        JobError,
        Place,
        Problem,
        RunError,
    )

__version__ = "0.1.0"
__all__ = [
    "AccessDenied",
    "BequeathError",
    "Job",
    "JobError",
    "Place",
    "Problem",
    "RunError",
    "__version__",
    "check",
    "load_job",
    "load_model",
    "reproduce",
    "run",
]

# name -> the module that holds it, imported when asked for: `import bequeath` costs nothing
_HOMES = {
    "Job": "bequeath.job.job",
    "load_job": "bequeath.job.api",
    "load_model": "bequeath.given.models",
}
_HOMES |= dict.fromkeys(
    ("AccessDenied", "BequeathError", "JobError", "Place", "Problem", "RunError"),
    "bequeath.kernel.errors",
)


def run(
    job: Job | str | Path | Mapping[str, Any],
    *,
    fresh: bool = False,
    jobs: int | Literal["auto"] = "auto",
    on: str = "local",
    quiet: bool = False,
    allow_code: bool = False,
) -> Path:
    """Do a job (or the one in a file or dict) and return its output folder.

    What an earlier run of the same job left is used, unless `fresh`. jobs: runs at a time.
    on: `local`, or a Ray cluster (`ray`, `ray:auto`, `ray:HOST:PORT`, `ray://HOST:PORT`).
    Raises JobError before anything heavy, RunError after.
    """
    from bequeath.fleet import run_job

    loaded = _loaded(job, allow_code)
    return run_job(loaded, fresh=fresh, jobs=jobs, on=on, quiet=quiet)


def check(
    job: Job | str | Path | Mapping[str, Any], *, deep: bool = False, allow_code: bool = False
) -> Job:
    """The job, if nothing is wrong with it; JobError with every problem otherwise.

    deep: also open the models and the data, which takes torch and seconds.
    """
    loaded = _loaded(job, allow_code)
    if deep:
        from bequeath.fleet import check_deep

        check_deep(loaded)
    return loaded


def reproduce(
    name: str,
    *,
    scale: str = "smoke",
    out: str | Path | None = None,
    jobs: int | Literal["auto"] = "auto",
    on: str = "local",
) -> Judgement:
    """Run the published claim `name` at a scale (smoke, small, paper) and judge it.

    jobs, on: as for `run`.
    """
    from bequeath.fleet import reproduce as reproduce_claim

    return reproduce_claim(name, scale, out, jobs=jobs, on=on)


def _loaded(job: Job | str | Path | Mapping[str, Any], allow_code: bool) -> Job:
    if isinstance(job, str | Path | Mapping):
        from bequeath.job.api import load_job

        return load_job(job, allow_code=allow_code)
    return job


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module `bequeath` has no attribute `{name}`")


def __dir__() -> list[str]:
    return sorted(__all__)
