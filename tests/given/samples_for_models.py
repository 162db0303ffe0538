"""A data set in memory, as much of one as a model needs."""

from __future__ import annotations

import torch


class Rows:
    """Samples whose `x` (or texts) are given; classes are named after their numbers."""

    y = None
    hash = "rows"

    def __init__(self, kind: str, values, classes: int):
        self.kind, self.values = kind, values
        self.classes = tuple(f"class {i}" for i in range(classes))

    def __len__(self) -> int:
        return len(self.values)

    def fetch(self, idx: torch.Tensor) -> dict:
        if self.kind == "text":
            return {"idx": idx, "text": [self.values[i] for i in idx.tolist()]}
        return {"idx": idx, "x": self.values[idx]}

    def batch(self, n: int = 4) -> dict:
        return self.fetch(torch.arange(n))


def images(side: int = 12, channels: int = 3, classes: int = 5, n: int = 8) -> Rows:
    rng = torch.Generator().manual_seed(0)
    shape = (n, side, side, channels)
    return Rows("image", torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng), classes)


def vectors(width: int = 7, classes: int = 3, n: int = 5000) -> Rows:
    rng = torch.Generator().manual_seed(0)
    values = torch.randn(n, width, generator=rng) * torch.arange(1, width + 1) + 100
    values[:, 0] = 4.0
    return Rows("vector", values, classes)
