"""Training without data: batches of fresh noise, each a function of its number and the seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

EPOCH = 100  # batches: noise has no end, so what counts as one pass is a convention


class NoiseBatches:
    """Batches for `ctx.fit`: `noise` standard normal [B, *shape], `time` uniform in [0, 1) [B], and
    `idx` [B]. No batch comes twice.

    Times are spread: one in each of B equal stretches, so that every batch sees the whole walk.
    draw: `ctx.rng`. size: B. rank: of this process among several; each has its own noise.
    """

    hash = "noise"

    def __init__(
        self,
        draw: Callable[..., torch.Generator],
        shape: Sequence[int],
        size: int,
        device: torch.device | str = "cpu",
        rank: int = 0,
    ):
        self.draw, self.shape, self.size = draw, tuple(shape), size
        self.device, self.rank = torch.device(device), rank

    def __len__(self) -> int:
        return EPOCH

    def epoch(self, number: int, start: int = 0) -> Iterator[dict[str, Any]]:
        """The batches of pass `number` from batch `start` on."""
        for batch in range(start, EPOCH):
            yield self.batch(number * EPOCH + batch)

    def batch(self, number: int) -> dict[str, Any]:
        """Batch `number` of all."""
        g, size = self.draw("noise", number, self.rank), self.size
        noise = torch.randn(size, *self.shape, generator=g)
        place = torch.randperm(size, generator=g) + torch.rand(size, generator=g)
        time = (place / size).clamp(max=1 - 1e-6)
        held = {"idx": torch.arange(size), "noise": noise, "time": time}
        return {key: value.to(self.device) for key, value in held.items()}


class Pairs:
    """Noise and where a walk leads from it, as a data set for `ctx.fit`.

    noise, ends: [N, *shape] on one device.
    """

    def __init__(self, noise: Tensor, ends: Tensor):
        if noise.shape != ends.shape:
            raise ValueError(f"{list(noise.shape)} and {list(ends.shape)} are no pairs")
        self.noise, self.ends = noise, ends

    def __len__(self) -> int:
        return len(self.noise)

    def fetch(self, idx: Tensor) -> dict[str, Any]:
        """`idx`, `noise` and `end` of the samples at idx, int64 [B]."""
        return {"idx": idx, "noise": self.noise[idx], "end": self.ends[idx]}
