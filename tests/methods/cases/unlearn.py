"""Tiny cases of unlearning: whole numbers for features, so that sums are exact in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from method_cases import CLASSES, Case, Watched
from torch import Tensor

from bequeath.fleet.protocols._unlearn_requests import plan_requests
from bequeath.methods.contract import Outcome
from bequeath.methods.unlearn import Head, Protocol, Request

PROTOCOL = Protocol(
    requests=(Request(samples=4, times=2), Request(learn=5), Request(classes=("b",))),
    head=Head(width=0, gamma=2.0, normalise=False),
    shadows=2,
)


def build(one: Case, store: Path, seed: int, loaded: dict[str, Any]) -> dict[str, Any]:
    train = whole_numbers()
    offer = plan_requests(PROTOCOL, train.y, CLASSES, seed)
    return {"data": {"train": train}, "protocol": offer}


def result(outcome: Outcome) -> dict[str, Tensor]:
    """All but the projection, which has no rows here."""
    state = outcome.models["unlearned"].module.state_dict()  # type: ignore[union-attr]
    return {name: tensor for name, tensor in state.items() if tensor.numel()}


def whole_numbers(n: int = 60) -> Watched:
    g = torch.Generator().manual_seed(3)
    y = torch.arange(n) % len(CLASSES)
    x = torch.randint(-3, 4, (n, 10), generator=g).float()
    x[:, :3] += 2 * torch.nn.functional.one_hot(y, 3)
    return Watched("vector", x, y, CLASSES)


LOOKS = False
