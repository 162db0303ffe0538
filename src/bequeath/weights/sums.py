"""Sums that do not depend on how a tensor was cut into parts.

A part begins at a multiple of ALIGN elements; each ALIGN elements are summed by themselves in
their own type (pairwise, by torch: of positive float32 to about 1e-6), and the block sums exactly
(`math.fsum`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from bequeath.weights.rule import ALIGN

if TYPE_CHECKING:
    from torch import Tensor


def block_sums(x: Tensor) -> list[float]:
    """x: flat, beginning at a multiple of ALIGN. One sum for each ALIGN elements."""
    whole = x.numel() // ALIGN * ALIGN
    sums = x[:whole].view(-1, ALIGN).sum(dim=1).tolist() if whole else []
    return sums + ([x[whole:].sum().item()] if whole < x.numel() else [])


def total(parts: Iterable[tuple[list[float], ...]]) -> tuple[float, ...]:
    """Parts give block sums of several quantities; the sum of each quantity."""
    columns: list[list[float]] = []
    for part in parts:
        columns = columns or [[] for _ in part]
        for column, sums in zip(columns, part, strict=True):
            column += sums
    return tuple(math.fsum(column) for column in columns)
