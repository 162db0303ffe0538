"""A tiny pool for searches: 40 candidates, three scores of mixed worth, five queries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from method_cases import Case, Done, vectors
from torch import Tensor

from bequeath.blocks.pool import Oracle, Pool
from bequeath.given.pool import PoolSamples
from bequeath.methods.contract import Method, Outcome

LOOKS = False
BUDGET, N = 5, 40


def build(one: Case, store: Path, seed: int, loaded: dict[str, Any]) -> dict[str, Any]:
    samples = pool()
    seen = Pool(samples.ids, samples.names, samples.metrics, samples.signs)
    oracle = Oracle(seen, BUDGET, lambda i: float(samples.objective[i]))  # type: ignore[index]
    return {"data": {"pool": samples, "batch": vectors(3)}, "protocol": oracle}


def pool() -> PoolSamples:
    rng = np.random.default_rng(0)
    quality = rng.standard_normal(N)
    noise = rng.standard_normal((N, 3))
    metrics = quality[:, None] * [1.0, 0.5, -1.0] + noise * [0.3, 0.5, 0.5]
    ids = tuple(f"c{i}" for i in range(N))
    signs = np.ones(3)
    return PoolSamples(ids, ("a", "b", "c"), metrics, signs, quality, {"quality": quality})


def result(outcome: Outcome) -> dict[str, Tensor]:
    found = outcome.answer
    return {"best": torch.tensor(found.best), "asked": torch.tensor(sorted(found.asked))}


def check(done: Done, tmp: Path) -> None:
    found, oracle = done.outcome.answer, done.given.protocol
    assert found.asked == oracle.asked and 1 <= len(set(found.asked)) <= BUDGET
    assert found.best == oracle.best == max(found.asked, key=oracle.query)
    assert len(found.asked) == BUDGET
    json.dumps(found.weights, allow_nan=False)


def job(one: Method) -> dict[str, Any]:
    return {
        "want": "search",
        "method": one.name,
        "data": {"pool": "synthetic:pool?n=50"},
        "protocol": {"budget": BUDGET},
    }
