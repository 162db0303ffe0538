"""Frozen features in memory: what a fixed extractor says of every sample, computed once.

A method whose backbone never changes passes each sample through it once and then works on a table:

    x = frozen_features(answers.over_data(), "embedding")     # answers: signals.teacher(...)
    table = FeatureTable(x, y, RandomFeatures(x.shape[1], 2000))
    X, y = table.rows(idx)                                    # float64 [n, d], int64 [n]
    ctx.fit(head, table.part(idx), step)                      # or batches of a part of it

The table keeps the narrow features and widens the rows that are asked for. On disk the features are
kept by the teacher's cache, keyed by (model, preprocessing, data), which `signals.teacher` obeys.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bequeath.kernel.files import digest

_ROWS = 4096


def frozen_features(passed: Iterable[tuple[Any, Any]], name: str) -> Tensor:
    """(batch, signal) of every sample, in any order -> features [N, D], by the batches' `idx`."""
    places, parts = [], []
    for batch, signal in passed:
        places.append(batch["idx"].cpu())
        parts.append(signal.features[name].detach().flatten(1).cpu())
    return torch.cat(parts)[torch.cat(places).argsort()]


class FeatureTable:
    """x [N, D] of any float type, y int64 [N]; `widen` makes [n, D] the features [n, d] of a head.

    widen: a fixed module, or None. key: what the table was made from; part of its `hash`.
    """

    def __init__(self, x: Tensor, y: Tensor, widen: nn.Module | None = None, *, key: str = ""):
        if len(x) != len(y):
            raise ValueError(f"{len(x)} rows of features and {len(y)} labels")
        self.x, self.y, self.widen, self.key = x, y, widen, key

    def __len__(self) -> int:
        return len(self.x)

    @property
    def width(self) -> int:
        """d, the features of a widened row."""
        return self._widened(self.x[:1]).shape[1]

    @property
    def hash(self) -> str:
        return digest("features", self.key, repr(tuple(self.x.shape)))

    def rows(self, idx: Tensor) -> tuple[Tensor, Tensor]:
        """idx int64 [n] -> X float64 [n, d], y int64 [n]."""
        idx = idx.to(self.x.device)
        parts = [self._widened(self.x.index_select(0, some)) for some in idx.split(_ROWS)]
        return torch.cat(parts), self.y.index_select(0, idx)

    def fetch(self, idx: Tensor) -> dict[str, Tensor]:
        """The rows as a batch, so that a table can be trained on."""
        X, y = self.rows(idx)
        return {"idx": idx, "x": X, "y": y}

    def part(self, idx: Tensor) -> Part:
        """Some of its rows as a data set of their own."""
        return Part(self, idx)

    def _widened(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = x.double()
            return x if self.widen is None else self.widen(x).double()


class Part:
    """Some rows of a table. Its batches say in `idx` where in the table they are from."""

    def __init__(self, table: FeatureTable, idx: Tensor):
        self.table, self.idx = table, idx
        self.hash = digest(table.hash, idx.cpu().numpy().tobytes())

    def __len__(self) -> int:
        return len(self.idx)

    def fetch(self, idx: Tensor) -> dict[str, Tensor]:
        return self.table.fetch(self.idx.to(idx.device)[idx])
