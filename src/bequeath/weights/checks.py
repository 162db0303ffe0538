"""Can these models be merged? Answered from headers, before anything is read or written."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bequeath.kernel.errors import JobPath, Problem
from bequeath.kernel.units import show_size
from bequeath.weights.header import Checkpoint, some
from bequeath.weights.parameters import layers
from bequeath.weights.recipe import DTYPES, Recipe
from bequeath.weights.rule import Rule

FLOATS = ("F64", "F32", "F16", "BF16")
_COPIED = ("BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64")
_ADAPTER = re.compile(r"\.lora_[AB]\b|\.lora_(down|up)\b|\.hada_w")
_PREFIXES = ("model.", "module.", "_orig_mod.", "base_model.model.", "transformer.", "encoder.")


def recipe_problems(rule: Rule, recipe: Recipe) -> list[Problem]:
    """The number of models, the base, the types: what the recipe alone can be wrong in."""
    problems = []
    least, most = rule.models
    n = len(recipe.models)
    if n < least or (most is not None and n > most):
        wanted = f"{least}" if least == most else f"{least} or more"
        problems.append(
            Problem("W820", f"`{rule.name}` merges {wanted} models, not {n}", at=("models",))
        )
    if rule.base == "delta" and recipe.base is None:
        remedies = ("name the model that the others were fine-tuned from as the base",)
        problems.append(
            Problem("W820", f"`{rule.name}` needs a base", at=("base",), remedies=remedies)
        )
    if rule.base == "first" and recipe.base not in (None, *(m.path for m in recipe.models)):
        message = f"the base of `{rule.name}` is one of its two models"
        problems.append(Problem("W820", message, at=("base",)))
    for key, allowed in (("dtype", tuple(DTYPES)), ("compute", ("float32", "float64"))):
        found = getattr(recipe, key)
        if found is not None and found not in allowed:
            problems.append(
                Problem(
                    "W823",
                    f"`{key}` cannot be {found!r}",
                    at=(key,),
                    label="expected " + " or ".join(f"`{each}`" for each in allowed),
                )
            )
    return problems


def model_problems(
    reference: Checkpoint, others: Sequence[Checkpoint], places: Mapping[Path, JobPath]
) -> list[Problem]:
    """Tensor names, shapes and types of the others beside the reference's (the base's).

    places: path of a model -> where the recipe names it.
    """
    found = [(each, p) for each in (reference, *others) for p in _unmergeable(each)]
    for other in others:
        if (kinds := _architectures(reference, other)) is not None:
            found.append((other, kinds))
        elif set(other.slots) != set(reference.slots):
            found.append((other, _names_differ(reference, other)))
        elif shapes := _shapes_differ(reference, other):
            found.append((other, shapes))
    return [replace(problem, at=places.get(each.path, ())) for each, problem in found]


def layer_problem(reference: Checkpoint, wanted: int | None, at: JobPath) -> Problem | None:
    """`layer_range` of a mergekit file has to cover the model."""
    if wanted is None or (there := layers(reference.slots)) == wanted:
        return None
    return Problem(
        "W831",
        f"the layer range ends at {wanted}, and `{reference.path}` has {there} layers",
        at=at,
        remedies=("merge whole models; making one of other layers is not supported",),
    )


def weights_problem(rule: Rule, settings: Mapping[str, Any]) -> Problem | None:
    """An average whose weights cancel out."""
    for name, each in settings.items():
        if rule.name == "linear" and each.normalize and abs(sum(each.weight)) < 1e-8:
            return Problem(
                "W825",
                f"the weights of tensor `{name}` sum to zero",
                at=("parameters", "weight"),
                notes=("they are " + ", ".join(f"{w:g}" for w in each.weight),),
                remedies=("change the weights, or set `normalize: false`",),
            )
    return None


def place_problems(out: Path, nbytes: int, inputs: Sequence[Checkpoint]) -> list[Problem]:
    """The place to write: not an input, nothing there yet, room enough."""
    problems = []
    target = out.resolve()
    for each in inputs:
        own = [each.path.resolve(), *(file.resolve() for file in each.files)]
        if target in own or any(target in file.parents for file in own):
            message = f"the result would be written over the model `{each.path}`"
            problems.append(Problem("W840", message, at=("out",)))
            break
    else:
        if out.is_file() or (out.is_dir() and any(out.iterdir())):
            problems.append(
                Problem(
                    "W840",
                    f"`{out}` is there already",
                    at=("out",),
                    remedies=("choose another place, or remove it first",),
                )
            )
    parent = next(folder for folder in (target, *target.parents) if folder.is_dir())
    if not os.access(parent, os.W_OK):
        problems.append(Problem("R501", f"`{parent}` cannot be written into", at=("out",)))
    free = shutil.disk_usage(parent).free
    if nbytes > free:
        problems.append(
            Problem(
                "W841",
                f"the result takes {show_size(nbytes)}, the disk of `{parent}` has "
                f"{show_size(free)}",
                at=("out",),
                remedies=("make room, or choose a folder on another disk",),
            )
        )
    return problems


def type_notes(reference: Checkpoint, others: Sequence[Checkpoint]) -> list[str]:
    """What a reader should know of models whose tensors are of several types."""
    notes = []
    for other in others:
        differ = [
            name
            for name, slot in other.slots.items()
            if slot.dtype != reference.slots[name].dtype and slot.dtype in FLOATS
        ]
        if differ:
            name = differ[0]
            notes.append(
                f"{len(differ)} tensors of `{other.path}` have another type than in "
                f"`{reference.path}` (`{name}`: {other.slots[name].dtype} and "
                f"{reference.slots[name].dtype})"
            )
    copied = [name for name, slot in reference.slots.items() if slot.dtype in _COPIED]
    if copied:
        notes.append(
            f"{len(copied)} tensors of whole numbers are taken from `{reference.path}` as they "
            f"are: {some(copied)}"
        )
    return notes


def _unmergeable(model: Checkpoint) -> list[Problem]:
    adapter = [name for name in model.slots if _ADAPTER.search(name)]
    if adapter:
        return [
            Problem(
                "W813",
                f"`{model.path}` is an adapter, not a model: it holds {some(adapter, 1)}",
                remedies=("merge it into its model first, with PEFT's merge_and_unload()",),
            )
        ]
    strange = [n for n, s in model.slots.items() if s.dtype not in (*FLOATS, *_COPIED)]
    whole = sum(slot.length for slot in model.slots.values() if slot.dtype in _COPIED)
    if strange or model.config.get("quantization_config") or whole > model.nbytes / 2:
        note = f"{some(strange)}: {model.slots[strange[0]].dtype}" if strange else ""
        return [
            Problem(
                "W813",
                f"`{model.path}` is quantised: its numbers cannot be averaged",
                notes=(note,) if note else (),
                remedies=("merge the models it was quantised from, and quantise the result",),
            )
        ]
    return []


def _architectures(reference: Checkpoint, other: Checkpoint) -> Problem | None:
    ours, theirs = reference.architecture, other.architecture
    if ours is None or theirs is None or ours == theirs:
        return None
    if set(reference.slots) == set(other.slots):
        return None  # the same network under two names
    shared = len(set(reference.slots) & set(other.slots))
    return Problem(
        "W812",
        f"`{other.path}` is a {theirs}, `{reference.path}` a {ours}",
        notes=(f"{shared} of {len(reference.slots)} tensor names are in both",),
        remedies=(
            "merge models that were fine-tuned from one model",
            "move knowledge between unlike models by distillation instead (`want: distill`)",
        ),
    )


def _names_differ(reference: Checkpoint, other: Checkpoint) -> Problem:
    ours, theirs = set(reference.slots), set(other.slots)
    notes = []
    if lacking := [name for name in reference.slots if name not in theirs]:
        notes.append(f"not in `{other.path}`: {some(lacking)}")
    if extra := [name for name in other.slots if name not in ours]:
        notes.append(f"only in `{other.path}`: {some(extra)}")
    return Problem(
        "W810",
        f"`{other.path}` and `{reference.path}` have other tensors",
        notes=tuple(notes),
        remedies=_name_remedies(ours, theirs),
    )


def _name_remedies(ours: set[str], theirs: set[str]) -> tuple[str, ...]:
    for prefix in _PREFIXES:
        for long, short in ((ours, theirs), (theirs, ours)):
            if {name.removeprefix(prefix) for name in long} == short:
                return (
                    f"the names differ only by `{prefix}` in front: load and save both with the "
                    "same class",
                )
    differ = ours ^ theirs
    if differ and all("lm_head" in name or "embed" in name for name in differ):
        return ("one model ties its head to the embeddings: untie it and save it again",)
    if differ and all("classifier" in n or "head" in n or "score" in n for n in differ):
        return ("the models have different heads: save both without, or with the same one",)
    return ("merge models that were fine-tuned from one model",)


def _shapes_differ(reference: Checkpoint, other: Checkpoint) -> Problem | None:
    differ = [n for n, slot in other.slots.items() if slot.shape != reference.slots[n].shape]
    types = [
        name
        for name, slot in other.slots.items()
        if (slot.dtype in FLOATS) != (reference.slots[name].dtype in FLOATS)
    ]
    if not differ and types:
        name = types[0]
        return Problem(
            "W811",
            f"`{name}` is {reference.slots[name].dtype} in `{reference.path}` and "
            f"{other.slots[name].dtype} in `{other.path}`",
        )
    if not differ:
        return None
    shown = [
        f"`{n}`: {list(other.slots[n].shape)}, not {list(reference.slots[n].shape)}"
        for n in differ[:3]
    ]
    more = f"and {len(differ) - 3} more" if len(differ) > 3 else ""
    vocabulary = all("embed" in n or "lm_head" in n or "wte" in n for n in differ)
    remedy = (
        "the vocabularies differ: resize the embeddings to the base's tokenizer first"
        if vocabulary
        else "merge models of one size, fine-tuned from one model"
    )
    return Problem(
        "W811",
        f"{len(differ)} tensors of `{other.path}` have another shape than in `{reference.path}`",
        notes=tuple(filter(None, (*shown, more))),
        remedies=(remedy,),
    )
