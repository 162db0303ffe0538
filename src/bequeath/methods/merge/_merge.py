"""What the merge methods share: their settings as users write them, the recipe, the run.

The rules are in `weights/rules`, where each setting has its bounds, default and source.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, WithJsonSchema, field_validator

from bequeath.given.access import ANY, Access, ModelNeed, Needs
from bequeath.given.facts import missing
from bequeath.kernel.errors import JobError, Problem
from bequeath.methods.contract import MethodConfig, Outcome
from bequeath.weights.parameters import wrong
from bequeath.weights.recipe import Model, Recipe
from bequeath.weights.rule import Rule, Spec

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context

BASE = "base"
AVERAGE = Needs(
    models={
        ANY: ModelNeed(Access.WEIGHTS, files=True, at_least=2),
        BASE: ModelNeed(Access.WEIGHTS, files=True, optional=True),
    }
)
FROM_A_BASE = Needs(
    models={
        ANY: ModelNeed(Access.WEIGHTS, files=True),
        BASE: ModelNeed(Access.WEIGHTS, files=True),
    }
)
_ONE = {"anyOf": [{"type": "number"}, {"type": "array"}, {"type": "object"}]}
Number = Annotated[Any, WithJsonSchema(_ONE)]  # a number, a gradient, filters, or roles' own


class MergeConfig(MethodConfig):
    """Settings of every merge. A number may be said in more detail.

    `0.5`; `[0, 1]`, a gradient over the depth; `{filter: mlp, value: 0.5}` or a list of those, for
    tensors whose names contain a text. Where a setting is each model's own, also `{role: 0.5}`.
    """

    dtype: Literal["float32", "float16", "bfloat16", "float64"] | None = Field(
        None,
        description="type of the result (default: the base's, else the first model's)",
        json_schema_extra={"source": "mergekit's `out_dtype`"},
    )
    tokenizer: str | None = Field(
        None,
        description="role of the model whose tokenizer goes along (default: the base's, else the "
        "first's)",
        json_schema_extra={"source": "mergekit's `tokenizer_source`"},
    )
    compute: Literal["float32", "float64"] = Field(
        "float32",
        description="type of the computation",
        json_schema_extra={"source": "half precision loses most of a small difference"},
    )

    rules: ClassVar[tuple[Rule, ...]] = ()

    @property
    def rule(self) -> Rule:
        """The rule that these settings mean."""
        return self.rules[0]

    @field_validator("*")
    @classmethod
    def _as_the_rule_has_it(cls, value: Any, info: ValidationInfo) -> Any:
        specs = [s for rule in cls.rules for s in rule.specs.values()]
        for spec in specs if value is not None else ():
            if spec.attribute == info.field_name:
                for one in _by_role(spec, value).values():
                    for problem in wrong(spec, one, ()):
                        raise ValueError(f"{problem.message}; {problem.label}".strip("; "))
        return value


class ElectingConfig(MergeConfig):
    """Of a method whose second rule elects signs before it sums."""

    elect: Literal["mass", "count"] | None = Field(
        None,
        description="elect a sign for each element first, counted so (null: sum them all)",
        json_schema_extra={"source": "the paper has none; mergekit's method without `_ties`"},
    )

    @property
    def rule(self) -> Rule:
        return self.rules[0 if self.elect is None else 1]


def of(rule: Rule, name: str) -> Any:
    """The pydantic field of a rule's setting: its default, bounds, description and source."""
    spec = rule.specs[name]
    return Field(
        spec.default,
        alias=name if spec.attribute != name else None,
        description=spec.description + ("; may be each model's own" if spec.per_model else ""),
        json_schema_extra={"source": spec.source},
    )


def recipe_of(
    cfg: MergeConfig, models: Mapping[str, str], base: str | None, seed: int = 0
) -> Recipe:
    """The recipe of a method's settings. models: role -> path, in order, without the base."""
    rule = cfg.rule
    own: dict[str, dict[str, Any]] = {role: {} for role in models}
    common: dict[str, Any] = {}
    for spec in rule.specs.values():
        for role, value in _by_role(spec, getattr(cfg, spec.attribute)).items():
            (common if role == ANY else own.setdefault(role, {}))[spec.name] = value
    paths = {**models, **({BASE: base} if base else {})}
    return Recipe(
        rule=rule.name,
        models=tuple(Model(path, own[role]) for role, path in models.items()),
        base=base if rule.base == "delta" else None,
        parameters=common,
        dtype=cfg.dtype,
        compute=cfg.compute,
        tokenizer=paths[cfg.tokenizer] if cfg.tokenizer else None,
        seed=seed,
    )


