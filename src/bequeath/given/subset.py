"""Parts of a data set and several data sets as one, without copying a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bequeath.given.facts import DataFacts
from bequeath.given.samples import Device, Samples, facts_of
from bequeath.kernel.files import digest


class Rows:
    """The samples of a data set at `rows`, in that order; `idx` of a batch counts within them.

    rows: int64 [n], each within the data set. y: other labels for them, int64 [n] (label noise).
    """

    def __init__(self, samples: Samples, rows: Tensor, y: Tensor | None = None):
        self._samples, self.rows = samples, rows.cpu()
        self._y = y.cpu() if y is not None else None
        self.kind, self.lazy, self.classes = samples.kind, samples.lazy, samples.classes
        self.skipped = samples.skipped
        theirs = samples.y.cpu()[self.rows] if samples.y is not None else None
        labels = self._y if self._y is not None else theirs
        self.y = labels.to(samples.device) if labels is not None else None
        said = [_bytes(self.rows), _bytes(self._y) if self._y is not None else b""]
        self.hash = digest("rows", samples.hash, *said)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._samples.shape

    @property
    def device(self) -> torch.device:
        return self._samples.device

    @property
    def facts(self) -> DataFacts:
        return facts_of(self)

    def fetch(self, idx: Tensor) -> dict[str, Any]:
        batch = self._samples.fetch(self.rows[idx.cpu()])
        batch["idx"] = idx.to(self.device)
        if self.y is not None:
            batch["y"] = self.y.index_select(0, batch["idx"])
        return batch

    def to(self, device: Device) -> Rows:
        if torch.device(device) == self.device:
            return self
        return Rows(self._samples.to(device), self.rows, self._y)


class Joined:
    """Data sets of one kind, shape and list of classes, one after the other. ValueError if not.

    starts: the position at which each begins, and the end: int64 [parts + 1].
    """

    skipped: tuple[str, ...] = ()

    def __init__(self, parts: Sequence[Samples]):
        first = parts[0]
        for one in parts:
            if (one.kind, one.shape, one.classes) != (first.kind, first.shape, first.classes):
                raise ValueError("data sets are joined when kind, shape and classes are the same")
        self.parts = list(parts)
        self.kind, self.classes = first.kind, first.classes
        self.lazy = any(one.lazy for one in parts)
        self.starts = torch.tensor([0, *(len(one) for one in parts)]).cumsum(0)
        known = [one.y for one in parts if one.y is not None]
        self.y = torch.cat(known) if len(known) == len(parts) else None
        self.hash = digest("joined", *(one.hash for one in parts))

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        return self.parts[0].shape

    @property
    def device(self) -> torch.device:
        return self.parts[0].device

    @property
    def facts(self) -> DataFacts:
        return facts_of(self)

    def fetch(self, idx: Tensor) -> dict[str, Any]:
        idx = idx.cpu()
        where = torch.bucketize(idx, self.starts[1:], right=True)
        order = torch.argsort(where, stable=True)
        found = []
        for k, one in enumerate(self.parts):
            local = idx[where == k] - self.starts[k]
            if len(local):
                found.append(one.fetch(local))
        back = torch.argsort(order)
        batch: dict[str, Any] = {"idx": idx.to(self.device)}
        for key in found[0] if found else ():
            no_labels = key == "y" and self.y is None
            if key == "idx" or no_labels or not all(key in part for part in found):
                continue
            values = [part[key] for part in found]
            if isinstance(values[0], Tensor):
                batch[key] = torch.cat(values)[back.to(self.device)]
            else:
                listed = [one for value in values for one in value]
                batch[key] = [listed[i] for i in back.tolist()]
        return batch

    def to(self, device: Device) -> Joined:
        if torch.device(device) == self.device:
            return self
        return Joined([one.to(device) for one in self.parts])


def _bytes(values: Tensor) -> bytes:
    return values.contiguous().numpy().astype("<i8").tobytes()
