"""Tiny cases for audits: a small GPT and canaries in made-up sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from method_cases import Case, look
from torch import Tensor

from bequeath.given.bound import hash_tensors
from bequeath.given.data import data_handle
from bequeath.given.models import model_handle
from bequeath.methods.contract import Outcome

CANARIES = "canaries:digits?count=4&length=2"
GPT = "zoo:gpt?layers=1&width=16&heads=2&context=32&vocabulary=ascii"


def build(one: Case, store: Path, seed: int, loaded: dict[str, Any]) -> dict[str, Any]:
    role = one.config.model  # type: ignore[attr-defined]
    handle = model_handle(role, GPT)
    seen = loaded.setdefault(role, [])

    def load() -> Any:
        model = handle.load(data=data["members"], seed=7)
        model.register_forward_pre_hook(lambda *_: look())
        seen.append((model, hash_tensors(model.module)))
        return model

    refs = {"canaries": CANARIES, "members": "sentences:9", "nonmembers": "sentences:8?seed=1"}
    data = {name: data_handle(name, ref).load() for name, ref in refs.items()}
    facts = {role: handle.examine(data["members"].facts)}
    return {"loaders": {role: load}, "facts": facts, "data": data}


def result(outcome: Outcome) -> dict[str, Tensor]:
    found = outcome.answer
    bits = torch.tensor([kept.exposure.bits for kept in found.kept], dtype=torch.float64)
    return {"bits": bits, "members": found.members, "nonmembers": found.nonmembers}


def check(done: Any, tmp: Path) -> None:
    found = done.outcome.answer
    assert len(found.kept) == len(found.canaries) == 4
    assert all(0 <= kept.exposure.bits <= 6.65 and kept.space == 100 for kept in found.kept)
    assert len(found.members) == 9 and len(found.nonmembers) == 8


def job(one: Any) -> dict[str, Any]:
    return {
        "want": "audit",
        "method": one.name,
        "models": {"model": GPT},
        "data": {
            "canaries": CANARIES,
            "members": "sentences:9",
            "nonmembers": "sentences:8?seed=1",
        },
    }
