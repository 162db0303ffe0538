"""Files of other tools that say what a job says: mergekit's."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from bequeath.job.document import Document, from_plain
from bequeath.kernel.errors import JobError, Problem
from bequeath.weights.mergekit import read_mergekit
from bequeath.weights.recipe import Recipe
from bequeath.weights.rules import RULES

# Two of mergekit's methods are settings of one of ours.
ELECTING = {"dare_ties": "dare", "breadcrumbs_ties": "breadcrumbs"}
RENAMED = {"dare_linear": "dare", **ELECTING}


def translated(document: Document) -> Document:
    """A mergekit file as a job; every other document as it is.

    JobError, located in the file, for what mergekit means and bequeath does not do.
    """
    written = document.plain
    if not isinstance(written, dict) or "merge_method" not in written or "want" in written:
        return document
    try:
        recipe = read_mergekit(written)
    except JobError as error:
        raise JobError(_located(document, problem) for problem in error.problems) from None
    return replace(document, root=from_plain(_job(recipe)))


def _job(recipe: Recipe) -> dict[str, Any]:
    paths = [model.path for model in recipe.models]
    models = list(recipe.models)
    if recipe.rule == "slerp" and recipe.base == paths[1]:
        models.reverse()  # the base is t = 0, and ours is the first
    roles = _roles([model.path for model in models])
    named = dict(zip(roles, models, strict=True))
    method: dict[str, Any] = {"name": RENAMED.get(recipe.rule, recipe.rule)}
    if recipe.rule in ELECTING:
        method["elect"] = "mass"
    for name, spec in RULES[recipe.rule].specs.items():
        own = {role: m.parameters[name] for role, m in named.items() if name in m.parameters}
        common = recipe.parameters.get(name, spec.default)
        if own:
            method[name] = {role: own.get(role, common) for role in roles}
        elif name in recipe.parameters:
            method[name] = common
    if recipe.dtype is not None:
        method["dtype"] = recipe.dtype
    if recipe.compute != "float32":
        method["compute"] = recipe.compute
    known = {model.path: role for role, model in named.items()}
    given = {role: {"ref": f"file:{model.path}"} for role, model in named.items()}
    if RULES[recipe.rule].base == "delta":
        given = {"base": {"ref": f"file:{recipe.base}"}, **given}
        known[str(recipe.base)] = "base"
    if recipe.tokenizer is not None:
        method["tokenizer"] = known[recipe.tokenizer]
    return {"want": "merge", "method": method, "models": given, "baselines": False}


def _located(document: Document, problem: Problem) -> Problem:
    strange = problem.message.startswith("unknown ")  # the key is wrong, not its value
    return problem.located(document.place(problem.at, key=strange)) if problem.at else problem


def _roles(paths: list[str]) -> list[str]:
    """Names for models: their folders', as far as they are names, and each only once."""
    roles: list[str] = []
    for i, path in enumerate(paths):
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(path).stem).strip("-_")
        if not re.match(r"[A-Za-z]", name) or name in (*roles, "base"):
            name = f"model-{i}" if not name else f"m{i}-{name}"
        roles.append(name[:60])
    return roles
