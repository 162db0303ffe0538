"""Tiny cases of adaptation: a source that has learnt three clouds, and the clouds moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from method_cases import CLASSES, SEED, Case, Watched, loader, needs_of, vectors, weights
from torch import Tensor

from bequeath.given.models import model_handle

TRAIN = {"optimizer": {"name": "sgd", "lr": 0.05, "weight_decay": 0.0}}


def build(one: Case, store: Path, seed: int, loaded: dict[str, Any]) -> dict[str, Any]:
    target = moved(one.labelled)
    loaded |= {role: [] for role in needs_of(one).models}
    facts = model_handle("source", "zoo:mlp?hidden=16,8").examine(target.facts)
    return {
        "loaders": {"source": loader(one, "source", target, seed, loaded["source"])},
        "facts": {"source": facts},
        "data": {"target": target},
    }


def moved(labelled: bool = True, n: int = 60) -> Watched:
    plain = vectors(10, n=n)
    assert isinstance(plain.x, Tensor)
    return Watched("vector", plain.x + 0.3, plain.y if labelled else None, CLASSES)


def start(one: Case, seed: int) -> dict[str, Tensor]:
    return weights(loader(one, "source", moved(), SEED, [])())


def job(one: Any) -> dict[str, Any]:
    data = {
        "target": {"ref": "sklearn:digits?split=train&labels=false"},
        "test": {"ref": "sklearn:digits?split=test"},
    }
    models = {"source": {"ref": "zoo:mlp?hidden=16,8", "classes": 10}}
    return {
        "want": "adapt", "method": one.name, "models": models, "data": data, "baselines": False,
    }  # fmt: skip
