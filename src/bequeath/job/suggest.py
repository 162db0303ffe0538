"""`bequeath suggest JOB`: from what somebody owns, what can be done with it. Loads nothing.

A job without a method is held against every method's needs. What fits is told with the work it
means; of the rest, what each lacks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bequeath.given.access import ANY, Labels
from bequeath.job.document import Document, from_plain
from bequeath.job.job import Arm, Job
from bequeath.job.load import load_document, override
from bequeath.job.meaning import judge_problems, misfits, missing, speaks, static_problems
from bequeath.job.resolve import resolve, with_needs
from bequeath.kernel.errors import JobError
from bequeath.kernel.units import show_seconds, show_size
from bequeath.methods.catalog import all_methods, family_of
from bequeath.methods.contract import Method

SIDE, MEASURE_SECONDS = 512, 0.1


@dataclass(frozen=True)
class Suggestion:
    """One method for what is owned. lacks: what stands in its way, empty where it applies.

    cost: the work of one run in words; None where it does not apply. unused: what it would leave
    aside, as `models.teacher`.
    """

    method: Method
    lacks: tuple[str, ...] = ()
    cost: str | None = None
    unused: tuple[str, ...] = ()

    @property
    def applies(self) -> bool:
        return not self.lacks


def suggest(
    source: str | Path | dict[str, Any], overrides: Iterable[str] = (), *, allow_code: bool = False
) -> list[Suggestion]:
    """Every method of the family the job wants (of all, if it says none).

    Those that apply come first, of these those that use most of what is owned; then those that
    lack least.

    JobError for what is wrong whatever the method: types, missing files, broken headers.
    """
    if isinstance(source, dict):
        document = override(Document(from_plain(source), "job"), list(overrides))
    else:
        document = load_document(source, list(overrides))
    owned = resolve(document, allow_code=allow_code, whole=False)
    methods = [m for m in all_methods().values() if owned.want in ("", m.want)]
    if broken := list(static_problems(owned)):
        jobs = [_job(owned, method) for method in methods]
        streamed = {role for job in jobs for role in job.model_refs if job.only_files(role)}
        broken = [p for p in broken if p.at[:1] != ("models",) or p.at[1] not in streamed]
        if broken:
            raise JobError(owned.located(broken))
    found = [_held_against(owned, method) for method in methods]
    return sorted(found, key=lambda one: (len(one.lacks), len(one.unused)))


def _job(owned: Job, method: Method) -> Job:
    arm = Arm(method.name, method, method.Config())
    arm = with_needs(arm, method.want, owned.model_refs, owned.data_refs, owned.evaluate.data)
    metrics = tuple(family_of(method.want).metrics)[:1]
    evaluate = owned.evaluate.model_copy(update={"metrics": metrics})
    return owned.but(want=method.want, arms=(arm,), evaluate=evaluate)


def _held_against(owned: Job, method: Method) -> Suggestion:
    job = _job(owned, method)
    lacks = [problem.message for problem in (*missing(job), *judge_problems(job))]
    lacks += _unlabelled(job) if not lacks else []
    if not lacks:
        lacks = [problem.message for problem in misfits(job)]
    plain = [text.removeprefix(f"`{method.name}` needs ") for text in dict.fromkeys(lacks)]
    return Suggestion(method, tuple(plain), None if plain else _cost(job), tuple(_unused(job)))


def _unused(job: Job) -> Iterator[str]:
    family, needs = family_of(job.want), job.arms[0].needs
    used: dict[str, set[str | None]] = {
        "models": {*needs.models, *family.judges, family.reference},
        "data": {*needs.data, *([] if family.judge == "none" else [job.evaluate.data])},
        "graphs": {*needs.graphs},
    }
    for section, refs in (
        ("models", job.model_refs),
        ("data", job.data_refs),
        ("graphs", job.graph_refs),
    ):
        yield from (f"{section}.{role}" for role in refs if role not in used[section])


def _unlabelled(job: Job) -> list[str]:
    wanted = {r for r, need in job.arms[0].needs.data.items() if need.labels > Labels.NONE}
    if job.judged and family_of(job.want).judge_labelled:
        wanted.add(job.evaluate.data)
    known = {role: handle.facts for role, handle in job.data.items()}
    return [
        f"labels of data set `{role}`"
        for role in sorted(wanted & known.keys())
        if known[role].labelled is False and not speaks(job, known[role].kind)
    ]


def _cost(job: Job) -> str:
    """What one run means here, as far as headers and listings tell."""
    needs = job.arms[0].needs
    if any(need.files for need in needs.models.values()):
        return _streaming(job, [role for role in needs.models if role != ANY])
    trained = [role for role, need in needs.models.items() if need.trains and role in job.models]
    data = next((role for role in needs.data if role in job.data), None)
    n = job.data[data].facts.n if data is not None else None
    if not trained:
        return "no training" + (f"; {n:,} samples" if n is not None else "")
    train = job.train
    if train.steps is not None:
        steps: int | None = train.steps
    else:
        batch = train.batch_size * train.accumulate
        steps = train.epochs * math.ceil(n / batch) if n is not None else None
    if steps is None:
        passes = f"{train.epochs} epoch{'' if train.epochs == 1 else 's'}"
        return f"{passes} over `{data}`, whose size is known once it is opened"
    words = f"{steps:,} steps of {train.batch_size * train.accumulate}"
    sizes = [job.models[role].facts.parameters for role in trained]
    if all(sizes):
        work = 6.0 * sum(filter(None, sizes)) * steps * train.batch_size * train.accumulate
        words += f", at least {show_seconds(work / _speed())} here"
    return words


def _streaming(job: Job, roles: list[str]) -> str:
    paths = [p for role in roles if role in job.models and (p := job.models[role].path) is not None]
    files = [f for path in paths for f in (path.iterdir() if path.is_dir() else [path])]
    size = sum(f.stat().st_size for f in files if f.suffix == ".safetensors")
    return f"reads {show_size(size)} once or a few times; no training"


@cache
def _speed() -> float:
    """Operations a second of a matrix product here, measured once: no training is faster."""
    import numpy as np

    a = np.ones((SIDE, SIDE), dtype=np.float32)
    best, until = math.inf, time.perf_counter() + MEASURE_SECONDS
    while time.perf_counter() < until:
        start = time.perf_counter()
        np.matmul(a, a)
        best = min(best, time.perf_counter() - start)
    return 2.0 * SIDE**3 / best
