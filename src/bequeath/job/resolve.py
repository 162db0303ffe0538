"""The first gate: from what the user wrote to a typed job, or every mistake in it at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from bequeath.given.graph_options import GRAPH_OPTIONS
from bequeath.given.options import DATA_OPTIONS, MODEL_OPTIONS, parse_ref
from bequeath.job import words
from bequeath.job.arms import resolve_arms
from bequeath.job.checks import Basket, check, unknown_key
from bequeath.job.document import Document
from bequeath.job.job import Arm, Job, Reference
from bequeath.job.sections import Evaluate, Top
from bequeath.job.variables import filled
from bequeath.kernel.errors import JobError
from bequeath.methods.family import Settings, families, family_of
from bequeath.train.config import Budget, Train

NOUNS = {
    "models": ("model", "zoo:resnet8"),
    "data": ("data set", "npz:photos.npz"),
    "graphs": ("graph", "kg:FOLDER"),
}
ROLE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,59}")
SECTIONS: dict[str, type[BaseModel]] = {"evaluate": Evaluate, "budget": Budget, "train": Train}


def resolve(document: Document, *, allow_code: bool = False, whole: bool = True) -> Job:
    """The typed job. JobError with every problem of types and keys.

    allow_code: `py:` references and `./file.py:name` methods may run the user's code. whole: False
    for what somebody owns and does not yet know what to do with: `want` may be missing (then it is
    empty), and `method`, `protocol` and metrics are left out.
    """
    document = filled(document)
    basket = Basket(document, list(document.problems))
    data = document.plain
    if not isinstance(data, dict):
        message = "the job is empty" if data is None else "a job is a mapping of keys to values"
        basket.add("J104" if data is None else "J102", message, remedies=("bequeath demo",))
        basket.found = [p.located(document.root.place) for p in basket.found]
        raise JobError(basket.found)
    for key in data:
        if key not in Top.model_fields:
            basket.extend([_at_key(document, unknown_key(key, Top, "the job", (key,)))])
    values = _sections(basket, data)
    want = _want(basket, data) if whole or "want" in data else None
    models = _references(basket, data, "models", MODEL_OPTIONS, allow_code)
    sets = _references(basket, data, "data", DATA_OPTIONS, allow_code)
    graphs = _references(basket, data, "graphs", GRAPH_OPTIONS, allow_code)
    evaluate = values["evaluate"]
    protocol = None
    arms: list[Arm] = []
    if whole:
        if want is not None:
            evaluate = _judged_by(basket, want, evaluate)
            protocol = _protocol(basket, want, data.get("protocol"))
        arms = resolve_arms(basket, want, data.get("method"), values["baselines"], allow_code)
    if basket.found:
        raise JobError(_in_order(basket))
    return Job(
        want=want or "",
        arms=tuple(with_needs(arm, str(want), models, sets, evaluate.data) for arm in arms),
        model_refs=models,
        data_refs=sets,
        graph_refs=graphs,
        evaluate=evaluate,
        protocol=protocol,
        seeds=values["seeds"] or tuple(range(family_of(want).seeds if want else 1)),
        budget=values["budget"],
        train=values["train"],
        out=Path(values["out"] or f"runs/{Path(document.name).stem or 'job'}"),
        baselines=values["baselines"],
        document=document,
        allow_code=allow_code,
    )


def _sections(basket: Basket, data: Mapping[str, Any]) -> dict[str, Any]:
    """The parts that do not depend on the family; a default stands in for what is wrong."""
    values: dict[str, Any] = {}
    for key, model in SECTIONS.items():
        written = {} if data.get(key) is None else data[key]
        if not isinstance(written, dict):
            label = f"its keys: {', '.join(words.settings(model))}"
            basket.add("J102", f"`{key}` is a mapping", (key,), label=label)
            written = {}
        values[key] = check(basket, model, written, (key,), f"`{key}`") or model()
    for key in ("seeds", "out", "baselines", "extends", "vars"):
        info = Top.model_fields[key]
        values[key] = info.get_default()
        if data.get(key) is None:
            continue
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(_annotated(key))
            values[key] = adapter.validate_python(data[key], strict=key != "seeds")
        except ValidationError as error:
            basket.add("J102", f"wrong value for `{key}`", (key,), label=_said(error, key))
    return values


def _annotated(key: str) -> Any:
    info = Top.model_fields[key]
    return Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation


def _said(error: ValidationError, key: str) -> str:
    first = error.errors(include_url=False)[0]
    if first["type"] == "value_error":
        return str(first["msg"]).removeprefix("Value error, ")
    return f"expected {words.allowed(Top, key)}"


def _want(basket: Basket, data: Mapping[str, Any]) -> str | None:
    want = data.get("want")
    if want is None:
        label = f"one of: {', '.join(families())}"
        at = ("want",) if "want" in data else ()
        basket.add("J104", "the job does not say what you `want`", at, label=label)
        if not at:
            basket.found[-1] = basket.found[-1].located(basket.document.root.place)
        return None
    if not isinstance(want, str) or want not in families():
        label = words.one_of(str(want), families())
        basket.add("J102", f"`want` cannot be `{words.shown(want)}`", ("want",), label=label)
        return None
    return want


def _judged_by(basket: Basket, want: str, evaluate: Evaluate) -> Evaluate:
    """With the family's own metric where none is named. J102 for one the family does not know."""
    known = family_of(want).metrics
    for i, name in enumerate(evaluate.metrics):
        at = ("evaluate", "metrics", i)
        if name not in known:
            message = f"`want: {want}` has no metric `{words.shown(name)}`"
            basket.add("J102", message, at, label=words.one_of(name, known))
        elif name in evaluate.metrics[:i]:
            basket.add("J102", f"the metric `{name}` is named twice", at)
    if evaluate.metrics:
        return evaluate
    return evaluate.model_copy(update={"metrics": tuple(known)[:1]})


