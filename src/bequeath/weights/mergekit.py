"""Read a mergekit file: a mapping in, a `Recipe` out.

Of mergekit 0.1.5 these are understood: `merge_method` linear, slerp, task_arithmetic, ties,
dare_linear, dare_ties, breadcrumbs and breadcrumbs_ties; `models`, or `slices` that say the same;
`base_model`, `parameters` with gradients and filters, `dtype`, `out_dtype`, `tokenizer_source`.
Everything else is refused by name; mergekit ignores unknown keys.

The result is mergekit's up to rounding, with these differences:

- sums are in float32 whatever `dtype` says (mergekit computes task vectors in `dtype`, or in the
  models' type); with `dtype: float32` both do the same;
- random masks (dare) are other masks, of the same density; they are scaled as mergekit does, to
  the same L1 norm, unless `rescale: false`;
- without `dtype` and `out_dtype` a tensor has the type of the base (the first model), not the
  widest of all;
- slerp of a tensor that is zero in one model goes along the straight line.

`density` and `weight` default to what they are in mergekit (1; `weight` has to be given), not to
the papers' values that the rules have by themselves.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bequeath.kernel.errors import JobPath, Problem, Problems
from bequeath.weights.checks import recipe_problems
from bequeath.weights.parameters import check
from bequeath.weights.recipe import DTYPES, Model, Recipe
from bequeath.weights.rules import RULES

_SUPPORTED = (
    "merge_method",
    "models",
    "slices",
    "base_model",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
)
_REFUSED = {
    "modules": "models of several parts are not supported",
    "tokenizer": "bequeath does not build tokenizers; `tokenizer_source: base` copies the base's",
    "chat_template": "put the template into the result's tokenizer_config.json yourself",
}
_WITHOUT_EFFECT = {"int8_mask": "it saves mergekit memory; here it is not needed"}
_DELTA = ("task_arithmetic", "ties", "dare_linear", "dare_ties", "breadcrumbs", "breadcrumbs_ties")
_RESCALED = ("dare_linear", "dare_ties")
_REQUIRED = {"linear": "weight", "slerp": "t", **dict.fromkeys(_DELTA, "weight")}


def read_mergekit(file: Mapping[str, Any]) -> Recipe:
    """The recipe of a mergekit file, already parsed from YAML.

    JobError with all problems: W821 methods that are not there, W822 and W823 parameters, W830
    wrong keys, W831 what is not supported. `at` is the path in the file.
    """
    problems = Problems(_top_level(file))
    method = str(file.get("merge_method", ""))
    if "merge_method" in file and method not in RULES:
        problems.extend([_no_method(method)])
    sources, common, layers = _sources(file, problems)
    problems.raise_if_any()
    base = file.get("base_model")
    models = tuple(source for source in sources if method not in _DELTA or source.path != base)
    recipe = Recipe(
        rule=method,
        models=tuple(_cleaned(m, problems, ("models", i)) for i, m in enumerate(models)),
        base=None if method == "linear" else base,
        parameters=_parameters(method, common, problems),
        dtype=_dtype(file),
        compute="float64" if file.get("dtype") == "float64" else "float32",
        tokenizer=_tokenizer(file, base, sources, problems),
        layers=layers,
        notes=_notes(method, common, file),
    )
    problems.extend(recipe_problems(RULES[method], recipe))
    problems.extend(_missing(recipe, common))
    problems.extend(check(RULES[method], recipe))
    problems.raise_if_any()
    return recipe


def _top_level(file: Mapping[str, Any]) -> list[Problem]:
    problems = []
    known = (*_SUPPORTED, *_REFUSED)
    inner = {name for rule in RULES.values() for name in rule.specs} | set(_WITHOUT_EFFECT)
    for key in file:
        if key in _REFUSED:
            problems.append(
                Problem("W831", f"`{key}` is not supported", at=(key,), remedies=(_REFUSED[key],))
            )
        elif key in inner:
            remedies = ("move it under `parameters`",)
            message = f"`{key}` has no effect at the top of the file"
            problems.append(Problem("W830", message, at=(key,), remedies=remedies))
        elif key not in known:
            problems.append(_unknown(str(key), known, (key,)))
    if "merge_method" not in file:
        problems.append(Problem("W830", "`merge_method` is missing"))
    if ("models" in file) == ("slices" in file):
        problems.append(Problem("W830", "the file needs `models`, or `slices`"))
    for key in ("dtype", "out_dtype"):
        if (found := file.get(key)) is not None and str(found) not in DTYPES:
            expected = " or ".join(f"`{each}`" for each in DTYPES)
            problems.append(
                Problem(
                    "W823", f"`{key}` cannot be {found!r}", at=(key,), label=f"expected {expected}"
                )
            )
    if not isinstance(file.get("base_model", ""), str | None):
        problems.append(Problem("W830", "`base_model` is the path of a model", at=("base_model",)))
    return problems


def _sources(
    file: Mapping[str, Any], problems: Problems
) -> tuple[list[Model], dict[str, Any], int | None]:
    """The models with their parameters, the parameters for all, and the number of layers."""
    common = dict(_mapping(file.get("parameters"), ("parameters",), problems))
    if "models" in file:
        return _models(file["models"], ("models",), ("model", "parameters"), problems), common, None
    slices = file.get("slices") or []
    if not isinstance(slices, Sequence) or len(slices) != 1 or not isinstance(slices[0], Mapping):
        remedies = ("merge whole models with `models`",)
        message = "slices that put layers together anew are not supported"
        problems.add("W831", message, at=("slices",), remedies=remedies)
        return [], common, None
    only: Mapping[str, Any] = slices[0]
    at: JobPath = ("slices", 0)
    for key in only:
        if key == "residual_weight":
            problems.add("W831", f"`{key}` is not supported", at=(*at, key))
        elif key not in ("sources", "parameters"):
            problems.extend([_unknown(str(key), ("sources", "parameters"), (*at, key))])
    # What stands in a slice goes before what stands in the file.
    common |= _mapping(only.get("parameters"), (*at, "parameters"), problems)
    keys = ("model", "layer_range", "parameters")
    sources = _models(only.get("sources"), (*at, "sources"), keys, problems)
    return sources, common, _layers(only.get("sources"), (*at, "sources"), problems)


def _models(found: Any, at: JobPath, keys: tuple[str, ...], problems: Problems) -> list[Model]:
    if not isinstance(found, Sequence) or isinstance(found, str) or not found:
        problems.add("W830", f"`{at[-1]}` is a list of models", at=at)
        return []
    models = []
    for i, entry in enumerate(found):
        here = (*at, i)
        if not isinstance(entry, Mapping) or not isinstance(entry.get("model"), str):
            problems.add("W830", "an entry has `model`, the path of a model", at=here)
            continue
        for key in entry:
            if key not in keys:
                inner = any(key in rule.specs for rule in RULES.values())
                remedies = ("move it under `parameters`",) if inner else ()
                problems.extend(
                    [replace(_unknown(str(key), keys, (*here, key)), remedies=remedies)]
                )
        if "+" in entry["model"]:
            remedies = ("merge the adapter into its model first, with PEFT's merge_and_unload()",)
            message = f"`{entry['model']}` names a model and an adapter, which is not supported"
            problems.add("W831", message, at=(*here, "model"), remedies=remedies)
        own = _mapping(entry.get("parameters"), (*here, "parameters"), problems)
        models.append(Model(entry["model"], dict(own)))
    return models


def _layers(sources: Any, at: JobPath, problems: Problems) -> int | None:
    """The end of the layer range, which is the same for all and begins at 0."""
    entries = sources if isinstance(sources, Sequence) else ()
    ranges = [s.get("layer_range") for s in entries if isinstance(s, Mapping)]
    good = [
        r
        for r in ranges
        if isinstance(r, Sequence) and len(r) == 2 and all(isinstance(x, int) for x in r)
    ]
    if len(good) != len(ranges) or not good:
        problems.add("W830", "a source has `layer_range`, first and last + 1", at=at)
        return None
    if any(list(r) != [0, good[0][1]] for r in good):
        remedies = ("give the same range from 0 to the number of layers for all",)
        message = "layer ranges that are not the whole model are not supported"
        problems.add("W831", message, at=at, remedies=remedies)
        return None
    return good[0][1]


def _cleaned(model: Model, problems: Problems, at: JobPath) -> Model:
    """A model's parameters without those that have no effect here."""
    own = {key: v for key, v in model.parameters.items() if key not in _WITHOUT_EFFECT}
    return replace(model, parameters=own)


