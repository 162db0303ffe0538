"""Settings that differ by model, by tensor name and by depth.

A setting is one of

    0.5                                  the same everywhere
    [0, 0.5, 1]                          a gradient over the depth: interpolated from the first
                                         layer to the last
    {filter: mlp, value: ...}            for tensors whose name contains `mlp`
    [{filter: mlp, value: ...}, ...]     the first entry that matches; one without a filter, or
                                         with `*`, matches all

and its value for a tensor is taken from the first of these that has one:

    1. the model's own parameters (settings that are per model)
    2. the recipe's parameters
    3. the rule's default

The depth of a tensor goes from 0 at the first layer of its stack to 1 at the last. A layer is the
first part of the name that is a number (`model.layers.7.mlp.up_proj.weight`, `layer3.1.conv1`); a
stack is what comes before, stages that differ by a number at the end (`layer1`, `layer2`) counting
as one. Tensors outside any stack (embeddings, the head) have depth 0. All this is mergekit's.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bequeath.kernel.errors import JobPath, Problem, Problems
from bequeath.weights.recipe import Recipe
from bequeath.weights.rule import Rule, Spec

_NOTHING = object()


def resolve(rule: Rule, recipe: Recipe, names: Sequence[str]) -> dict[str, Any]:
    """The rule's `Settings` for each tensor name.

    JobError with all problems: W822 unknown or misplaced names, W823 values that cannot be,
    W824 filters that match no tensor.
    """
    problems = Problems()
    problems.extend(check(rule, recipe))
    problems.raise_if_any()
    problems.extend(_idle_filters(recipe, names))
    problems.raise_if_any()
    depth = depths(names)
    return {name: _settings(rule, recipe, name, depth[name]) for name in names}


def check(rule: Rule, recipe: Recipe) -> list[Problem]:
    """What can be seen to be wrong without knowing the tensors."""
    problems: list[Problem] = []
    specs = rule.specs
    for name, setting in recipe.parameters.items():
        at: JobPath = ("parameters", name)
        spec = specs.get(name)
        problems += [_unknown(rule, name, at)] if spec is None else wrong(spec, setting, at)
    for i, model in enumerate(recipe.models):
        for name, setting in model.parameters.items():
            at = ("models", i, "parameters", name)
            spec = specs.get(name)
            if spec is None:
                problems.append(_unknown(rule, name, at))
            elif not spec.per_model:
                problems.append(_misplaced(name, at))
            else:
                problems += wrong(spec, setting, at)
    return problems


def value(setting: Any, name: str, depth: float) -> Any:
    """A setting's value for a tensor, or None where no entry matches."""
    if isinstance(setting, Mapping):
        setting = [setting]
    if not isinstance(setting, list | tuple):
        return setting
    if all(isinstance(entry, Mapping) for entry in setting):
        for entry in setting:
            if _matches(entry.get("filter"), name):
                return value(entry["value"], name, depth)
        return None
    if not all(_is_number(entry) for entry in setting):
        return setting[int(depth * (len(setting) - 1))]
    place = depth * (len(setting) - 1)
    left = min(int(place), len(setting) - 1)
    right = min(left + 1, len(setting) - 1)
    share = place - left
    return (1 - share) * setting[left] + share * setting[right]


def depths(names: Iterable[str]) -> dict[str, float]:
    """Name -> depth in its stack, from 0 to 1. A stack of one layer has depth 1."""
    layers: dict[str, tuple[str, tuple[int, int]]] = {}
    found: dict[str, float] = {}
    for name in names:
        found[name] = 0.0
        parts = name.split(".")
        place = next((i for i, part in enumerate(parts) if part.isdigit()), None)
        if place:
            before = ".".join(parts[:place])
            stack = before.rstrip("0123456789")
            stage = int(before[len(stack) :] or 0)
            layers[name] = (stack, (stage, int(parts[place])))
    stacks: dict[str, set[tuple[int, int]]] = {}
    for stack, layer in layers.values():
        stacks.setdefault(stack, set()).add(layer)
    order = {stack: sorted(found) for stack, found in stacks.items()}
    for name, (stack, layer) in layers.items():
        last = len(order[stack]) - 1
        found[name] = order[stack].index(layer) / last if last else 1.0
    return found


def layers(names: Iterable[str]) -> int:
    """Number of layers of the largest stack."""
    stacks: dict[str, set[str]] = {}
    for name in names:
        if match := re.match(r"(.+?)\.(\d+)\.", name):
            stacks.setdefault(match[1], set()).add(match[2])
    return max((len(found) for found in stacks.values()), default=0)


def _settings(rule: Rule, recipe: Recipe, name: str, depth: float) -> Any:
    values: dict[str, Any] = {}
    for spec in rule.specs.values():
        common = _first([recipe.parameters.get(spec.name, _NOTHING)], name, depth, spec.default)
        if not spec.per_model:
            values[spec.attribute] = _as(spec, common)
            continue
        values[spec.attribute] = tuple(
            float(_first([model.parameters.get(spec.name, _NOTHING)], name, depth, common))
            for model in recipe.models
        )
    return rule.Settings(**values)


def _as(spec: Spec, found: Any) -> Any:
    return float(found) if spec.kind is float else found


