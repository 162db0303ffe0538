"""Tiny cases for distillation: perceptrons on vectors, or small GPTs for methods of tokens."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import method_cases
import torch
from method_cases import Case, look, needs_of
from torch import Tensor

from bequeath.given.bound import hash_tensors
from bequeath.given.data import data_handle
from bequeath.given.models import model_handle
from bequeath.given.samples import ArraySamples

GPT = "zoo:gpt?layers=1&width=16&heads=2&context=64&vocabulary=ascii"
TEXT = ("sentences:24", {"canaries": "canaries:digits?count=4&length=3&repeat=2"})


class WatchedTexts(ArraySamples):
    def fetch(self, idx: Tensor) -> dict[str, Any]:
        look()
        return super().fetch(idx)


def build(one: Case, store: Path, seed: int, loaded: dict[str, Any]) -> dict[str, Any]:
    if (one.like or one.method).needs.answers != "tokens":
        return method_cases.build(one, store, seed, loaded)
    texts = WatchedTexts("text", data_handle("train", *TEXT).load().x)
    needs = needs_of(one)

    def loader(role: str) -> Any:
        seen = loaded.setdefault(role, [])

        def load() -> Any:
            model = gpt(one, role, texts, seed)
            seen.append((model, hash_tensors(model.module)))
            return model

        return load

    facts = {role: model_handle(role, GPT).examine(texts.facts) for role in needs.models}
    loaders = {role: loader(role) for role in needs.models}
    return {"loaders": loaders, "facts": facts, "data": {"train": texts}}


def gpt(one: Case, role: str, texts: Any, seed: int) -> Any:
    """The model of a role as the method finds it."""
    trains = needs_of(one).models[one.start.get(role, role)].trains
    dropout = one.dropout if trains else 0.0
    handle = model_handle(role, f"{GPT}&dropout={dropout}")
    return handle.load(data=texts, seed=seed if trains else 100)


def start(one: Case, seed: int) -> dict[str, Tensor]:
    if one.method.needs.answers != "tokens":
        return method_cases.weights(method_cases.fresh(one, "student", seed))
    return method_cases.weights(gpt(one, "student", data_handle("train", *TEXT).load(), seed))


def check(done: Any, tmp: Path) -> None:
    if done.method.needs.answers != "tokens":
        method_cases.check_model(done, tmp)
        return
    done.model.save(tmp / "model")
    batch = data_handle("train", *TEXT).load().fetch(torch.arange(8))
    opened = method_cases.open_plainly(tmp / "model")
    sys.modules.pop("preprocess", None)
    with torch.no_grad():
        eaten = done.model.preprocess(batch, torch.device("cpu"))
        assert torch.equal(opened(**eaten), done.model.eval()(batch))
