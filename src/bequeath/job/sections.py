"""The sections of a job that are the same for every family, as pydantic models."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from bequeath.train.config import Budget, Strict, Train

MAX_SEEDS = 1000


def _seeds(value: Any) -> tuple[int, ...]:
    """`5` -> 0..4; a list of distinct numbers -> itself. ValueError says what would be right."""
    said = "seeds are a number, 1 to 1000, or a list of different whole numbers >= 0"
    numbers = list(range(value)) if _whole(value) and value <= MAX_SEEDS else value
    if not isinstance(numbers, list | tuple) or not 1 <= len(numbers) <= MAX_SEEDS:
        raise ValueError(said)
    if not all(_whole(n) and 0 <= n < 2**32 for n in numbers) or len(set(numbers)) < len(numbers):
        raise ValueError(said)
    return tuple(numbers)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_NUMBER = {"type": "integer", "minimum": 1, "maximum": MAX_SEEDS}
_NUMBERS = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0},
    "uniqueItems": True,
    "minItems": 1,
}
Seeds = Annotated[
    tuple[int, ...], BeforeValidator(_seeds), WithJsonSchema({"anyOf": [_NUMBER, _NUMBERS]})
]


class Evaluate(Strict):
    """What the results are judged by."""

    data: str = Field(
        default="test", description="the data set that judges, by its name under `data:`"
    )
    metrics: tuple[str, ...] = Field(
        default=(),
        description="the first decides (default: the family's first); `bequeath list` names them",
    )
    margin: float = Field(
        default=0.01, gt=0, description="a difference below this counts as none (equivalence)"
    )


class Top(Strict):
    """A job without its family's part: what `want:` decides is typed elsewhere."""

    want: str = Field(description="what to do: a family, e.g. distill")
    method: Any = Field(description="a method's name, a mapping with its settings, or a list")
    models: dict[str, Any] = Field(default={}, description="role -> reference of a model")
    data: dict[str, Any] = Field(default={}, description="role -> reference of a data set")
    graphs: dict[str, Any] = Field(default={}, description="role -> reference of a graph")
    protocol: Any = Field(
        default=None, description="what the family fixes for every method (tasks, requests, ...)"
    )
    evaluate: Evaluate = Field(default=Evaluate(), description="what the results are judged by")
    seeds: Seeds = Field(
        default=(), description="how many seeds (5: 0 to 4), or which (default: the family's, 3)"
    )
    budget: Budget = Field(default=Budget(), description="what the job may cost")
    train: Train = Field(
        default=Train(), description="how gradient methods train, the same for every arm"
    )
    out: str | None = Field(
        default=None, min_length=1, description="output folder (default: runs/NAME OF THE JOB FILE)"
    )
    baselines: bool = Field(
        default=True, description="add the baselines that answer: was it worth it?"
    )
    vars: dict[str, str | int | float] = Field(
        default={}, description="name -> text, used elsewhere in the job as ${name}"
    )
    extends: str | None = Field(default=None, description="a job file this one is laid over")
