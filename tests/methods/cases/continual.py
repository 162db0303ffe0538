"""Tiny cases for continual learning: vectors whose numbers are permuted, in three tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from method_cases import Case, loader, needs_of, vectors

from bequeath.fleet.protocols.continual import stream_of
from bequeath.given.models import model_handle
from bequeath.methods.continual import Protocol

# a mask needs some steps before it says something; two phases need two epochs
TRAIN = {"optimizer": {"name": "adam", "lr": 0.01}}


def build(one: Case, store: Path, seed: int, loaded: dict[str, Any]) -> dict[str, Any]:
    data = vectors(10)
    at_once = bool(getattr(one.config, "at_once", False))
    stream = stream_of(Protocol(stream="permuted", tasks=3), data, seed, at_once=at_once)
    loaded |= {role: [] for role in needs_of(one).models}
    facts = model_handle("model", "zoo:mlp?hidden=16,8").examine(data.facts)
    return {
        "loaders": {"model": loader(one, "model", data, seed, loaded["model"])},
        "facts": {"model": facts},
        "data": {"train": data},
        "protocol": stream,
    }
