"""What a family's protocol found out about one run; becomes its record and predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bequeath.evidence.record import Curve, Metric, Model, Table


@dataclass
class Measured:
    """metrics: name -> value with direction, count and unit.

    idx: int64 [N], the samples (queries, canaries) whose terms are known (None: 0 to N - 1).
    terms: metric -> [N] whose mean over the numbers is the metric, NaN where a sample does not
    count. answers: a classifier's columns (`fleet.evaluate.scores`) and `classes`. model: size and
    latency of what came out. tables, curves, notes: for the report. save: writes further files into
    the run's folder, which is not there before all of it is.
    """

    metrics: dict[str, Metric] = field(default_factory=dict)
    idx: Any = None
    terms: Mapping[str, Any] = field(default_factory=dict)
    answers: Mapping[str, Any] | None = None
    model: Model | None = None
    tables: dict[str, Table] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    save: Callable[[Path], None] | None = None

    @property
    def rows(self) -> Any:
        """The `idx` column; None when there is nothing to say of single samples."""
        if self.idx is None and self.terms:
            return range(len(next(iter(self.terms.values()))))
        return self.idx
