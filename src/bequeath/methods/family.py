"""What a family of methods says of itself: what a user owns, gets, and how it is judged.

A family is a folder of `methods/` whose `__init__.py` holds a docstring for readers and a `FAMILY`.
`want:` in a job names the folder.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

import bequeath.methods as home
from bequeath.kernel.errors import Problem
from bequeath.metrics.names import NAMES, Direction


class Settings(BaseModel):
    """Base of what a job sets by itself: every field has a default, bounds and a description."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        allow_inf_nan=False,
        serialize_by_alias=True,
    )


@dataclass(frozen=True)
class Family:
    """What is the same for all methods of a family.

    own, get: in a few words, for lists. baselines: methods added to every job of the family, to
    answer "was it worth it?". first: the method whose runs come first for each seed, because the
    others are measured against what it left (a model retrained without the forgotten data).
    reference: the model role shown beside the results as it came (the teacher's own quality); `*`:
    every model.
    result: the role of the model a method hands back; None: no model comes out. judge: whether the
    job must name a data set that judges; judge_labelled: whether it must have labels. judges: roles
    of models and data that only the evaluator uses; no method is offered them. trial: a few steps
    of training tell what a run will cost. metrics: name -> direction of what `evaluate.metrics` may
    name; the first is the default. protocol: the settings of `protocol:` in a job, the same for
    every arm.
    seeds: how many runs of each arm, unless the job says. problems: job -> what is wrong with it as
    far as headers show; without torch.
    """

    own: str
    get: str
    baselines: tuple[str, ...] = ()
    first: str | None = None
    reference: str | None = None
    result: str | None = "model"
    judge: Literal["required", "optional", "none"] = "required"
    judge_labelled: bool = True
    judges: tuple[str, ...] = ()
    trial: bool = False
    metrics: Mapping[str, Direction] = field(default_factory=lambda: dict(NAMES))
    protocol: type[Settings] | None = None
    seeds: int = 3
    problems: Callable[[Any], Iterable[Problem]] | None = None


@cache
def families() -> dict[str, Family]:
    """want -> family, by name. TypeError for a folder that declares none."""
    found = {}
    for entry in sorted(pkgutil.iter_modules(home.__path__), key=lambda m: m.name):
        if not entry.ispkg:
            continue
        package = importlib.import_module(f"{home.__name__}.{entry.name}")
        family = getattr(package, "FAMILY", None)
        if not isinstance(family, Family):
            raise TypeError(f"methods/{entry.name}/__init__.py declares no FAMILY")
        found[entry.name] = family
    return found


def family_of(want: str) -> Family:
    return families()[want]
