"""A rule on tensors in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from bequeath.weights.rule import ALIGN, Part, Rule

T = TypeVar("T")


@dataclass(frozen=True)
class InMemory:
    """A `Whole` of flat tensors in the computation's type. chunk: elements of a part."""

    name: str
    seed: int
    base: Tensor | None
    tensors: tuple[Tensor, ...]
    chunk: int

    @property
    def size(self) -> int:
        return self.tensors[0].numel()

    @property
    def models(self) -> int:
        return len(self.tensors)

    @property
    def itemsize(self) -> int:
        return self.tensors[0].element_size()

    def each(self, look: Callable[[Part], T]) -> Iterator[T]:
        for number in range(-(-self.size // self.chunk)):
            yield self.only(number, look)

    def only(self, number: int, look: Callable[[Part], T]) -> T:
        start = number * self.chunk
        cut = slice(start, start + self.chunk)
        base = None if self.base is None else self.base[cut]
        return look(Part(start, base, tuple(x[cut] for x in self.tensors)))


def merge_tensors(
    rule: Rule,
    tensors: Sequence[Tensor],
    settings: Any,
    *,
    base: Tensor | None = None,
    name: str = "",
    seed: int = 0,
    compute: torch.dtype = torch.float32,
    chunk: int | None = None,
) -> Tensor:
    """One tensor merged, in the type of the base (without one, of the first).

    tensors, base: of one shape, floating point. name, seed: what random masks depend on.
    chunk: elements at a time; the result does not depend on it. ValueError for shapes that differ.
    """
    first = tensors[0] if base is None else base
    if any(x.shape != first.shape for x in tensors):
        raise ValueError(f"shapes differ: {[tuple(x.shape) for x in (first, *tensors)]}")
    if rule.base == "delta" and base is None:
        raise ValueError(f"`{rule.name}` needs a base")
    if first.numel() == 0:
        return first.clone()
    whole = InMemory(
        name=name,
        seed=seed,
        base=None if base is None else base.to(compute).flatten(),
        tensors=tuple(x.to(compute).flatten() for x in tensors),
        chunk=aligned(chunk or first.numel()),
    )
    measured = rule.measure(whole, settings) if rule.measure else None
    parts = list(whole.each(lambda part: rule.combine(part, settings, measured).clone()))
    return torch.cat(parts).view(first.shape).to(first.dtype)


def aligned(chunk: int) -> int:
    """The next multiple of ALIGN."""
    return max(1, -(-chunk // ALIGN)) * ALIGN
