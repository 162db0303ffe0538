"""What a merge rule is: settings of one tensor, what to measure of it, how to combine its parts.

A rule sees one named tensor of several models, and sees it in parts: `Part` is a run of elements
of all models at once, flat and in the computation's type. `combine` turns a part into the result's
part, element by element, so a tensor may be cut anywhere (at multiples of ALIGN). What must be
known of the whole tensor first (a norm, a threshold) `measure` finds by visiting all parts.

The same two functions run in memory and over files, which is why the bytes are the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

ALIGN = 16_384  # elements; a part begins at a multiple of it


class Part(NamedTuple):
    """Elements `start` and following of a tensor, of all models. Not to be written to.

    base, tensors: flat [n], in the computation's type, in the order of the models.
    """

    start: int
    base: Tensor | None
    tensors: tuple[Tensor, ...]

    @property
    def size(self) -> int:
        return self.tensors[0].numel()


class Whole(Protocol):
    """One named tensor of all models, to be visited in parts.

    size: its elements. models: how many, besides a delta's base. itemsize: bytes of an element as
    parts have it. seed: of the merge.
    """

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def models(self) -> int: ...
    @property
    def itemsize(self) -> int: ...
    @property
    def seed(self) -> int: ...

    def each(self, look: Callable[[Part], T]) -> Iterator[T]:
        """`look` at every part; the answers in the order of the parts. Parts may be looked at
        by several threads at once, and must not be kept."""
        ...

    def only(self, number: int, look: Callable[[Part], T]) -> T:
        """`look` at the part that came as `number` in `each`."""
        ...


@dataclass(frozen=True)
class Spec:
    """A setting as users give it. `name` is without the `_` that keeps it off Python's words.

    per_model: a value for each model; else one for the merge. kind: float, bool or str.
    """

    name: str
    attribute: str
    per_model: bool
    kind: type
    default: Any
    low: float
    high: float
    choices: tuple[str, ...]
    description: str
    source: str


@dataclass(frozen=True)
class Rule:
    """A merge rule. Settings: a dataclass made of `each_model` and `shared` fields.

    base: `none`; `delta`, a model from which the others are subtracted; `first`, the one of two
    models that comes first. models: how many there may be besides a delta's base.
    measure: None where a part needs nothing of the whole tensor.
    """

    name: str
    title: str
    paper: str
    Settings: type
    combine: Callable[[Part, Any, Any], Tensor]
    measure: Callable[[Whole, Any], Any] | None = None
    base: str = "none"
    models: tuple[int, int | None] = (1, None)

    @property
    def specs(self) -> dict[str, Spec]:
        found = {}
        for field in dataclasses.fields(self.Settings):
            name = field.name.rstrip("_")
            found[name] = Spec(name=name, attribute=field.name, **field.metadata)
        return found


def each_model(default: float, description: str, *, source: str, **bounds: Any) -> Any:
    """A setting with a value for each model; in `Settings` a tuple in their order."""
    return _setting((default,), True, float, default, description, source, **bounds)


def shared(default: Any, description: str, *, source: str, **bounds: Any) -> Any:
    """A setting of the whole merge: a number, a truth value or one of `choices`."""
    return _setting(default, False, type(default), default, description, source, **bounds)


def _setting(
    value: Any,
    per_model: bool,
    kind: type,
    default: Any,
    description: str,
    source: str,
    *,
    low: float = float("-inf"),
    high: float = float("inf"),
    choices: tuple[str, ...] = (),
) -> Any:
    metadata = {
        "per_model": per_model,
        "kind": kind,
        "default": default,
        "low": low,
        "high": high,
        "choices": choices,
        "description": description,
        "source": source,
    }
    return dataclasses.field(default=value, metadata=metadata)


def per_model(values: tuple[float, ...], n: int) -> tuple[float, ...]:
    """One value for each of `n` models; a single one stands for all. ValueError otherwise."""
    if len(values) == n:
        return values
    if len(values) == 1:
        return values * n
    raise ValueError(f"{len(values)} values for {n} models")
