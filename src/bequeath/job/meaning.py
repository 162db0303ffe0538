"""The second gate, as far as it goes without loading anything: does what is given fit the job?"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from bequeath.given.access import ANY, Labels, Needs
from bequeath.job import words
from bequeath.job.job import Arm, Job
from bequeath.kernel.codes import CODES
from bequeath.kernel.errors import JobError, Problem
from bequeath.methods import catalog

if TYPE_CHECKING:
    from bequeath.given.facts import DataFacts, ModelFacts


def meaning_problems(job: Job) -> list[Problem]:
    """Every contradiction that references, headers and the methods' needs show, located."""
    problems = [
        *missing(job),
        *_unused(job),
        *judge_problems(job),
        *static_problems(job),
        *_out(job),
    ]
    if not problems:
        problems = misfits(job)
    return job.located(problems)


def misfits(job: Job) -> list[Problem]:
    """What the facts known without opening anything contradict."""
    models = {role: handle.facts for role, handle in job.models.items()}
    data = {role: handle.facts for role, handle in job.data.items()}
    if found := [*answer_problems(job, models), *class_problems(job, models, data)]:
        return found
    own = catalog.family_of(job.want).problems
    each = [job.for_seed(seed) for seed in job.seeds] if job.varying else [job]
    return [problem for one in each for problem in own(one)] if own is not None else []


def speaks(job: Job, kind: str | None) -> bool:
    """Whether data of this kind need no labels: language models find them in the text itself."""
    return kind == "text" and any(one.facts.per_token for one in job.models.values())


def answer_problems(job: Job, models: Mapping[str, ModelFacts]) -> Iterable[Problem]:
    """G490 where a method is for classifiers and a model is a language model, and so on."""
    for arm in job.arms:
        read = [role for role, need in arm.needs.models.items() if not need.files]
        known = {role: models[role] for role in read if role in models and models[role].kind}
        wanted = arm.needs.answers
        fit = ("samples", "tokens") if wanted == "both" else (wanted,)
        odd = [role for role, one in known.items() if _answers(one) not in fit]
        if odd:
            kinds = {
                "tokens": "language models",
                "samples": "models that answer once a sample",
                "both": "classifiers and language models",
                "noise": "diffusion models",
            }
            names = " and ".join(f"`models.{role}`" for role in odd)
            verb = "does" if len(odd) == 1 else "do"
            message = f"`{arm.label}` is for {kinds[wanted]}, and {names} {verb} not answer so"
            remedies = ("leave it out with `baselines: false`",) if arm.added else ()
            yield Problem("G490", message, ("models", odd[0]), "", remedies)


def _answers(facts: ModelFacts) -> str:
    if facts.generates:
        return "noise"
    return "tokens" if facts.per_token else "samples"


def missing(job: Job) -> Iterable[Problem]:
    """G401 for every role that an arm requires and the job has not."""
    given = _given(job)
    lacking: dict[tuple[str, str], list[Arm]] = {}
    for arm in job.arms:
        for section, role in _required(arm.needs):
            if role not in given[section]:
                lacking.setdefault((section, role), []).append(arm)
    for (section, role), arms in lacking.items():
        names = ", ".join(f"`{arm.label}`" for arm in arms)
        verb = "needs" if len(arms) == 1 else "need"
        noun = {"models": "model", "data": "data set", "graphs": "graph"}[section]
        if role == ANY:
            least = max(_named(arm.needs, section)[ANY].at_least for arm in arms)
            there = section in job.document.plain
            message = f"{names} {verb} at least {least} {noun}s, under names of your own"
            yield Problem("G401", message, (section,) if there else ("method",))
            continue
        used = {role for arm in job.arms for role in _named(arm.needs, section)}
        spare = [name for name in given[section] if name not in used]
        meant = words.near(role, spare)
        label = f"rename `{meant}` to `{role}`?" if meant else f"add `{role}:` here"
        at = (section, meant) if meant else (section,)
        if section not in job.document.plain:
            at, label = ("method",), f"add `{section}: {{{role}: ...}}`"
        yield Problem("G401", f"{names} {verb} a {noun} `{role}`", at, label)