def _protocol(basket: Basket, want: str, written: Any) -> Settings | None:
    """`protocol:`, typed by the family."""
    model = family_of(want).protocol
    if model is None:
        if written is not None:
            basket.add("J103", f"`want: {want}` takes no `protocol`", ("protocol",), key=True)
        return None
    if written is not None and not isinstance(written, dict):
        label = f"its keys: {', '.join(words.settings(model))}"
        basket.add("J102", "`protocol` is a mapping", ("protocol",), label=label)
        return None
    return check(basket, model, written or {}, ("protocol",), f"`protocol` of `want: {want}`")


def with_needs(
    arm: Arm, want: str, models: Mapping[str, Any], data: Mapping[str, Any], judge: str
) -> Arm:
    """The arm with its needs in this job. What judges is never a role that `*` stands for."""
    judges = family_of(want).judges
    needs = arm.method.needs_for(arm.config).over(
        [role for role in models if role not in judges],
        [role for role in data if role not in (judge, *judges)],
    )
    return replace(arm, needs=needs)


def _references(
    basket: Basket,
    data: Mapping[str, Any],
    section: str,
    schemes: Mapping[str, type[BaseModel]],
    allow_code: bool,
) -> dict[str, Reference]:
    """`models:`, `data:` or `graphs:`: role -> reference."""
    written = data.get(section)
    if written is None:
        return {}
    if not isinstance(written, dict):
        label = "role: reference, one a line"
        basket.add("J102", f"`{section}` is a mapping", (section,), label=label)
        return {}
    found = {}
    for role, value in written.items():
        if not ROLE.fullmatch(role):
            label = "a letter, then letters, digits, `_` or `-`"
            at = (section, role)
            basket.add("J111", f"`{role}` cannot be a name", at, key=True, label=label)
        elif (one := _reference(basket, (section, role), value, schemes, allow_code)) is not None:
            found[role] = one
    return found


def _reference(
    basket: Basket,
    at: tuple[str, str],
    value: Any,
    schemes: Mapping[str, type[BaseModel]],
    allow_code: bool,
) -> Reference | None:
    noun, example = NOUNS[at[0]]
    here = f"{noun} `{at[1]}`"
    if isinstance(value, str):
        value = {"ref": value}
    if not isinstance(value, dict) or not isinstance(value.get("ref"), str):
        label = f"a reference, e.g. {example}, or a mapping with `ref:` and its settings"
        code = "J104" if isinstance(value, dict) and "ref" not in value else "J102"
        place = (*at, "ref") if isinstance(value, dict) and "ref" in value else at
        basket.add(code, f"{here} has no reference", place, label=label)
        return None
    where = (*at, "ref")
    try:
        ref = parse_ref(value["ref"])
    except ValueError as error:
        label = f"schemes: {', '.join(schemes)}"
        basket.add("J112", str(error), where, label=label)
        return None
    if ref.scheme not in schemes:
        label = words.one_of(ref.scheme, [f"{name}:" for name in schemes])
        basket.add("J112", f"no {noun} comes from `{ref.scheme}:`", where, label=label)
        return None
    options = {key: one for key, one in value.items() if key != "ref"}
    for key in options.keys() & ref.query.keys():
        label = f"the reference says `{key}={ref.query[key]}`"
        basket.add("J113", f"`{key}` of {here} is said twice", (*at, key), key=True, label=label)
    _refuse_code(basket, at, {"ref": f"{ref.scheme}:", **ref.query, **options}, allow_code)
    model = schemes[ref.scheme]
    typed = check(basket, model, options, at, f"{here} (`{ref.scheme}:`)", ref.query)
    if typed is None:
        return None
    bare = str(replace(ref, query={}))
    return Reference(bare, typed, options, tuple(ref.query))


def _refuse_code(
    basket: Basket, at: tuple[str, str], values: Mapping[str, Any], allow_code: bool
) -> None:
    if allow_code:
        return
    for key, value in values.items():
        if isinstance(value, str) and value.startswith("py:"):
            basket.add(
                "J110",
                "this job wants to run code of its own",
                (*at, key),
                label="`py:` runs a Python file or module",
                remedies=("read that code, then allow it with --allow-code",),
            )


def _at_key(document: Document, problem: Any) -> Any:
    return problem.located(document.place(problem.at, key=True))


def _in_order(basket: Basket) -> list[Any]:
    """By file and line: one reads them down the page."""
    name = basket.document.name

    def order(problem: Any) -> tuple[Any, ...]:
        place = problem.place
        if place is None:
            return (2, "", 0, 0)
        return (place.file != name, place.file, place.line, place.column)

    return sorted(basket.found, key=order)
