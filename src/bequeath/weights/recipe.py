"""A merge said in data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}


@dataclass(frozen=True)
class Model:
    """path: a .safetensors file or a model folder. parameters: this model's own settings."""

    path: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """What to merge and how. See `parameters.py` for what a setting may be.

    rule: a name of `rules.RULES`. models: in order, without a delta rule's base; for slerp both.
    base: path of the base, where the rule has one; for slerp the one of `models` that is t = 0.
    dtype: the result's, `float32`, `float16`, `bfloat16` or `float64`; None: the base's (without
    one the first model's), tensor by tensor. compute: the computation's, `float32` or `float64`.
    tokenizer: path of the model whose tokenizer goes along; None: the base's or the first's.
    layers: number of layers the models must have; None: any.
    notes: what the reader of a foreign file has to say about it.
    """

    rule: str
    models: tuple[Model, ...]
    base: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    dtype: str | None = None
    compute: str = "float32"
    tokenizer: str | None = None
    seed: int = 0
    layers: int | None = None
    notes: tuple[str, ...] = ()