def _required(need: Needs) -> Iterable[tuple[str, str]]:
    yield from (("models", role) for role, one in need.models.items() if not one.optional)
    yield from (("data", role) for role, one in need.data.items() if not one.optional)
    yield from (("graphs", role) for role in need.graphs)


def _named(need: Needs, section: str) -> Any:
    return {"models": need.models, "data": need.data, "graphs": need.graphs}[section]


def _given(job: Job) -> dict[str, Mapping[str, Any]]:
    return {"models": job.model_refs, "data": job.data_refs, "graphs": job.graph_refs}


def _unused(job: Job) -> Iterable[Problem]:
    asked = [arm.needs for arm in job.arms if not arm.added]
    family = catalog.family_of(job.want)
    spared: dict[str, set[str | None]] = {"models": {family.reference, *family.judges}}
    if family.judge != "none":
        spared["data"] = {job.evaluate.data, *family.judges}
    given = _given(job)
    if family.judge == "required" and not job.judged:
        given = {**given, "data": {}}  # one of the unused was probably meant
    for section, roles in given.items():
        used = {role for need in asked for role in _named(need, section)}
        for role in roles:
            if role not in used and role not in spared.get(section, ()):
                takes = ", ".join(sorted(used)) or "none"
                yield Problem(
                    "G402",
                    f"nothing in this job uses `{section}.{role}`",
                    (section, role),
                    f"the methods use these {section}: {takes}",
                    ("remove it, or give it the name the method asks for",),
                )


def judge_problems(job: Job) -> Iterable[Problem]:
    """G403 without a data set that judges, G406 where it is trained on."""
    role = job.evaluate.data
    judge = job.data_refs.get(role)
    written = job.document.plain.get("evaluate")
    written = isinstance(written, dict) and "data" in written
    needed = {"required": True, "optional": written, "none": False}
    if judge is None and not needed[catalog.family_of(job.want).judge]:
        return
    if judge is None:
        at = ("evaluate", "data") if written else ("data",)
        label = words.one_of(role, job.data_refs)
        remedy = f"add `{role}:` under `data:`, or name another with `evaluate: {{data: ...}}`"
        yield Problem("G403", f"there is no data set `{role}` to judge by", at, label, (remedy,))
        return
    # labels seen in training are what must not judge; unlabelled test data may be adapted to
    labelled = {
        n for arm in job.arms for n, one in arm.needs.data.items() if one.labels > Labels.NONE
    }
    for name in sorted(labelled & job.data_refs.keys()):
        other = job.data_refs[name]
        if (other.ref, other.options) == (judge.ref, judge.options):
            yield Problem(
                "G406",
                f"`data.{role}` judges the result, and the methods train on "
                + ("it" if name == role else f"the same data as `data.{name}`"),
                ("data", role),
                "what was trained on cannot judge",
                ("give another file, or another part with ?split=test",),
            )


def static_problems(job: Job) -> Iterable[Problem]:
    """What listings and headers of the models, data and graphs show to be wrong."""
    more = [one for seed in job.seeds[1:] if job.varying for one in _other_seed(job, seed)]
    handles: list[tuple[str, str, Any]] = [
        *(("models", r, one) for r, one in (*job.models.items(), *more) if not job.only_files(r)),
        *(("data", role, handle) for role, handle in job.data.items()),
        *(("graphs", role, handle) for role, handle in job.graphs.items()),
    ]
    for section, role, handle in handles:
        try:
            found = handle.static_problems()
        except JobError as error:
            found = error.problems
        for problem in found:
            whole = problem.at[:1] == (section,)
            yield problem if whole else problem.under(section, role)


def _other_seed(job: Job, seed: int) -> Iterable[tuple[str, Any]]:
    """role -> handle of the models that vary, for one of the later seeds."""
    models = job.for_seed(seed).models
    return [(role, models[role]) for role in job.varying]