def _parameters(method: str, common: dict[str, Any], problems: Problems) -> dict[str, Any]:
    """In our words, with mergekit's defaults where they differ from the papers'."""
    found = {key: value for key, value in common.items() if key not in _WITHOUT_EFFECT}
    specs = RULES[method].specs
    if "rescale" in specs:
        wanted = found.pop("rescale", method in _RESCALED)
        if not isinstance(wanted, bool):
            message = f"`rescale` cannot be {wanted!r}"
            at = ("parameters", "rescale")
            problems.add("W823", message, at=at, label="expected `true` or `false`")
        found["rescale"] = "norm" if wanted else "none"
    if "density" in specs:
        found.setdefault("density", 1.0)
    if "elect" in found:  # ours, and not mergekit's
        problems.add("W822", "mergekit has no parameter `elect`", at=("parameters", "elect"))
    return found


def _missing(recipe: Recipe, common: Mapping[str, Any]) -> list[Problem]:
    name = _REQUIRED[recipe.rule]
    if name in common:
        return []
    if not RULES[recipe.rule].specs[name].per_model:
        return [Problem("W830", f"`{recipe.rule}` needs `parameters: {{{name}: ...}}`")]
    return [
        Problem("W830", f"`{name}` of `{model.path}` is missing", at=("models", i))
        for i, model in enumerate(recipe.models)
        if name not in model.parameters
    ]