def _first(settings: Iterable[Any], name: str, depth: float, otherwise: Any) -> Any:
    for setting in settings:
        if setting is not _NOTHING and (found := value(setting, name, depth)) is not None:
            return found
    return otherwise


def _matches(filter_: str | None, name: str) -> bool:
    return filter_ is None or filter_ == "*" or filter_ in name


def wrong(spec: Spec, setting: Any, at: JobPath) -> list[Problem]:
    """What is wrong with a setting, entry by entry."""
    if isinstance(setting, Mapping):
        return _wrong_entry(spec, setting, at)
    if isinstance(setting, list | tuple):
        if not setting:
            return [_value(spec, setting, "an empty list", at)]
        if any(isinstance(entry, Mapping) for entry in setting):
            return [
                problem
                for i, entry in enumerate(setting)
                for problem in (
                    _wrong_entry(spec, entry, (*at, i))
                    if isinstance(entry, Mapping)
                    else [_value(spec, entry, "a number among filters", (*at, i))]
                )
            ]
        return [p for i, entry in enumerate(setting) for p in _wrong_scalar(spec, entry, (*at, i))]
    return _wrong_scalar(spec, setting, at)


def _wrong_entry(spec: Spec, entry: Mapping[str, Any], at: JobPath) -> list[Problem]:
    strange = [key for key in entry if key not in ("filter", "value")]
    if strange:
        remedies = ("an entry has `value` and, if it is not for all tensors, `filter`",)
        message = f"unknown key `{strange[0]}` in an entry of `{spec.name}`"
        return [Problem("W822", message, at=(*at, strange[0]), remedies=remedies)]
    if "value" not in entry:
        return [Problem("W823", f"an entry of `{spec.name}` has no `value`", at=at)]
    if not isinstance(entry.get("filter", ""), str | None):
        return [Problem("W823", f"a filter of `{spec.name}` is text", at=(*at, "filter"))]
    inner = entry["value"]
    if isinstance(inner, Mapping) or (
        isinstance(inner, list) and any(isinstance(x, Mapping) for x in inner)
    ):
        return [Problem("W823", f"filters of `{spec.name}` within a filter", at=(*at, "value"))]
    return wrong(spec, inner, (*at, "value"))


def _wrong_scalar(spec: Spec, found: Any, at: JobPath) -> list[Problem]:
    if spec.kind is bool:
        return [] if isinstance(found, bool) else [_value(spec, found, "", at)]
    if spec.kind is str:
        return [] if found in spec.choices else [_value(spec, found, "", at)]
    if not _is_number(found) or not math.isfinite(found) or not spec.low <= found <= spec.high:
        return [_value(spec, found, "", at)]
    return []


def _value(spec: Spec, found: Any, what: str, at: JobPath) -> Problem:
    if spec.kind is bool:
        wanted = "`true` or `false`"
    elif spec.kind is str:
        wanted = " or ".join(f"`{choice}`" for choice in spec.choices)
    elif math.isfinite(spec.low) and math.isfinite(spec.high):
        wanted = f"a number from {spec.low:g} to {spec.high:g}"
    else:
        wanted = "a finite number"
    return Problem(
        "W823",
        f"`{spec.name}` cannot be {what or repr(found)}",
        at=at,
        label=f"expected {wanted}",
        notes=(f"{spec.name}: {spec.description}",),
    )


def _unknown(rule: Rule, name: str, at: JobPath) -> Problem:
    near = difflib.get_close_matches(name, rule.specs, n=1)
    known = ", ".join(f"`{each}`" for each in rule.specs)
    return Problem(
        "W822",
        f"unknown parameter `{name}` of `{rule.name}`",
        at=at,
        label=f"did you mean `{near[0]}`?" if near else "",
        remedies=(f"`{rule.name}` has {known}",),
    )


def _misplaced(name: str, at: JobPath) -> Problem:
    return Problem(
        "W822",
        f"`{name}` belongs to the whole merge, not to one model",
        at=at,
        remedies=("move it to the `parameters` of the recipe",),
    )


def _idle_filters(recipe: Recipe, names: Sequence[str]) -> list[Problem]:
    """A filter that matches no tensor does nothing, which nobody wants."""
    problems = []
    everywhere: list[tuple[JobPath, Mapping[str, Any]]] = [(("parameters",), recipe.parameters)]
    for i, model in enumerate(recipe.models):
        everywhere.append((("models", i, "parameters"), model.parameters))
    words = sorted({part for name in names for part in name.split(".") if not part.isdigit()})
    for at, parameters in everywhere:
        for key, setting in parameters.items():
            entries = setting if isinstance(setting, list | tuple) else [setting]
            for i, entry in enumerate(entries):
                wanted = entry.get("filter") if isinstance(entry, Mapping) else None
                if wanted is None or any(_matches(wanted, name) for name in names):
                    continue
                near = difflib.get_close_matches(wanted, words, n=1)
                place = (*at, key, i) if isinstance(setting, list | tuple) else (*at, key)
                problems.append(
                    Problem(
                        "W824",
                        f"filter `{wanted}` matches no tensor",
                        at=(*place, "filter"),
                        label=f"did you mean `{near[0]}`?" if near else "",
                        notes=(f"names look like `{names[0]}`",),
                    )
                )
    return problems


def _is_number(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool)
