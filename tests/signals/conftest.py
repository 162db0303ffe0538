"""Fixtures of this folder: a cache of its own, data, contexts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from signal_fakes import Images

from bequeath.train.config import Train
from bequeath.train.context import Context


@pytest.fixture(autouse=True)
def cache_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BEQUEATH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def data() -> Images:
    return Images()


@pytest.fixture
def context(tmp_path: Path) -> Callable[..., Context]:
    def make(seed: int = 0, **train: Any) -> Context:
        settings = {"device": "cpu", "epochs": 5, "batch_size": 16, "cache": "on", **train}
        return Context(seed, Train.model_validate(settings), tmp_path / f"store-{seed}")

    return make
