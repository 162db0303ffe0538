"""Tiny cases for merges: perceptrons on disk, and what their files hold after."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from method_cases import SEED, Case, case, loader, needs_of, vectors
from safetensors.torch import load_file
from torch import Tensor

from bequeath.given.models import load_model
from bequeath.methods.contract import Outcome

LOOKS = False


def build(one: Case, store: Path, seed: int, loaded: dict[str, Any]) -> dict[str, Any]:
    paths = {}
    for role in needs_of(one).models:
        paths[role] = store / "given" / role
        _model(one, role).save(paths[role])
    return {"paths": paths, "loaders": dict.fromkeys(paths), "data": {}}


def result(outcome: Outcome) -> dict[str, Tensor]:
    assert outcome.folder is not None
    return load_file(outcome.folder / "model.safetensors")


def start(one: Case, seed: int) -> dict[str, Tensor]:
    """The base; for rules without one the first model."""
    roles = list(needs_of(one).models)
    needs = one.method.needs_for(one.config).models
    first = roles[0] if needs["base"].optional else "base"
    return dict(_model(one, first).module.state_dict())


def check(done: Any, tmp: Path) -> None:
    batch = vectors(50).fetch(torch.arange(60))
    with torch.no_grad():
        logits = load_model(done.outcome.folder)(batch)
    assert logits.shape == (60, 3) and bool(logits.isfinite().all())


def job(one: Any) -> dict[str, Any]:
    tiny = case(one)
    for role in needs_of(tiny).models:
        if not (_home() / role).exists():
            _model(tiny, role).save(_home() / role)
    models = {role: f"file:{_home() / role}" for role in needs_of(tiny).models}
    return {"want": one.want, "method": one.name, "models": models, "baselines": False}


@cache
def _home() -> Path:
    return Path(tempfile.mkdtemp(prefix="bequeath-merge-"))


def _model(one: Case, role: str) -> Any:
    return loader(one, role, vectors(10), SEED, [])()
