"""Batches of a data set, in an order that is a function of (seed, epoch) and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import torch
from torch import Tensor

from bequeath.train.config import Augment
from bequeath.train.seeds import derive, generator


class Data(Protocol):
    """What can be trained on: a length, and `fetch(idx)`, the dict batch of samples by position."""

    def __len__(self) -> int: ...
    def fetch(self, idx: Tensor) -> dict[str, Any]: ...


def view_seed(seed: int, augment: Augment) -> int:
    """The seed of the random views.

    A finite set of views is the same for every run, so that a teacher's answers to them can be
    shared by all seeds; views without end belong to the run.
    """
    return derive(0 if augment.views else seed, "augment")


def view_of_epoch(epoch: int, augment: Augment) -> int:
    """The number of the view that samples have in an epoch."""
    return epoch % augment.views if augment.views else epoch


class Batches:
    """Shuffled dict batches of `data`, epoch by epoch, the same for every way of stopping.

    batch_size: samples in one forward pass of one process. With several processes each takes its
    part of `batch_size * world` consecutive samples of the order. Nothing is dropped: a last batch
    too small to give each process two samples (batch normalisation needs two) joins the one before.

    A batch has what `data.fetch` gives, on `device`, and when samples are changed `view` (int64
    [B]), the number of the view drawn.
    """

    def __init__(
        self,
        data: Data,
        batch_size: int,
        seed: int,
        augment: Augment | None = None,
        device: torch.device | str = "cpu",
        *,
        rank: int = 0,
        world: int = 1,
    ):
        self.device = torch.device(device)
        to = getattr(data, "to", None)
        self.data: Data = to(self.device) if to is not None and self.device.type != "cpu" else data
        self.n = len(data)
        self.seed, self.rank, self.world = seed, rank, world
        self.augment = augment if augment is not None and augment.active else None
        self.bounds = _bounds(self.n, batch_size * world, 2 * world)

    def __len__(self) -> int:
        """Batches in an epoch (of one process; the same for all)."""
        return len(self.bounds)

    def epoch(self, number: int, start: int = 0) -> Iterator[dict[str, Any]]:
        """The batches of epoch `number` from batch `start` on."""
        # On the CPU whatever the device: the order must not depend on where one trains.
        order = torch.randperm(self.n, generator=generator(self.seed, "order", number))
        order = order.to(self.device)
        parts = [self._part(order, low, high) for low, high in self.bounds[start:]]
        fetched = map(self.data.fetch, parts)
        for batch in _ahead(self.data, parts) if getattr(self.data, "lazy", False) else fetched:
            yield self._finish(batch, number)

    def _part(self, order: Tensor, low: int, high: int) -> Tensor:
        n = high - low
        return order[low + n * self.rank // self.world : low + n * (self.rank + 1) // self.world]

    def _finish(self, batch: dict[str, Any], epoch: int) -> dict[str, Any]:
        for key in [k for k, v in batch.items() if isinstance(v, Tensor)]:
            if batch[key].device != self.device:
                batch[key] = batch[key].to(self.device, non_blocking=True)
        if self.augment is not None and "x" in batch:
            from bequeath.given.views import augment

            view = torch.full_like(batch["idx"], view_of_epoch(epoch, self.augment))
            seed = view_seed(self.seed, self.augment)
            batch["x"] = augment(batch["x"], batch["idx"], view, seed, self.augment)
            batch["view"] = view
        return batch


def _bounds(n: int, size: int, least: int) -> list[tuple[int, int]]:
    """[0, n) cut in stretches of `size`; a last one below `least` joins the one before."""
    cuts = list(range(0, n, size))
    if len(cuts) > 1 and n - cuts[-1] < least:
        cuts.pop()
    return list(zip(cuts, [*cuts[1:], n]))


def _ahead(data: Data, parts: list[Tensor]) -> Iterator[dict[str, Any]]:
    """Fetch one batch ahead in a thread: for data that is read from disk as it is needed."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(data.fetch, parts[0]) if parts else None
        for following in [*parts[1:], None]:
            assert waiting is not None
            batch = waiting.result()
            waiting = None if following is None else pool.submit(data.fetch, following)
            yield batch
