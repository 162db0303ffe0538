"""Triples of a graph as data to train on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Triples:
    """Batches `idx` int64 [B], `triple` int64 [B, 3] and `weight` float32 [B]."""

    def __init__(self, triples: Tensor, weight: Tensor, hash: str = ""):
        """triples: int64 [N, 3] of (head, relation, tail). weight: [N], how much each counts."""
        self.triples, self.weight, self.hash = triples, weight, hash

    def __len__(self) -> int:
        return len(self.triples)

    def fetch(self, idx: Tensor) -> dict[str, Any]:
        idx = idx.to(self.triples.device)
        return {"idx": idx, "triple": self.triples[idx], "weight": self.weight[idx]}

    def to(self, device: torch.device | str) -> Triples:
        return Triples(self.triples.to(device), self.weight.to(device), self.hash)
