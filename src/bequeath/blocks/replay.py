"""A reservoir of samples seen: each of a stream lies in it with equal probability.

Vitter (1985), algorithm R: sample number n takes a random place of n, if there is such a place.
Used for experience replay by Chaudhry et al. (2019), "On tiny episodic memories in continual
learning", arXiv 1902.10486.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Reservoir:
    """At most `capacity` samples, each with everything its batch held (x or text, y, task)."""

    def __init__(self, capacity: int):
        if capacity < 0:
            raise ValueError("the capacity is not negative")
        self.capacity, self.seen = capacity, 0
        self.held: dict[str, Any] = {}

    def __len__(self) -> int:
        return min(self.seen, self.capacity)

    def add(self, batch: Mapping[str, Any], generator: torch.Generator) -> None:
        """Offer every sample of a batch, in its order. generator: on the CPU."""
        n = len(batch["idx"])
        # place -> row of the batch; of several rows with one place the last stays
        places: dict[int, int] = {}
        for row in range(n if self.capacity else 0):
            place = self.seen + row
            if place >= self.capacity:
                place = int(torch.randint(self.seen + row + 1, (1,), generator=generator))
            if place < self.capacity:
                places[place] = row
        before, self.seen = len(self), self.seen + n
        if not places:
            return
        for key, value in batch.items():
            if isinstance(value, Tensor):
                self.held[key] = _put(self.held.get(key), value, places, before, len(self))
            else:
                held = [*self.held.get(key, []), *([None] * (len(self) - before))]
                for place, row in places.items():
                    held[place] = value[row]
                self.held[key] = held

    def draw(self, n: int, generator: torch.Generator) -> dict[str, Any]:
        """n samples (or all there are), none twice, as a batch. LookupError while it is empty."""
        if not len(self):
            raise LookupError("the reservoir is empty")
        chosen = torch.randperm(len(self), generator=generator)[:n]
        return {
            key: value[chosen.to(value.device)]
            if isinstance(value, Tensor)
            else [value[i] for i in chosen.tolist()]
            for key, value in self.held.items()
        }


def join(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two batches as one: what both of them hold."""
    return {
        key: torch.cat([value, other[key].to(value.device)])
        if isinstance(value, Tensor)
        else [*value, *other[key]]
        for key, value in one.items()
        if key in other
    }


def _put(
    held: Tensor | None, value: Tensor, places: Mapping[int, int], before: int, now: int
) -> Tensor:
    if held is None:
        held = value.new_empty((0, *value.shape[1:]))
    if now > before:
        held = torch.cat([held, held.new_zeros((now - before, *value.shape[1:]))])
    to = torch.tensor(list(places), device=held.device)
    rows = torch.tensor(list(places.values()), device=held.device)
    held[to] = value.to(held.device)[rows]
    return held
