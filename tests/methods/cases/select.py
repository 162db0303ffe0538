"""Tiny cases for selections: two sources of vectors, a target, and what is kept of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from method_cases import CLASSES, Case, case, loader, needs_of, vectors
from torch import Tensor

from bequeath.blocks.mixtures import simplex_grid
from bequeath.given.models import model_handle
from bequeath.methods.contract import Outcome
from bequeath.methods.select import Question
from bequeath.train.trials import Trials

TRAIN = {"epochs": 2, "batch_size": 32}
OTHERS = ("validation", "target")


def build(one: Case, store: Path, seed: int, loaded: dict[str, Any]) -> dict[str, Any]:
    if one.method.name == "projektor":
        pytest.importorskip("ot")
    needs = needs_of(one)
    samples = {
        role: vectors(10 + i, one.labelled or need.labels > 0)
        for i, (role, need) in enumerate(sorted(needs.data.items()))
    }
    sources = {role: s for role, s in samples.items() if role not in OTHERS}
    fixes = next(iter(samples.values()))
    offered = {role: need for role, need in needs.models.items() if role != "model"}
    loaded |= {role: [] for role in offered}
    handle = model_handle("model", "zoo:mlp?hidden=8")
    facts = {role: handle.examine(fixes.facts) for role in needs.models}
    grid = simplex_grid(len(sources), 0.2)
    held = grid[:, 0] > 0.75
    trials = None
    if "validation" in samples and samples["validation"].y is not None:
        trials = Trials(
            lambda repeat: handle.load(n_classes=len(CLASSES), data=fixes, seed=seed + repeat),
            sources,
            samples["validation"],
            seed,
        )
    ask = Question(
        sources=tuple(sources),
        size=100,
        sizes=(20, 40),
        limits=np.ones(len(sources)),
        fit=grid[~held],
        asked=grid,
        repeats=1,
        trials=trials,
    )
    loaders = {role: loader(one, role, fixes, seed, loaded[role]) for role in offered}
    return {"loaders": loaders, "facts": facts, "data": samples, "protocol": ask}


def result(outcome: Outcome) -> dict[str, Tensor]:
    chosen = outcome.answer
    found = {"shares": torch.tensor(list(chosen.shares.values()), dtype=torch.float64)}
    for role, rows in chosen.rows.items():
        found[f"rows {role}"] = torch.from_numpy(rows)
    return found


def start(one: Case, seed: int) -> dict[str, Tensor]:
    """Nothing chosen: equal shares, or every row of the one source."""
    if one.method.name in ("dp4tl", "random_subset"):
        return {"shares": torch.ones(1).double(), "rows source": torch.arange(60)}
    n = sum(role not in OTHERS for role in needs_of(one).data)
    return {"shares": torch.full((n,), 1 / n).double()}


def check(done: Any, tmp: Path) -> None:
    """Shares are a mixture, rows are rows, and predictions come with their interval."""
    chosen, ask = done.outcome.answer, done.given.protocol
    assert set(chosen.shares) == set(ask.sources)
    assert abs(sum(chosen.shares.values()) - 1) < 1e-9 and min(chosen.shares.values()) >= 0
    for rows in chosen.rows.values():
        assert rows.dtype == np.int64 and len(set(rows.tolist())) == len(rows) <= 60
    if chosen.predicted is not None:
        assert chosen.predicted.shape == (len(ask.asked),)
        assert ((chosen.predicted >= 0) & (chosen.predicted <= 1)).all()
        assert 0 <= chosen.expected.low <= chosen.expected.value <= chosen.expected.high <= 1


def job(one: Any) -> dict[str, Any]:
    needs = needs_of(case(one))
    models = {role: {"ref": "zoo:mlp?hidden=8"} for role in needs.models}
    models.setdefault("model", {"ref": "zoo:mlp?hidden=8"})
    data = {role: {"ref": "sklearn:digits?split=train"} for role in needs.data}
    return {
        "want": one.want,
        "method": one.name,
        "models": models,
        "data": {**data, "test": {"ref": "sklearn:digits?split=test"}},
        "baselines": False,
    }
