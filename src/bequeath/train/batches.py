"""Batches of a data set, in an order that is a function of (seed, epoch) and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        parts = self.places(number, start)
        fetched = map(self.data.fetch, parts)
        for batch in _ahead(self.data, parts) if getattr(self.data, "lazy", False) else fetched:
            yield self.finish(batch, number)

    def places(self, number: int, start: int = 0) -> list[Tensor]:
        """The positions int64 [B] of the samples in each batch of `epoch(number, start)`."""
        # On the CPU whatever the device: the order must not depend on where one trains.
        order = torch.randperm(self.n, generator=generator(self.seed, "order", number))
        order = order.to(self.device)
        return [self._part(order, low, high) for low, high in self.bounds[start:]]

    def _part(self, order: Tensor, low: int, high: int) -> Tensor:
        n = high - low
        return order[low + n * self.rank // self.world : low + n * (self.rank + 1) // self.world]

    def finish(self, batch: dict[str, Any], epoch: int) -> dict[str, Any]:
        """What `data.fetch` gave, on the device and in the view of the epoch."""
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


class BesideOneAnother:
    """The batches of several runs as one: each run's own order and views, tensors [runs, B, ...].

    sources: of equally many samples and one batch size.
    """

    def __init__(self, sources: Sequence[Batches]):
        self.sources = list(sources)
        first = self.sources[0]
        known = {getattr(one.data, "hash", "") or id(one.data) for one in self.sources}
        self._same = len(known) == 1 and first.augment is None

    def __len__(self) -> int:
        return len(self.sources[0])

    def epoch(self, number: int, start: int = 0) -> Iterator[dict[str, Any]]:
        """As of `Batches`. Values that are no tensors (texts) are those of the first run."""
        if self._same:  # one look into the data serves all
            first, runs = self.sources[0], len(self.sources)
            for places in zip(*(one.places(number, start) for one in self.sources)):
                batch = first.finish(first.data.fetch(torch.cat(places)), number)
                for key, value in batch.items():
                    if isinstance(value, Tensor):
                        batch[key] = value.unflatten(0, (runs, -1))
                yield batch
            return
        for batches in zip(*(one.epoch(number, start) for one in self.sources)):
            batch = batches[0]
            for key, value in batch.items():
                if isinstance(value, Tensor):
                    batch[key] = torch.stack([one[key] for one in batches])
            yield batch


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