def _out(job: Job) -> Iterable[Problem]:
    out = job.out
    if "\0" in str(out):  # `is_dir` calls such a path one that is not there
        yield Problem("R501", f"`{out}` cannot be a folder", ("out",), "a null character")
        return
    for folder in (out, *out.parents):
        try:
            if folder.is_dir():
                if not os.access(folder, os.W_OK):
                    label = "choose another folder"
                    yield Problem("R501", f"cannot write into `{folder}`", ("out",), label)
                return
            if folder.exists() or folder.is_symlink():
                label = "a file is in the way"
                yield Problem("R501", f"`{folder}` is not a folder", ("out",), label)
                return
        except OSError as error:
            yield Problem("R501", f"`{out}` cannot be a folder: {error.strerror}", ("out",))
            return


def class_problems(
    job: Job, models: Mapping[str, ModelFacts], data: Mapping[str, DataFacts]
) -> list[Problem]:
    """Where what is known of the classes disagrees, for methods that want them the same.

    models, data: facts by role. What is not known (None) disagrees with nothing.
    """
    wanted = [arm.needs for arm in job.arms if arm.needs.same_classes]
    if not wanted:
        return []
    # training data first: of two that differ, it is the other that is blamed
    sets = {role for need in wanted for role in need.data} - {job.evaluate.data}
    known_models = {
        role: models[role]
        for need in wanted
        for role in need.models
        if role in models and not models[role].per_token
    }
    known = {role: data[role] for role in (*sorted(sets), job.evaluate.data) if role in data}
    counts = {("data", role): facts.n_classes for role, facts in known.items()}
    counts |= {("models", role): facts.n_classes for role, facts in known_models.items()}
    if problems := _agree("G404", "the numbers of classes differ", counts):
        return problems
    # without labels a name stands for nothing, and may be a mere number
    labelled = {role: facts for role, facts in known.items() if facts.labelled is not False}
    names = {("data", role): facts.classes for role, facts in labelled.items()}
    if problems := _agree("G405", "the data sets have different classes", names):
        return problems
    if problems := list(_order(known_models, next(filter(None, names.values()), None))):
        return problems
    kinds = {("data", role): facts.kind for role, facts in known.items()}
    return _agree("G407", "the data sets are of different kinds", kinds)


def _order(models: Mapping[str, ModelFacts], names: tuple[str, ...] | None) -> Iterable[Problem]:
    """Models whose outputs have names of the data's classes at other places.

    Names that only one side knows say nothing: data may number what a model names.
    """
    for role, facts in models.items():
        have = facts.classes or ()
        moved = [name for name in have if names and _elsewhere(name, have, names)]
        if names is None or not moved:
            continue
        theirs = f"models.{role}: {_brief(have)}"
        remedies: tuple[str, ...] = ()
        if set(have) == set(names):
            remedies = (f"number them alike: `classes: [{', '.join(have)}]` with each data set",)
        label = f"`{moved[0]}` is its class {have.index(moved[0])}, and {names.index(moved[0])} "
        yield Problem(
            "G411",
            f"`models.{role}` has the classes of the data in another order",
            ("models", role),
            label + "of the data",
            remedies,
            (f"data: {_brief(names)}", theirs),
        )


def _elsewhere(name: str, one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return name in other and one.index(name) != other.index(name)


def _agree(code: str, message: str, facts: Mapping[tuple[str, str], Any]) -> list[Problem]:
    known = {at: fact for at, fact in facts.items() if fact is not None}
    if len(set(known.values())) < 2:
        return []
    most = max(known.values(), key=lambda fact: list(known.values()).count(fact))
    odd = next(at for at, fact in known.items() if fact != most)
    notes = tuple(f"{'.'.join(at)}: {_brief(fact)}" for at, fact in known.items())
    fix = (CODES[code].fix,)
    return [Problem(code, message, odd, f"this has {_brief(known[odd])}", fix, notes)]


def _brief(fact: Any) -> str:
    if isinstance(fact, tuple):
        shown = ", ".join(map(str, fact[:8]))
        return f"{len(fact)} classes: {shown}" + (", ..." if len(fact) > 8 else "")
    return f"{fact} classes" if isinstance(fact, int) else str(fact)
