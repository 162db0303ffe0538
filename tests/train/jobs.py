"""Small training jobs that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bequeath.train.config import Train
from bequeath.train.context import Context
from bequeath.train.terms import Term, mean_over


class Points:
    """Vectors with labels, fetched by position."""

    def __init__(self, n: int = 40, d: int = 6, k: int = 3, dtype: torch.dtype = torch.float32):
        g = torch.Generator().manual_seed(7)
        self.x = torch.randn(n, d, generator=g, dtype=dtype)
        self.y = torch.randint(k, (n,), generator=g)

    def __len__(self) -> int:
        return len(self.x)

    def fetch(self, idx: Tensor) -> dict[str, Any]:
        return {"idx": idx, "x": self.x[idx], "y": self.y[idx]}


def mlp(
    *, dropout: bool = True, norm: bool = True, dtype: torch.dtype = torch.float32
) -> nn.Module:
    """6 -> 8 -> 3, the same weights at each call."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers: list[nn.Module] = [nn.Linear(6, 8)]
        layers += [nn.BatchNorm1d(8)] if norm else []
        layers += [nn.ReLU()] + ([nn.Dropout(0.3)] if dropout else [])
        return nn.Sequential(*layers, nn.Linear(8, 3)).to(dtype)


def cross_entropy(model: nn.Module):
    def step(batch: dict[str, Any]) -> dict[str, Term]:
        losses = F.cross_entropy(model(batch["x"]), batch["y"], reduction="none")
        return {"ce": mean_over(losses)}

    return step


def two_terms(model: nn.Module):
    """Terms over different things, whose counts differ from batch to batch."""

    def step(batch: dict[str, Any]) -> dict[str, Term]:
        logits = model(batch["x"])
        ce = F.cross_entropy(logits, batch["y"], reduction="none")
        first = batch["y"] == 0
        return {
            "ce": mean_over(ce),
            "size": Term(logits[first].pow(2).sum(), int(first.sum()), 0.3, over="zeros"),
            "odd": Term(logits.abs().sum(), logits.numel(), torch.tensor(0.1), over="logits"),
        }

    return step


def settings(**changes: Any) -> Train:
    defaults: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 8,
        "device": "cpu",
        "optimizer": {"name": "sgd", "lr": 0.1},
    }
    return Train.model_validate(defaults | changes)


def context(store: Path, seed: int = 3, **changes: Any) -> Context:
    return Context(seed, settings(**changes), store)


def weights(module: nn.Module) -> list[Tensor]:
    return [t.detach().clone() for t in module.state_dict().values()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    """Equal to the last bit."""
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
