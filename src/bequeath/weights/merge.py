"""Merge models on disk: check everything, write the result whole or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bequeath.kernel.errors import JobError, Problem, Problems
from bequeath.kernel.files import whole_folder, write_json, write_whole
from bequeath.kernel.safetensors_header import TensorFact
from bequeath.weights import layout
from bequeath.weights.carry import carry
from bequeath.weights.checks import (
    FLOATS,
    layer_problem,
    model_problems,
    place_problems,
    recipe_problems,
    type_notes,
    weights_problem,
)
from bequeath.weights.header import INDEX, Checkpoint, open_checkpoint
from bequeath.weights.parameters import resolve
from bequeath.weights.recipe import DTYPES, Recipe
from bequeath.weights.rule import Rule
from bequeath.weights.rules import RULES


@dataclass(frozen=True)
class Planned:
    """A recipe whose models were found to fit. facts: the result's tensors."""

    recipe: Recipe
    rule: Rule
    models: tuple[Checkpoint, ...]
    base: Checkpoint | None
    tokenizer: Checkpoint
    settings: Mapping[str, object]
    facts: Mapping[str, TensorFact]
    notes: tuple[str, ...]

    @property
    def reference(self) -> Checkpoint:
        """The model whose configuration, names and copied tensors the result has."""
        return self.base or self.models[0]

    @property
    def inputs(self) -> tuple[Checkpoint, ...]:
        return (self.base, *self.models) if self.base else self.models

    @property
    def nbytes(self) -> int:
        return sum(layout.nbytes(fact) for fact in self.facts.values())


@dataclass(frozen=True)
class Merged:
    """What was written. carried: names of files copied along. seconds: wall time."""

    path: Path
    files: tuple[Path, ...]
    nbytes: int
    tensors: int
    carried: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float


def plan(recipe: Recipe) -> Planned:
    """Open the models' headers and check all that can be known from them. Torch is not imported.

    JobError with every problem found (M3xx, W8xx).
    """
    if recipe.rule not in RULES:
        raise JobError(_no_such_rule(recipe.rule))
    rule = RULES[recipe.rule]
    problems = Problems(recipe_problems(rule, recipe))
    opened: dict[str, Checkpoint] = {}
    places = [(("models", i, "path"), model.path) for i, model in enumerate(recipe.models)]
    for at, path in [(("base",), recipe.base), *places, (("tokenizer",), recipe.tokenizer)]:
        if path is None or path in opened:
            continue
        try:
            opened[path] = open_checkpoint(path, at=at)
        except JobError as error:
            problems.extend(error.problems)
    problems.raise_if_any()
    models = [opened[model.path] for model in recipe.models]
    base = opened[recipe.base] if recipe.base and rule.base == "delta" else None
    if rule.base == "first" and recipe.base == recipe.models[1].path:
        models.reverse()
    reference = base or models[0]
    others = models if base else models[1:]
    named = {
        opened[path].path: where for where, path in [(("base",), recipe.base), *places] if path
    }
    problems.extend(model_problems(reference, others, named))
    if problem := layer_problem(reference, recipe.layers, ("slices",)):
        problems.found.append(problem)
    problems.raise_if_any()
    settings = resolve(rule, recipe, list(reference.slots))
    if problem := weights_problem(rule, settings):
        raise JobError(problem)
    wanted = DTYPES[recipe.dtype] if recipe.dtype else None
    return Planned(
        recipe=recipe,
        rule=rule,
        models=tuple(models),
        base=base,
        tokenizer=opened[recipe.tokenizer] if recipe.tokenizer else reference,
        settings=settings,
        facts={
            name: TensorFact(slot.shape, wanted if wanted and slot.dtype in FLOATS else slot.dtype)
            for name, slot in reference.slots.items()
        },
        notes=(*recipe.notes, *type_notes(reference, others)),
    )


def merge(
    recipe: Recipe | Planned,
    out: Path | str,
    *,
    max_shard: int | None = None,
    chunk: int | None = None,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Merged:
    """Write the merged model to `out`: one file where it ends in `.safetensors`, else a folder.

    A folder holds the weights (in shards of at most `max_shard` bytes), their index, and the
    configuration and tokenizer that belong to them. `out` must not exist, or be an empty folder.
    chunk, threads, progress: see `stream.stream`.

    JobError before anything is written; RunError (W850, W851, W852) after, with nothing left.
    """
    began = time.monotonic()
    planned = plan(recipe) if isinstance(recipe, Recipe) else recipe
    out = Path(out)
    if problems := place_problems(out, planned.nbytes, planned.inputs):
        raise JobError(problems)
    options = {"threads": threads, "progress": progress} | ({"chunk": chunk} if chunk else {})
    carried: list[str] = []
    if out.suffix == ".safetensors":

        def write(part: Path) -> None:
            _stream(planned, [layout.one_file(part.name, planned.facts)], part.parent, options)

        write_whole(out, write)
        files = [out]
    else:
        made = layout.files(planned.facts, max_shard)
        with whole_folder(out) as folder:
            _stream(planned, made, folder, options)
            if len(made) > 1:
                write_json(folder / INDEX, layout.index(made, planned.facts))
            carried = carry(planned.reference, planned.tokenizer, folder, planned.recipe.dtype)
        files = [out / each.name for each in made]
    _flush_folder(out.parent)
    return Merged(
        path=out,
        files=tuple(files),
        nbytes=planned.nbytes,
        tensors=len(planned.facts),
        carried=tuple(carried),
        notes=planned.notes,
        seconds=time.monotonic() - began,
    )


def _stream(
    planned: Planned, outputs: list[layout.OutputFile], folder: Path, options: dict
) -> None:
    from bequeath.weights.stream import Job, stream

    job = Job(
        rule=planned.rule,
        models=planned.models,
        base=planned.base,
        settings=planned.settings,
        dtypes={name: fact.dtype for name, fact in planned.facts.items()},
        compute=DTYPES[planned.recipe.compute],
        seed=planned.recipe.seed,
    )
    stream(job, outputs, folder, **options)


def _flush_folder(folder: Path) -> None:
    """A rename is on the disk when its folder is."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _no_such_rule(name: str) -> Problem:
    import difflib

    near = difflib.get_close_matches(name, RULES, n=1)
    return Problem(
        "W821",
        f"there is no merge rule `{name}`",
        at=("rule",),
        label=f"did you mean `{near[0]}`?" if near else "",
        remedies=("there are " + ", ".join(f"`{each}`" for each in RULES),),
    )
