"""`load_job`: from a file or a dict to a checked job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bequeath.job.document import Document, from_plain
from bequeath.job.job import Job
from bequeath.job.load import load_document, override
from bequeath.job.meaning import meaning_problems
from bequeath.job.resolve import resolve
from bequeath.kernel.errors import JobError, Problem


def load_job(
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    allow_code: bool = False,
    name: str = "job",
) -> Job:
    """A job from a YAML file, or from a dict of the same shape, typed and checked.

    overrides: like `--set`, e.g. ["train.epochs=3"]. name: what a dict is called in messages, and
    its output folder by default. Nothing is loaded; torch is not imported. Raises JobError with
    every problem of types, or, when the types are right, every problem of meaning.
    """
    if isinstance(source, Mapping):
        try:
            document = Document(from_plain(source), name)
        except ValueError as error:
            raise JobError(Problem("J102", str(error))) from None
        document = override(document, overrides)
    else:
        document = load_document(source, overrides)
    job = resolve(document, allow_code=allow_code)
    problems = meaning_problems(job)
    if problems:
        raise JobError(problems)
    return job