def merge_models(ctx: Context, given: Given, cfg: MergeConfig) -> Outcome:
    """Merge what was given, part by part, into a folder of the run."""
    import shutil

    from bequeath.weights.merge import merge

    roles = [role for role in given.roles["models"] if role != BASE]
    base = str(given.model(BASE).path) if given.has_model(BASE) else None
    recipe = recipe_of(cfg, {r: str(given.model(r).path) for r in roles}, base, ctx.seed)
    folder = ctx.store / "merged"
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was stopped
    done = merge(recipe, folder)
    notes = {
        "merged": roles,
        "tensors": done.tensors,
        "bytes": done.nbytes,
        "merge_seconds": round(done.seconds, 3),
        **({"carried": list(done.carried)} if done.carried else {}),
        **({"remarks": list(done.notes)} if done.notes else {}),
    }
    return Outcome(folder=folder, notes=notes)


def problems(job: Any) -> Iterator[Problem]:
    """Every reason why the models of a job cannot be merged as its arms ask, from the headers.

    Said once, at the model or setting it is about.
    """
    from bequeath.weights.merge import plan

    seen: set[Any] = set()
    for arm in job.arms:
        if arm.added and len(job.arms) > 1 and seen:
            continue  # what is wrong for the others would only be said again
        roles = [role for role in arm.needs.models if role in job.models]
        paths = {role: job.models[role].path for role in roles}
        found = list(_named(arm, paths)) or list(_lost(job, paths))
        if not found:
            known = {role: str(path) for role, path in paths.items()}
            try:
                plan(recipe_of(arm.config, _merged(known), known.get(BASE)))
            except JobError as error:
                merged = list(_merged(known))
                found = [_placed(one, arm, merged) for one in error.problems]
        for one in found:
            if (one.message, one.at) not in seen:
                seen.add((one.message, one.at))
                yield one


def _merged(paths: Mapping[str, Any]) -> dict[str, Any]:
    return {role: path for role, path in paths.items() if role != BASE}


def _named(arm: Any, paths: Mapping[str, Path | None]) -> Iterable[Problem]:
    """Roles that a setting names and the job has not."""
    at = arm.at
    for spec in arm.config.rule.specs.values():
        for role in _by_role(spec, getattr(arm.config, spec.attribute)):
            if role != ANY and role not in _merged(paths):
                label = f"merged are: {', '.join(_merged(paths))}"
                message = f"`{spec.name}` of `{arm.label}` names a model `{role}`"
                yield Problem("W822", message, (*at, spec.name, role), label)
    if arm.config.tokenizer is not None and arm.config.tokenizer not in paths:
        label = f"there are: {', '.join(paths)}"
        yield Problem("W822", "`tokenizer` names no model of the job", (*at, "tokenizer"), label)


def _lost(job: Any, paths: Mapping[str, Path | None]) -> Iterable[Problem]:
    for role, path in paths.items():
        ref = job.model_refs[role].ref
        if path is None and ref.startswith("file:"):
            there = ref.removeprefix("file:")
            yield missing(f"`{there}` is not there", Path(there), ("models", role, "ref"))
        elif path is None:
            label = "a local file or folder of safetensors"
            message = f"the weights of `{role}` are not on this machine, or are drawn anew"
            yield Problem("W803", message, ("models", role, "ref"), label)


def _placed(problem: Problem, arm: Any, merged: list[str]) -> Problem:
    """A problem of a recipe at its place in the job."""
    at = problem.at
    if at[:1] == ("models",) and len(at) > 1:
        role = merged[int(at[1])]
        if at[2:3] == ("parameters",):
            return replace(problem, at=(*arm.at, *at[3:4], role, *at[4:]))
        return replace(problem, at=("models", role, "ref"))
    if at[:1] == ("base",):
        return replace(problem, at=("models", BASE, "ref"))
    if at[:1] == ("parameters",):
        return replace(problem, at=(*arm.at, *at[1:]))
    return replace(problem, at=arm.at)


def _by_role(spec: Spec, value: Any) -> dict[str, Any]:
    """A setting by role; `*` where it is the same for all."""
    mapping = isinstance(value, Mapping)
    if spec.per_model and mapping and not {"filter", "value"} & value.keys():
        return dict(value)
    return {ANY: value}
