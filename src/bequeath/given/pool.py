"""A pool of candidates once it is open: names, cheap metrics, and a sealed objective."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bequeath.given.facts import DataFacts
from bequeath.given.samples import Device, facts_of


@dataclass(eq=False, repr=False)
class PoolSamples:
    """N candidates, in the form of a data set: a batch is {"idx": int64 [B], "id": B names}.

    names, metrics [N, M], signs [M] (-1: less is thought better). objective: float64 [N] or, where
    it must be computed, a function of a name. report: column -> float64 [N]. better: which way the
    objective and the report are better. unit: of both, `share` or None. space: what the names
    mean. A method never holds this: its view of the data shows batches, the protocol the rest.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    metrics: np.ndarray
    signs: np.ndarray
    objective: np.ndarray | Callable[[str], float]
    report: Mapping[str, np.ndarray]
    better: str = "higher"
    unit: str | None = None
    space: str | None = None
    code: str = ""  # the reference of a computed objective, and the digest of its file
    code_hash: str = ""
    # what every data set has
    kind: str = "pool"
    lazy: bool = False
    classes: tuple[str, ...] = ()
    y: Tensor | None = None
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"PoolSamples({len(self)} candidates)"

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def facts(self) -> DataFacts:
        return facts_of(self)

    @cached_property
    def hash(self) -> str:
        h = hashlib.blake2b(digest_size=16)
        said = (self.ids, self.names, tuple(self.report), self.better, self.unit, self.space)
        h.update(repr((*said, self.code, self.code_hash)).encode("utf-8", "surrogatepass"))
        held = [self.metrics, self.signs, *self.report.values()]
        held += [] if callable(self.objective) else [self.objective]
        for part in held:
            h.update(np.ascontiguousarray(part, dtype=np.float64).tobytes())
        return h.hexdigest()

    def fetch(self, idx: Tensor) -> dict[str, Any]:
        return {"idx": idx, "id": [self.ids[i] for i in idx.tolist()]}

    def to(self, device: Device) -> PoolSamples:
        return self

    def take(self, rows: np.ndarray) -> PoolSamples:
        """The candidates at `rows`, int64 [n], in that order."""
        objective = self.objective if callable(self.objective) else self.objective[rows]
        return replace(
            self,
            ids=tuple(self.ids[i] for i in rows),
            metrics=self.metrics[rows],
            objective=objective,
            report={name: column[rows] for name, column in self.report.items()},
        )

    def with_metrics(
        self, names: tuple[str, ...], metrics: np.ndarray, signs: np.ndarray
    ) -> PoolSamples:
        """The same candidates with other metrics."""
        return replace(self, names=names, metrics=metrics, signs=signs)
