"""Tiny cases for generators: a denoiser of vectors, and noise that counts how often it is drawn."""

from __future__ import annotations

import copy
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from method_cases import SEED, Case, Done, look, needs_of, open_plainly, vectors
from torch import Tensor

from bequeath.blocks.diffusion import noise
from bequeath.given.bound import BoundModel, hash_tensors
from bequeath.given.models import model_handle
from bequeath.methods.contract import Method

TRAIN = {"steps": 14}


class WatchedNoise(noise.NoiseBatches):
    def batch(self, number: int) -> dict[str, Any]:
        look()
        return super().batch(number)


class WatchedPairs(noise.Pairs):
    def fetch(self, idx: Tensor) -> dict[str, Any]:
        look()
        return super().fetch(idx)


noise.NoiseBatches = WatchedNoise  # type: ignore[misc]
noise.Pairs = WatchedPairs  # type: ignore[misc]


def build(one: Case, store: Path, seed: int, loaded: dict[str, Any]) -> dict[str, Any]:
    roles = [role for role in needs_of(one).models if role != "student"]
    loaded |= {role: [] for role in roles}

    def loader(role: str) -> Any:
        def load() -> BoundModel:
            made = model(seed if role == "model" else SEED)
            loaded[role].append((made, hash_tensors(made.module)))
            return made

        return load

    return {
        "loaders": {role: loader(role) for role in roles},
        "facts": {role: model(SEED).facts for role in roles},
        "data": {role: vectors(10, one.labelled) for role in needs_of(one).data},
    }


def start(one: Case, seed: int) -> dict[str, Tensor]:
    return dict(model(seed).module.state_dict())


def model(seed: int) -> BoundModel:
    """A denoiser that has learnt nothing, but says something."""
    return copy.deepcopy(_model(seed))


@cache
def _model(seed: int) -> BoundModel:
    made = model_handle("teacher", "zoo:denoiser?width=8&layers=1").load(
        data=vectors(10), seed=seed
    )
    with torch.no_grad():
        made.module.net.out.weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(seed))
    return made


def check(done: Done, tmp: Path) -> None:
    """What `bequeath.json` says opens it, and it makes the same samples of the same noise."""
    done.model.save(tmp / "model")
    noise = torch.randn(9, *done.model.module.shape, generator=torch.Generator().manual_seed(1))
    opened = open_plainly(tmp / "model")
    assert type(opened).__module__ not in sys.modules or "bequeath" not in type(opened).__module__
    with torch.no_grad():
        theirs = opened(noise)
        assert torch.equal(theirs, done.model.module(noise))
    assert theirs.shape == noise.shape and bool(theirs.isfinite().all())


def job(one: Method) -> dict[str, Any]:
    models = {role: f"file:{_saved()}" for role in one.needs.models}
    models |= {"judge": "zoo:mlp?hidden=8"}
    data = dict.fromkeys(one.needs.data, "sklearn:digits?split=train")
    data |= {"test": "sklearn:digits?split=test"}
    job = {"want": "generate", "method": one.name, "models": models, "data": data}
    return job | {"baselines": False}


@cache
def _saved() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="bequeath-generate-")) / "model"
    model(SEED).save(folder)
    return folder
