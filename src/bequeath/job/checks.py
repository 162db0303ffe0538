"""Pydantic's errors as Problems: at the key or the value, in plain words, all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bequeath.job import words
from bequeath.job.document import Document
from bequeath.kernel.errors import JobPath, Place, Problem

Model = TypeVar("Model", bound=BaseModel)

# Pydantic turns `true` into 1 and "4" into 4; a job file that says so is mistaken.
UNLIKE = {"int_type", "float_type", "bool_type", "string_type"}


@dataclass
class Basket:
    """The problems of one document, each located when it is put in."""

    document: Document
    found: list[Problem] = field(default_factory=list)

    def add(
        self, code: str, message: str, at: JobPath = (), *, key: bool = False, **more: Any
    ) -> None:
        place = self.document.place(at, key=key) if at else None
        self.found.append(Problem(code, message, at=at, place=place, **more))

    def extend(self, problems: Iterable[Problem]) -> None:
        self.found += [self.document.locate(one) for one in problems]


def check(
    basket: Basket,
    model: type[Model],
    data: Mapping[str, Any],
    at: JobPath,
    where: str,
    query: Mapping[str, str] | None = None,
) -> Model | None:
    """`data` as a `model`; None when it is not one, and then the basket says why.

    where: the mapping in words, for messages: "method `kd`". query: settings that came as text
    inside a reference; they are typed like the others.
    """
    query = query or {}
    merged = {**query, **data}
    errors: list[Any] = []
    value: Model | None = None
    try:
        value = model.model_validate(merged)
    except ValidationError as refused:
        errors = list(refused.errors(include_url=False))
    errors += _unlike(model, data)
    reported: set[tuple[str | int, ...]] = set()
    for error in errors:
        loc = _in_data(error, merged)
        if loc not in reported:
            reported.add(loc)
            basket.found.append(_problem(basket, error, model, merged, loc, at, where, query))
    return None if errors else value


def _unlike(model: type[BaseModel], data: Mapping[str, Any]) -> list[Any]:
    """What only a lenient reading would let through."""
    try:
        model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        return [e for e in error.errors(include_url=False) if e["type"] in UNLIKE]
    except (ValueError, TypeError):  # beyond JSON; the lenient reading has its say
        return []
    return []


def _in_data(error: Any, data: Mapping[str, Any]) -> tuple[str | int, ...]:
    """The error's place without pydantic's own steps (union branches, functions)."""
    loc: list[str | int] = []
    value: Any = data
    steps = list(error["loc"])
    for i, part in enumerate(steps):
        last = i == len(steps) - 1
        if isinstance(value, Mapping) and (part in value or (last and error["type"] == "missing")):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            break
        loc.append(part)
    return tuple(loc)


def _problem(
    basket: Basket,
    error: Any,
    model: type[BaseModel],
    data: Mapping[str, Any],
    loc: tuple[str | int, ...],
    at: JobPath,
    where: str,
    query: Mapping[str, str],
) -> Problem:
    owner, depth = model, 0
    for part in loc[:-1]:
        deeper = words.below(owner, part)
        if deeper is None:
            break
        owner, depth = deeper, depth + 1
    place_of = f"`{'.'.join(map(str, (*at, *loc[:depth])))}`" if depth else where
    here = (*at, *loc)
    key = str(loc[depth]) if len(loc) > depth else ""
    if error["type"] == "extra_forbidden":
        problem = unknown_key(key, owner, place_of, here)
        return _place(basket, problem, here, loc, query, key=True)
    if error["type"] == "missing" and error["loc"][-1] == key:
        label = f"add `{key}:` ({words.allowed(owner, key)})"
        problem = Problem("J104", f"{place_of} lacks `{key}`", here, label)
        return _place(basket, problem, here, loc, query, key=True)
    label = _expected(error, owner, key, data, loc)
    problem = Problem("J102", f"wrong value for `{key}` in {place_of}", here, label)
    if not key:
        problem = replace(problem, message=f"{where} is not as it should be", at=at)
    return _place(basket, problem, here, loc, query, key=False)


def unknown_key(key: str, owner: type[BaseModel], where: str, at: JobPath) -> Problem:
    """J103 with what was probably meant."""
    known = words.settings(owner)
    remedies: tuple[str, ...] = ()
    if (meant := words.near(key, known)) is not None:
        label = f"did you mean `{meant}`? ({words.allowed(owner, meant)})"
    else:
        label = f"there are: {', '.join(known)}" if known else "it takes no settings"
        if (deeper := words.elsewhere(owner, key)) is not None:
            remedies = (f"`{key}` belongs below: `{deeper}`",)
    if key == "<<":
        remedies = ("YAML 1.2 has no merge keys; use `extends:` for what jobs share",)
    return Problem("J103", f"unknown key `{key}` in {where}", at, label, remedies)


def _expected(
    error: Any, owner: type[BaseModel], key: str, data: Any, loc: tuple[str | int, ...]
) -> str:
    value: Any = data
    for part in loc:
        value = value[part] if not isinstance(value, Mapping) else value.get(part)
    if error["type"] in ("value_error", "assertion_error"):
        text = str(error["msg"]).partition(", ")[2] or str(error["msg"])
        return text[:1].lower() + text[1:]
    if key not in words.settings(owner):
        return str(error["msg"])
    takes = words.allowed(owner, key)
    choices = words.settings(owner)[key].get("enum")
    if choices and isinstance(value, str) and (meant := words.near(value, map(str, choices))):
        return f"did you mean `{meant}`? ({takes})"
    if isinstance(value, str) and value.lower() in ("yes", "no", "on", "off") and "true" in takes:
        return f"expected {takes}; in YAML 1.2 `{value}` is a text"
    return f"expected {takes}; this is {_sort(value)}"


def _sort(value: Any) -> str:
    if isinstance(value, Mapping | list):
        return "a mapping" if isinstance(value, Mapping) else "a list"
    if value is None or isinstance(value, bool):
        return words.shown(value)
    if isinstance(value, str):
        return f"the text `{words.shown(value)}`" if value else "an empty text"
    return words.shown(value)


def _place(
    basket: Basket,
    problem: Problem,
    at: JobPath,
    loc: tuple[str | int, ...],
    query: Mapping[str, str],
    *,
    key: bool,
) -> Problem:
    document = basket.document
    if loc and loc[0] in query:
        base = at[: len(at) - len(loc)]
        fragment = str(loc[0]) if key else f"{loc[0]}={query[str(loc[0])]}"
        return problem.located(_within(document.place((*base, "ref")), fragment))
    if problem.code == "J104":
        return problem.located(document.place(at[:-1], key=True))
    return problem.located(document.place(at, key=key))


def _within(place: Place | None, fragment: str) -> Place | None:
    """The part of a value's place that holds `fragment`, when it can be found there."""
    if place is None:
        return None
    start = place.text.find(fragment, place.column - 1)
    if start < 0:
        return place
    return replace(place, column=start + 1, length=len(fragment))