def _tokenizer(
    file: Mapping[str, Any], base: str | None, sources: list[Model], problems: Problems
) -> str | None:
    wanted = file.get("tokenizer_source")
    if wanted in (None, "base"):
        return base if wanted else None
    at = ("tokenizer_source",)
    if wanted == "union":
        remedies = ("`tokenizer_source: base`, for models of one vocabulary",)
        message = "a union of vocabularies is not supported"
        problems.add("W831", message, at=at, remedies=remedies)
    elif wanted not in (base, *(source.path for source in sources)):
        problems.add("W831", f"`{wanted}` is none of the models that are merged", at=at)
    return str(wanted)


def _dtype(file: Mapping[str, Any]) -> str | None:
    return file.get("out_dtype") or file.get("dtype")


def _notes(method: str, common: Mapping[str, Any], file: Mapping[str, Any]) -> tuple[str, ...]:
    notes = [
        f"`{key}` has no effect: {why}" for key, why in _WITHOUT_EFFECT.items() if key in common
    ]
    if file.get("dtype") in ("bfloat16", "float16"):
        notes.append("sums are in float32; `dtype` is the type of the result")
    if method in _RESCALED:
        notes.append("the random masks are bequeath's, not those mergekit would have drawn")
    return tuple(notes)


def _mapping(found: Any, at: JobPath, problems: Problems) -> Mapping[str, Any]:
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        problems.add("W830", f"`{at[-1]}` is a mapping of names to values", at=at)
        return {}
    return found


def _unknown(key: str, known: Sequence[str], at: JobPath) -> Problem:
    near = difflib.get_close_matches(key, known, n=1)
    label = f"did you mean `{near[0]}`?" if near else ""
    return Problem("W830", f"unknown key `{key}`", at=at, label=label)


def _no_method(name: str) -> Problem:
    near = difflib.get_close_matches(name, RULES, n=1)
    return Problem(
        "W821",
        f"mergekit's method `{name}` is not one of bequeath's",
        at=("merge_method",),
        label=f"did you mean `{near[0]}`?" if near else "",
        remedies=("there are " + ", ".join(f"`{each}`" for each in RULES),),
    )
